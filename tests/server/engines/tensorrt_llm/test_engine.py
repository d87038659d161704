"""TensorRT-LLM's worker driven through the server's own engine, over a fake of the library with the real one's manners."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from fakes.tensorrt_llm_engine import answer, calls, make_request, tensorrt_llm_engine

from pennyweight.server.engines.base import HealthState
from pennyweight.server.engines.features import Feature
from pennyweight.server.engines.local.client import LocalEngine
from pennyweight.server.errors import EngineDead, EngineFailed, InvalidRequest, ModelError, UnsupportedParameter
from pennyweight.server.types import Constraint, ConstraintKind, Delta, FinishReason, Started

LOG = "FAKE_TRTLLM_LOG"
PROMPT = "The capital of France is"


async def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (a state of another process has no event)
            await asyncio.sleep(0.02)


@pytest.mark.serial  # tokens that wait for who reads them come together
async def test_an_answer_is_streamed_token_by_token(default_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with tensorrt_llm_engine(default_model, environment={LOG: str(log)}) as engine:
        answered = await answer(engine, PROMPT)
        assert answered.started is not None
        assert answered.usage is not None
        assert [len(delta.token_ids) for delta in answered.deltas] == [1] * 16
        assert answered.deltas[-1].finish_reason is FinishReason.LENGTH
        assert answered.text() == await engine.detokenize(answered.token_ids())
        assert (answered.usage.prompt_tokens, answered.usage.completion_tokens) == (5, 16)
        assert answered.started.queue_seconds is None
    (asked,) = calls(log, "generate_async")
    assert asked["prompt"] == list(answered.started.prompt_token_ids)
    assert (asked["end_id"], asked["stop_token_ids"], asked["ignore_eos"]) == (0, [2], False)
    assert (asked["max_tokens"], asked["n"], asked["temperature"], asked["detokenize"]) == (16, 1, 0.0, False)
    assert asked["include_stop_str_in_output"] is True
    assert asked["stop"] is None


async def test_many_answers_at_once_are_those_that_each_gets_alone(default_model: Path) -> None:
    async with tensorrt_llm_engine(default_model, max_num_seqs=3) as engine:
        prompts = [f"{PROMPT} {number}" for number in range(8)]
        alone = [(await answer(engine, prompt)).token_ids() for prompt in prompts]
        together = await asyncio.gather(*(answer(engine, prompt) for prompt in prompts))
        assert [one.token_ids() for one in together] == alone
        await eventually(lambda: engine.stats().running == 0)


async def test_each_choice_is_a_request_of_its_own(default_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with tensorrt_llm_engine(default_model, environment={LOG: str(log)}) as engine:
        answered = await answer(engine, PROMPT, n=3, temperature=0.7, top_p=0.0, top_k=40)
        assert answered.usage is not None
        assert answered.usage.completion_tokens == 48
        for index in range(3):
            assert len(answered.token_ids(index)) == 16
            assert answered.of(index)[-1].finish_reason is FinishReason.LENGTH
    asked = calls(log, "generate_async")
    assert [(one["n"], one["temperature"], one["top_p"], one["top_k"]) for one in asked] == [(1, 0.7, 1e-6, 40)] * 3


async def test_the_models_end_of_sequence_ends_an_answer_and_is_no_text(default_model: Path) -> None:
    async with tensorrt_llm_engine(default_model) as engine:
        answered = await answer(engine, f"{PROMPT} please end")
        assert len(answered.token_ids()) == 4
        assert answered.token_ids()[-1] == 0
        assert answered.deltas[-1].finish_reason is FinishReason.STOP
        assert answered.deltas[-1].stop_reason is None
        assert answered.text() == await engine.detokenize(answered.token_ids()[:3])
        ignoring = await answer(engine, f"{PROMPT} please end", ignore_eos=True)
        assert ignoring.deltas[-1].finish_reason is FinishReason.LENGTH


async def test_a_stop_token_ends_an_answer_also_in_the_last_place(default_model: Path) -> None:
    async with tensorrt_llm_engine(default_model) as engine:
        whole = (await answer(engine, PROMPT)).token_ids()
        stop = whole[5]
        for most in (16, 6):
            answered = await answer(engine, PROMPT, stop_token_ids=(stop,), max_tokens=most, logprobs=0)
            assert answered.token_ids() == whole[:6]
            assert answered.deltas[-1].finish_reason is FinishReason.STOP
            assert answered.deltas[-1].stop_reason == stop
            assert answered.text() == await engine.detokenize(whole[:5])
            assert sum(len(delta.logprobs) for delta in answered.deltas) == 5


async def test_a_stop_string_ends_the_text_and_frees_the_request(default_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with tensorrt_llm_engine(default_model, environment={LOG: str(log)}) as engine:
        whole = await answer(engine, PROMPT, max_tokens=400, ignore_eos=True)
        stop = whole.text()[20:26]
        answered = await answer(engine, PROMPT, max_tokens=400, ignore_eos=True, stop=(stop,))
        assert answered.text() == whole.text()[: whole.text().index(stop)]
        assert answered.deltas[-1].stop_reason == stop
        await eventually(lambda: engine.stats().running == 0)
    assert [call["request_id"] for call in calls(log, "abort_request")] == [2]


async def test_only_the_prompt_may_be_asked_about(default_model: Path) -> None:
    async with tensorrt_llm_engine(default_model) as engine:
        answered = await answer(engine, PROMPT, max_tokens=0)
        assert answered.usage is not None
        assert (answered.text(), answered.usage.completion_tokens) == ("", 0)
        assert answered.deltas[-1].finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize(("asked", "given"), [(0, 1), (1, 1), (3, 3)])
async def test_logprobs(default_model: Path, tmp_path: Path, asked: int, given: int) -> None:
    log = tmp_path / "log"
    async with tensorrt_llm_engine(default_model, environment={LOG: str(log)}) as engine:
        answered = await answer(engine, PROMPT, logprobs=asked, max_tokens=4)
    assert [one["logprobs"] for one in calls(log, "generate_async")] == [given]
    found = [one for delta in answered.deltas for one in delta.logprobs]
    assert [one.token_id for one in found] == answered.token_ids()
    assert [one.logprob for one in found] == [-0.5] * 4
    assert [[top.logprob for top in one.top] for one in found] == [[-0.5, -1.0, -1.5][:asked]] * 4


async def test_a_closed_answer_is_aborted(default_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with tensorrt_llm_engine(default_model, environment={LOG: str(log)}) as engine:
        async with aclosing(engine.generate(make_request(PROMPT, max_tokens=4000, ignore_eos=True))) as events:
            assert isinstance(await anext(events), Started)
            assert isinstance(await anext(events), Delta)
            await eventually(lambda: engine.stats().running == 1)
        await eventually(lambda: engine.stats().running == 0)
    assert len(calls(log, "abort_request")) == 1


async def test_what_the_prefix_cache_gave_is_counted(default_model: Path) -> None:
    long = " ".join(["word"] * 100)
    async with tensorrt_llm_engine(default_model) as engine:
        first, again = await answer(engine, long), await answer(engine, long)
        assert first.usage is not None
        assert again.usage is not None
        assert (first.usage.cached_tokens, again.usage.cached_tokens) == (0, 96)
        await eventually(lambda: engine.stats().prefix_cache_hits == 96)
        assert engine.stats().prefix_cache_queries == 192


@pytest.mark.parametrize(
    ("constraint", "expected", "passed"),
    [
        (Constraint(kind=ConstraintKind.REGEX, value="[0-9]{3}"), "[0-9]{3}", {"regex": "[0-9]{3}"}),
        (Constraint(kind=ConstraintKind.CHOICE, value='["blue", "green"]'), "blue|green", None),
        (Constraint(kind=ConstraintKind.GRAMMAR, value='start: "a" "b"'), "ab", {"grammar": 'start: "a" "b"'}),
        (Constraint(kind=ConstraintKind.GRAMMAR, value='root ::= "x" | "y"'), "x|y", None),
        (
            Constraint(kind=ConstraintKind.JSON_SCHEMA, value='{"type": "array", "prefixItems": [{"enum": [1]}, '
                       '{"enum": ["b"]}], "minItems": 2, "items": false}'),
            re.escape('[1,"b"]'),
            None,
        ),
    ],
    ids=["regex", "choice", "lark", "gbnf", "schema"],
)  # fmt: skip
async def test_a_constrained_answer(
    default_model: Path, tmp_path: Path, constraint: Constraint, expected: str, passed: dict[str, Any] | None
) -> None:
    log = tmp_path / "log"
    async with tensorrt_llm_engine(default_model, environment={LOG: str(log)}) as engine:
        answered = await answer(engine, PROMPT, constraint=constraint, max_tokens=40)
    assert re.fullmatch(expected, answered.text())
    assert answered.deltas[-1].finish_reason is FinishReason.STOP
    (asked,) = calls(log, "generate_async")
    guide = {name: value for name, value in asked["guided_decoding"].items() if value}
    assert passed is None or guide == passed


async def test_json_is_asked_for_as_the_native_engine_writes_it(default_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with tensorrt_llm_engine(default_model, environment={LOG: str(log)}) as engine:
        await answer(engine, PROMPT, constraint=Constraint(kind=ConstraintKind.JSON_OBJECT), max_tokens=2)
    (asked,) = calls(log, "generate_async")
    schema = json.loads(asked["guided_decoding"]["json"])
    assert schema["type"] == "object"
    assert schema["x-guidance"]["whitespace_flexible"] is False


async def test_a_constraint_that_is_none_is_refused_before_the_engine_hears_of_it(
    default_model: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    async with tensorrt_llm_engine(default_model, environment={LOG: str(log)}) as engine:
        with pytest.raises(InvalidRequest):
            await answer(engine, PROMPT, constraint=Constraint(kind=ConstraintKind.REGEX, value="("))
    assert calls(log, "generate_async") == []


@pytest.mark.parametrize(
    ("param", "sampling"),
    [
        ("seed", {"seed": 1}),
        ("min_p", {"min_p": 0.1}),
        ("presence_penalty", {"presence_penalty": 0.5}),
        ("frequency_penalty", {"frequency_penalty": 0.5}),
        ("repetition_penalty", {"repetition_penalty": 1.1}),
        ("min_tokens", {"min_tokens": 2}),
        ("logit_bias", {"logit_bias": {5: 1.0}}),
        ("prompt_logprobs", {"prompt_logprobs": 1}),
    ],
)
async def test_what_it_cannot_do_is_refused_by_name(default_model: Path, param: str, sampling: dict[str, Any]) -> None:
    async with tensorrt_llm_engine(default_model) as engine:
        with pytest.raises(UnsupportedParameter, match="tensorrt_llm") as raised:
            await answer(engine, PROMPT, **sampling)
        assert raised.value.param == param


async def test_capabilities_say_what_it_can_do(default_model: Path) -> None:
    async with tensorrt_llm_engine(default_model, max_model_len=512) as engine:
        capabilities = engine.capabilities()
        assert (capabilities.engine, capabilities.max_model_len, capabilities.vocab_size) == (
            "tensorrt_llm",
            512,
            49152,
        )
        assert Feature.SEED not in capabilities.features
        assert Feature.JSON_SCHEMA in capabilities.features
        assert capabilities.details["tensorrt_llm"] == "1.2.1"
        with pytest.raises(UnsupportedParameter, match="priority"):
            await anext(engine.generate(make_request(PROMPT, priority=1)))


async def test_what_it_refuses_at_once_is_the_prompts_fault(default_model: Path) -> None:
    arguments = {"max_num_tokens": 64, "enable_chunked_prefill": False}
    async with tensorrt_llm_engine(default_model, engine_args=arguments) as engine:
        with pytest.raises(InvalidRequest, match="should not exceed max_num_tokens") as raised:
            await answer(engine, " ".join(["word"] * 100))
        assert raised.value.param == "prompt"
        assert len((await answer(engine, PROMPT)).token_ids()) == 16


async def test_a_request_that_fails_leaves_the_others_alone(default_model: Path) -> None:
    async with tensorrt_llm_engine(default_model) as engine:
        failing, other = await asyncio.gather(
            answer(engine, f"{PROMPT} please fail"), answer(engine, PROMPT), return_exceptions=True
        )
        assert isinstance(failing, EngineFailed)
        assert "out of memory" in failing.message
        assert not isinstance(other, BaseException)
        assert len(other.token_ids()) == 16
        assert engine.stats().restarts == 0


async def test_a_request_that_the_engine_cancels_fails(default_model: Path) -> None:
    async with tensorrt_llm_engine(default_model, environment={"FAKE_TRTLLM_CANCEL_AFTER": "3"}) as engine:
        with pytest.raises(EngineFailed, match="cancelled"):
            await answer(engine, PROMPT)


async def check_restart(engine: LocalEngine, prompt: str, reason: str) -> None:
    with pytest.raises(EngineDead, match=reason):
        await answer(engine, prompt)
    await eventually(lambda: engine.health().state is HealthState.READY and engine.stats().restarts == 1)
    assert len((await answer(engine, PROMPT)).token_ids()) == 16


async def test_an_engine_that_dies_is_started_again(default_model: Path) -> None:
    async with tensorrt_llm_engine(default_model) as engine:
        await check_restart(engine, f"{PROMPT} please die", "exit code 1")


async def test_a_death_is_seen_though_processes_that_the_library_started_live_on(default_model: Path) -> None:
    async with tensorrt_llm_engine(default_model, environment={"FAKE_TRTLLM_DAEMON_SECONDS": "20"}) as engine:
        async with asyncio.timeout(10):
            await check_restart(engine, f"{PROMPT} please die", "exit code 1")


async def test_an_engine_without_a_sign_of_life_is_started_again(default_model: Path) -> None:
    async with tensorrt_llm_engine(default_model, stall_seconds=1.5) as engine:
        await check_restart(engine, f"{PROMPT} please stall", "no sign of life")


async def test_an_engine_that_is_busy_with_others_gives_signs_of_life(default_model: Path, tmp_path: Path) -> None:
    """A request that waits for its turn hears nothing; the figures of each iteration tell that the engine works."""
    log = tmp_path / "log"
    environment = {LOG: str(log)}
    async with tensorrt_llm_engine(default_model, environment=environment, max_num_seqs=1, stall_seconds=1.0) as engine:
        long = asyncio.create_task(answer(engine, PROMPT, max_tokens=800, ignore_eos=True))
        await eventually(lambda: engine.stats().running == 1)
        assert len((await answer(engine, PROMPT)).token_ids()) == 16
        await long
        assert engine.stats().restarts == 0
    # With one, they would stay away after a pause.
    assert [call["timeout"] for call in calls(log, "get_stats_async")] == [None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tensor_paralel_size": 2}, "TensorRT-LLM 1.2.1 has no argument tensor_paralel_size; did you mean tensor_parallel_size?"),
        (
            {"kv_cache_config": {"free_gpu_memory": 0.5}},
            "no argument kv_cache_config.free_gpu_memory; did you mean kv_cache_config.free_gpu_memory_fraction?",
        ),
        ({"kv_cache_config": {"free_gpu_memory_fraction": 7}}, "must be a float between 0 and 1"),
    ],
    ids=["argument", "of the cache", "value"],
)  # fmt: skip
async def test_arguments_that_it_does_not_have(default_model: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=re.escape(message)):
        async with tensorrt_llm_engine(default_model, engine_args=arguments):
            pass


async def test_a_start_that_fails_is_told(default_model: Path) -> None:
    environment = {"FAKE_TRTLLM_START_ERROR": "Executor worker returned error"}
    with pytest.raises(ModelError, match="did not start: Executor worker returned error"):
        async with tensorrt_llm_engine(default_model, environment=environment):
            pass


async def test_settings_reach_the_library_by_its_own_names(default_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with tensorrt_llm_engine(
        default_model,
        environment={LOG: str(log)},
        enable_prefix_caching=False,
        kv_cache_memory=1 << 30,
        max_num_seqs=8,
        engine_args={"kv_cache_config": {"dtype": "fp8"}, "attn_backend": "FLASHINFER"},
    ):
        pass
    (made,) = calls(log, "LLM")
    cache = made["kv_cache_config"]
    assert (cache["enable_block_reuse"], cache["max_gpu_total_bytes"], cache["dtype"]) == (False, 1 << 30, "fp8")
    assert (made["max_batch_size"], made["attn_backend"], made["max_seq_len"]) == (8, "FLASHINFER", 8192)
    assert (made["guided_decoding_backend"], made["enable_iter_perf_stats"]) == ("llguidance", True)


@pytest.fixture
def model_with_penalty(default_model: Path, tmp_path: Path) -> Path:
    """The default model, whose makers would have a repetition penalty."""
    model = tmp_path / "model"
    model.mkdir()
    for file in default_model.iterdir():
        if file.name != "generation_config.json":
            (model / file.name).symlink_to(file)
    defaults = json.loads((default_model / "generation_config.json").read_text()) | {"repetition_penalty": 1.25}
    (model / "generation_config.json").write_text(json.dumps(defaults))
    return model


async def test_a_default_of_the_models_that_has_no_effect_is_told_once(
    model_with_penalty: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    async with tensorrt_llm_engine(model_with_penalty, environment={LOG: str(log)}) as engine:
        for _ in range(2):
            await answer(engine, PROMPT)
    assert [one["repetition_penalty"] for one in calls(log, "generate_async")] == [1.25, 1.25]
    assert capfd.readouterr().err.count("ignores the repetition_penalty of 1.25") == 1
