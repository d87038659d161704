from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.errors import ConfigError
from pennyweight.server.ledger.price_book import ModelPrice, PriceBook, load_prices, read_prices

OWN = """
gpus:
  aws-h100: {provider: us, card: H100 SXM, memory_gb: 80, dollars_per_hour: 1.95, terms: reserved, as_of: 2026-11-01, source: our contract}
machines:
  our-box: {provider: us, cores: 16, memory_gb: 64, dollars_per_hour: 0.20, terms: on-demand, as_of: 2026-11-01, source: a guess}
models:
  their-model: {provider: them, model: small-1, input: 0.10, cached_input: 0.01, output: 0.40, as_of: 2026-11-01, source: their page}
"""


def written(path: Path, text: str) -> Path:
    file = path / "prices.yaml"
    file.write_text(text)
    return file


def test_the_prices_that_come_along_all_have_a_page_a_day_and_a_note() -> None:
    book = load_prices()
    assert len({price.card for price in book.gpus.values()}) >= 10
    assert len({price.provider for price in book.gpus.values()}) >= 5
    assert {price.terms for price in book.gpus.values()} == {"on-demand", "spot", "reserved"}
    assert len(book.models) >= 15
    assert len(book.machines) >= 5
    for price in book:
        assert price.url is not None
        assert price.url.startswith("https://")
        assert price.note
        assert price.as_of <= date.today()


def test_an_own_file_replaces_and_adds(tmp_path: Path) -> None:
    shipped, book = load_prices(), load_prices(written(tmp_path, OWN))
    assert book.gpu("aws-h100").dollars_per_hour == Decimal("1.95")
    assert book.gpu("aws-h100").source == "our contract"
    assert book.gpu("lambda-h100") == shipped.gpu("lambda-h100")
    assert book.machine("our-box").dollars_per_core_hour == Decimal("0.0125")
    assert len(list(book)) == len(list(shipped)) + 2


def test_an_own_entry_replaces_one_of_another_kind(tmp_path: Path) -> None:
    book = load_prices(written(tmp_path, OWN.replace("our-box", "lambda-h100")))
    assert "lambda-h100" not in book.gpus
    assert book.find("lambda-h100") == book.machine("lambda-h100")


def test_money_is_exact(tmp_path: Path) -> None:
    book = read_prices(written(tmp_path, OWN))
    model = book.model("their-model")
    # 900 at 0.10, 100 at 0.01 and 50 at 0.40 for a million: 0.00009 + 0.000001 + 0.00002.
    assert model.cost(1000, 50, cached_tokens=100) == Decimal("0.000111")
    assert book.machine("our-box").cost(90) == Decimal("0.005")
    assert book.gpu("aws-h100").cost(Decimal("1800"), gpus=2) == Decimal("1.95")


def test_a_provider_without_a_discount_charges_cached_tokens_in_full() -> None:
    model = ModelPrice(
        id="m", provider="p", as_of=date(2026, 1, 1), source="s", model="m", input=Decimal(2), output=Decimal(8)
    )
    assert model.cost(1_000_000, 0, cached_tokens=500_000) == 2


MODEL = load_prices().model("openai-gpt-6.1-sol")


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6)), max_size=50))
def test_the_sum_over_answers_is_the_bill(usages: list[tuple[int, int, int]]) -> None:
    answers = [(cached + fresh, output, cached) for cached, fresh, output in usages]
    bill = MODEL.cost(*(sum(answer[part] for answer in answers) for part in range(3)))
    assert sum((MODEL.cost(*answer) for answer in answers), Decimal()) == bill


@pytest.mark.parametrize(("tokens"), [(10, 1, 11), (-1, 0, 0), (0, -1, 0), (5, 5, -1)])
def test_a_usage_that_cannot_be_has_no_price(tokens: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no such usage"):
        load_prices().model("openai-gpt-6.1-sol").cost(*tokens)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("input: 0.10", "input: -0.10", "line 7, models.their-model: input is -0.1, and must be 0 or more"),
        ("input: 0.10", "input: .nan", "line 7, models.their-model: input is NaN"),
        ("input: 0.10", "input: .inf", "input is Infinity"),
        ("input: 0.10", "input: cheap", "Invalid decimal string"),
        ("input: 0.10, ", "", "missing required field `input`"),
        ("input: 0.10", "input: 0.10, per: token", "unknown field `per`"),
        (", as_of: 2026-11-01, source: a guess", ", source: a guess", "line 5, machines.our-box: Object missing required field `as_of`"),
        (", source: a guess", "", "missing required field `source`"),
        ("source: a guess", "source: ' '", "source must say something"),
        ("cores: 16", "cores: 0", "cores is 0, and must be 1 or more"),
        ("terms: reserved", "terms: prepaid", "line 3, gpus.aws-h100: Invalid enum value 'prepaid'"),
        ("source: our contract", "source: our contract, ends: 2026-10-01", "ends on 2026-10-01, before"),
        ("source: our contract", "source: our contract, id: other", "the id stands before the entry"),
        ("our-box:", "their-model:", "the id their-model in two sections"),
        ("our-box:", "aws-h100:", "the id aws-h100 in two sections"),
        ("machines:", "boxes:", "line 4, 'boxes' is no section"),
        ("their-model:", "12:", "under an id that is text"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_refused_by_its_place(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    assert right in OWN
    with pytest.raises(ConfigError, match=r"prices\.yaml") as refused:
        read_prices(written(tmp_path, OWN.replace(right, wrong)))
    assert said in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "gpus", "{}"])
def test_a_file_without_prices_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="has no prices"):
        read_prices(written(tmp_path, text))


def test_a_section_must_be_a_mapping(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gpus must be a mapping"):
        read_prices(written(tmp_path, "gpus: [1]"))


def test_an_unknown_id_is_told_with_what_was_perhaps_meant() -> None:
    with pytest.raises(ConfigError, match="no GPU's price with the id 'aws-h10'; perhaps aws-h100"):
        load_prices().gpu("aws-h10")
    with pytest.raises(ConfigError, match="no model's price with the id 'zzz' "):
        PriceBook().model("zzz")
