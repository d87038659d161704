from __future__ import annotations

import json
from pathlib import Path

import pytest

from pennyweight.bench.savings.policy import find_policy
from pennyweight.bench.savings.step import STEPS, Prices, Serving, serve, settings, upstream_settings
from pennyweight.bench.savings.stream import Workload
from pennyweight.server.config import Settings, TokenPrice
from pennyweight.server.config_file import load_settings
from pennyweight.server.ledger.price_book import load_prices

BOOK = load_prices()
PRICES = Prices(BOOK.model("openai-gpt-6-luna"), BOOK.model("google-gemini-3.1-pro"))
POLICY = {"policy": "length", "long_prompt": 77}


def loaded(directory: Path, number: int) -> Settings:
    given = settings(STEPS[number], Serving("weights"), PRICES, POLICY, "http://127.0.0.1:9")
    server = serve(given, directory / "server.yaml")
    assert server.arguments == ("--config", str(directory / "server.yaml"))
    return load_settings(directory / "server.yaml", {}, {}).settings


def test_each_step_turns_on_what_its_name_says(tmp_path: Path) -> None:
    found = [loaded(tmp_path, number) for number in range(4)]
    assert [one.response_cache.max_bytes > 0 for one in found] == [False, True, False, True]
    assert [one.router.policy for one in found] == ["default", "default", "length", "length"]
    assert all(one.router.default_tier == "deep" for one in found)
    assert found[2].router.between == ("quick", "deep")
    assert found[2].router.long_prompt == 77


def test_tiers_are_one_model_in_two_precisions_with_the_prices_of_the_book(tmp_path: Path) -> None:
    found = loaded(tmp_path, 3)
    cheap, dear, hosted = (found.models[name] for name in ("cheap", "dear", "hosted"))
    assert cheap.local is not None
    assert dear.local is not None
    assert hosted.upstream is not None
    assert (cheap.local.model, cheap.local.dtype) == ("weights", "int8")
    assert (dear.local.model, dear.local.dtype) == ("weights", "bfloat16")
    assert cheap.price == TokenPrice(input=0.1, output=0.5, cached_input=0.01)
    assert dear.price == hosted.price == TokenPrice(input=2.0, output=12.0)
    assert hosted.upstream.private
    assert found.tiers["deep"].fallbacks == ("hosted",)


def test_the_upstream_serves_under_a_name_of_its_own(tmp_path: Path) -> None:
    serve(upstream_settings(Serving("weights")), tmp_path / "upstream.yaml")
    found = load_settings(tmp_path / "upstream.yaml", {}, {}).settings
    assert (found.engine.served_model_name, found.response_cache.max_bytes) == (("hosted",), 0)


def test_length_is_set_at_the_quantile_of_other_prompts(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"prompt": "x" * number}) + "\n" for number in range(1, 101)))
    workload = Workload(file, 8)
    found = find_policy("length", None, 0.2, workload, range(100))
    threshold = found.settings["long_prompt"]
    assert sum(workload.characters(row) >= threshold for row in range(100)) == 20
    with pytest.raises(ValueError, match="5 prompts are left"):
        find_policy("length", None, 0.2, workload, range(5))
    with pytest.raises(ValueError, match=r"strong-share is 1\.0"):
        find_policy("length", None, 1.0, workload, range(100))
    with pytest.raises(ValueError, match="wants --router"):
        find_policy("learned", None, 0.2, workload, range(100))
