from __future__ import annotations

import json
from pathlib import Path

import pytest

from pennyweight.bench.cost.workload import Workload
from pennyweight.bench.load.endpoint import Endpoint

CHAT = Endpoint("http://127.0.0.1:1", "tiny", "chat")


def rows(path: Path, *found: dict[str, object]) -> Path:
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in found))
    return file


def test_requests_have_the_system_prompt_before_each_prompt(tmp_path: Path) -> None:
    workload = Workload(rows(tmp_path, {"turns": ["Hi", "And?"]}, {"prompt": "Ho", "max_tokens": 5}), 16, "Be brief.")
    first, second = (request.body for request in workload.requests(CHAT, [0, 1]))
    assert first["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert (first["max_tokens"], first["ignore_eos"], second["max_tokens"]) == (16, True, 5)
    assert workload.requests(CHAT, [1], 1)[0].body["max_tokens"] == 1


def test_checked_answers_come_to_their_own_end(tmp_path: Path) -> None:
    workload = Workload(rows(tmp_path, {"prompt": "Hi", "expect": "yes"}, {"prompt": "Ho"}), 16, None)
    assert not workload.is_exact
    (request,) = workload.requests(CHAT, [0])
    assert "ignore_eos" not in request.body
    assert request.body["messages"] == [{"role": "user", "content": "Hi"}]
    assert (workload.is_right(0, "yes"), workload.is_right(0, None), workload.is_right(1, None)) == (True, False, True)
    assert (workload.has_checks([1]), workload.has_checks([1, 0])) == (False, True)
    assert workload.describe()["rows_with_a_check"] == 1


def test_rounds_share_their_rows_or_have_their_own(tmp_path: Path) -> None:
    workload = Workload(rows(tmp_path, *({"prompt": str(number)} for number in range(20))), 16, None)
    first, second = workload.select(2, 1, 2, 3, seed=1, anew=False)
    assert first == second
    assert len({*first.warm_up, *first.probes, *first.measured}) == 6
    one, other = workload.select(2, 1, 2, 3, seed=1, anew=True)
    assert len({*one.warm_up, *one.probes, *one.measured, *other.warm_up, *other.probes, *other.measured}) == 12
    assert one == first
    assert workload.select(2, 1, 2, 3, seed=2, anew=False) != [first, second]


def test_too_few_rows_are_told_with_what_to_do(tmp_path: Path) -> None:
    workload = Workload(rows(tmp_path, {"prompt": "a"}), 16, None)
    with pytest.raises(ValueError, match=r"has 1 rows, .* since a URL is measured are 12: take less --requests"):
        workload.select(2, 1, 2, 3, seed=1, anew=True)


def test_token_ids_cannot_be_chatted_with(tmp_path: Path) -> None:
    workload = Workload(rows(tmp_path, {"prompt": [1, 2]}), 16, None)
    with pytest.raises(ValueError, match="token ids"):
        workload.requests(CHAT, [0])
