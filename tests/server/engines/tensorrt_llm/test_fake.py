"""The fake's manners are those that were read in TensorRT-LLM 1.2.1: what makes an adapter that ignores them fail."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fakes.tensorrt_llm_engine import FAKE


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The fake, imported for one test only: nobody else may take it for the real one."""
    monkeypatch.syspath_prepend(FAKE)
    yield importlib.import_module("tensorrt_llm")
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorrt_llm"]:
        del sys.modules[name]


@pytest.fixture
def llm(library: ModuleType, default_model: Path) -> Any:
    return library.LLM(model=default_model, enable_iter_perf_stats=True)


def test_unknown_keywords_are_refused(library: ModuleType, default_model: Path) -> None:
    with pytest.raises(ValueError, match="got invalid argument: max_num_seqs"):
        library.LLM(model=default_model, max_num_seqs=1)
    with pytest.raises(ValueError, match="Extra inputs"):
        library.llmapi.KvCacheConfig(memory=1)
    with pytest.raises(TypeError):
        library.SamplingParams(logit_bias={1: 1.0})
    with pytest.raises(TypeError):
        library.llmapi.GuidedDecodingParams("{}")


@pytest.mark.parametrize(
    "wrong", [{"top_p": 1.5}, {"top_k": -1}, {"temperature": -1.0}, {"n": 2}, {"n": 3, "best_of": 2, "top_p": 0.5}]
)
def test_what_is_checked_of_sampling_parameters(library: ModuleType, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"require|Greedy|best_of"):
        library.SamplingParams(**wrong)


async def test_each_step_changes_the_same_object(library: ModuleType, llm: Any) -> None:
    output = llm.generate_async(inputs=[5, 6], sampling_params=library.SamplingParams(max_tokens=4), streaming=True)
    steps, grown = [], []
    async for step in output:
        steps.append(step)
        grown.append((len(step.outputs[0].token_ids), len(step.outputs[0].token_ids_diff)))
    assert all(step is output for step in steps)
    assert grown == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert output.finished
    assert callable(output.aborted)


async def test_of_several_choices_only_one_moves_at_a_step(library: ModuleType, llm: Any) -> None:
    params = library.SamplingParams(max_tokens=2, n=2, temperature=1.0)
    diffs = []
    async for step in llm.generate_async(inputs=[5, 6], sampling_params=params, streaming=True):
        diffs.append([list(one.token_ids_diff) for one in step.outputs])
    assert diffs[1][0] == diffs[0][0] != []  # told again, though nothing was added
    assert len(diffs) == 4


async def test_a_stop_token_is_cut_and_an_end_of_sequence_is_not(library: ModuleType, llm: Any) -> None:
    async def run(**given: Any) -> Any:
        params = library.SamplingParams(max_tokens=4, logprobs=1, **given)
        output = llm.generate_async(inputs=[5, 6], sampling_params=params, streaming=True)
        return (await collect(output)).outputs[0]

    async def collect(output: Any) -> Any:
        async for _ in output:
            pass
        return output

    second = (await run()).token_ids[1]
    stopped, ended = await run(stop_token_ids=[second]), await run(end_id=second)
    assert (len(stopped.token_ids), len(stopped.logprobs), stopped.stop_reason) == (1, 2, second)
    assert stopped.token_ids_diff == []
    assert (ended.token_ids[-1], ended.finish_reason, ended.stop_reason) == (second, "stop", None)


async def test_stop_strings_want_an_end_id_that_is_not_given(library: ModuleType, llm: Any) -> None:
    params = library.SamplingParams(max_tokens=4, end_id=0, stop="x")
    with pytest.raises(library.llmapi.RequestError, match="not processed by tokenizer"):
        async for _ in llm.generate_async(inputs=[5, 6], sampling_params=params, streaming=True):
            pass


async def test_an_aborted_request_gets_a_last_word(library: ModuleType, llm: Any) -> None:
    output = llm.generate_async(inputs=[5, 6], sampling_params=library.SamplingParams(max_tokens=400), streaming=True)
    await anext(output)
    output.abort()
    async for _ in output:
        pass
    assert output.aborted()
    assert output.outputs[0].finish_reason == "cancelled"


async def test_parameters_are_written_into(library: ModuleType, llm: Any) -> None:
    params = library.SamplingParams(max_tokens=1)
    llm.generate_async(inputs=[5, 6], sampling_params=params, streaming=True)
    assert (params.end_id, params.stop_token_ids) == (2, [0])


async def test_there_are_no_figures_before_the_first_request_and_none_after_a_pause(
    library: ModuleType, llm: Any
) -> None:
    assert [one async for one in llm.get_stats_async(timeout=None)] == []
    output = llm.generate_async(inputs=[5, 6], sampling_params=library.SamplingParams(max_tokens=3), streaming=True)
    async for _ in output:
        pass
    assert [one["iter"] async for one in llm.get_stats_async(timeout=0.05)] == [1, 2, 3]
    assert [one async for one in llm.get_stats_async(timeout=0.05)] == []
