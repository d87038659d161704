"""LoRA adapters against transformers and peft, mixed in one batch with each other and with the model as it is."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.adapters import ALL, choices, describe, load_adapted, save_adapter
from fakes.real_model import chat_prompts
from fakes.tiny_models import make_core, random_prompt, run, save_tiny_model, submit
from safetensors.torch import load_file, save_file

from pennyweight.server.engines.native.engine import NativeEngineCore
from pennyweight.server.types import Adapter

NUM_TOKENS = 32
PROMPTS = [random_prompt(length, length) for length in (3, 40, 70)]


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def model_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param)
    save_tiny_model(path, request.param)
    return path


@pytest.fixture(scope="module")
def adapters(model_path: Path) -> dict[str, Path]:
    """Of rank 8 over everything, and with other ranks and alphas for some of a few modules, by rsLoRA."""
    found = {"one": model_path / "adapters" / "one", "two": model_path / "adapters" / "two"}
    save_adapter(model_path, found["one"], seed=1, scale=0.15)
    save_adapter(
        model_path,
        found["two"],
        seed=2,
        scale=0.15,
        r=4,
        use_rslora=True,
        target_modules=["q_proj", "v_proj", "down_proj"],
        rank_pattern={r"layers\.1\.self_attn\.v_proj": 6},
        alpha_pattern={"down_proj": 9},
    )
    return found


def ask(core: NativeEngineCore, adapters: dict[str, Adapter | None], prompts: list[list[int]]) -> dict[str, list[int]]:
    """Greedy answers to each prompt with each adapter, all in one batch."""
    for name, adapter in adapters.items():
        for number, prompt in enumerate(prompts):
            submit(core, f"{name} {number}", prompt, NUM_TOKENS, adapter=adapter)
    answers = run(core)
    assert not any(answer.error for answer in answers.values())
    return {name: answer.token_ids for name, answer in answers.items()}


def described(adapters: dict[str, Path]) -> dict[str, Adapter | None]:
    return {"base": None, **{name: describe(path) for name, path in adapters.items()}}


def test_a_mixed_batch_gives_each_what_peft_gives(model_path: Path, adapters: dict[str, Path]) -> None:
    answers = ask(make_core(model_path), described(adapters), PROMPTS)
    for name in ("base", "one", "two"):
        oracle = load_adapted(model_path, adapters.get(name))
        for number, prompt in enumerate(PROMPTS):
            answer = answers[f"{name} {number}"]
            assert len(answer) == NUM_TOKENS
            assert answer == choices(oracle, prompt, answer), f"{name} {number}"
    assert len({tuple(answers[f"{name} 1"]) for name in ("base", "one", "two")}) == 3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_the_model_s_own_rows_keep_their_bits(dtype: str, model_path: Path, adapters: dict[str, Path]) -> None:
    def logprobs(company: dict[str, Adapter | None]) -> list[Any]:
        core = make_core(model_path, dtype=dtype)
        for name, adapter in company.items():
            submit(core, name, PROMPTS[1], NUM_TOKENS, adapter=adapter, logprobs=5)
        return run(core)["base"].logprobs

    assert logprobs({"base": None}) == logprobs(described(adapters))


def test_adapters_share_no_prefix(model_path: Path, adapters: dict[str, Path]) -> None:
    core = make_core(model_path)
    prompt = random_prompt(64, 9)
    known = described(adapters)
    for adapter in known.values():
        before = core.scheduler.prefix_hits
        submit(core, "first", prompt, 1, adapter=adapter)
        run(core)
        assert core.scheduler.prefix_hits == before
        submit(core, "again", prompt, 1, adapter=adapter)
        run(core)
        assert core.scheduler.prefix_hits == before + 48


def test_more_adapters_than_slots_take_turns(model_path: Path, adapters: dict[str, Path]) -> None:
    crowded = make_core(model_path, max_loras=1)
    alone = make_core(model_path)
    assert ask(crowded, described(adapters), PROMPTS) == ask(alone, described(adapters), PROMPTS)
    # A cancelled one gives its slot back, wherever it was.
    one, two = (describe(path) for path in adapters.values())
    for number in range(3):
        submit(crowded, f"{number}", PROMPTS[0], NUM_TOKENS, adapter=(one, two)[number % 2])
        crowded.step()
    crowded.abort("0")
    crowded.abort("2")
    assert list(run(crowded)) == ["1"]


def test_an_adapter_s_sequences_survive_preemption(model_path: Path, adapters: dict[str, Path]) -> None:
    roomy = ask(make_core(model_path), described(adapters), PROMPTS)
    core = make_core(model_path, kv_cache_memory=12 * 2 * 2 * 2 * 16 * 16 * 4)
    assert ask(core, described(adapters), PROMPTS) == roomy
    assert core.scheduler.num_preemptions > 0


def edit(path: Path, **changes: Any) -> None:
    file = path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = path / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "shape": (
        lambda path: edit_tensors(path, lambda tensors: tensors.update({A: tensors[A][:, :-1].contiguous()})),
        r"lora_A.weight is \[8, 63\], where rank and model ask for \[8, 64\]",
    ),
    "rank": (lambda path: edit(path, r=4), r"ask for \[4, 64\]"),
    "missing": (lambda path: edit_tensors(path, lambda tensors: tensors.pop(A)), f"it has no tensor {A}"),
    "left over": (
        lambda path: edit_tensors(path, lambda tensors: tensors.update({"base_model.model.lm_head.lora_A.weight": tensors[A].clone()})),
        "belong to nothing in this model: base_model.model.lm_head.lora_A.weight",
    ),
    "not finite": (lambda path: edit_tensors(path, lambda tensors: tensors[A].fill_(torch.nan)), "no finite numbers"),
    "integers": (
        lambda path: edit_tensors(path, lambda tensors: tensors.update({A: tensors[A].to(torch.int8)})),
        "should be floats",
    ),
    "target": (lambda path: edit(path, target_modules=["q_proj", "c_attn"]), "targets the module c_attn"),
    "target without weights": (
        lambda path: edit_tensors(path, lambda tensors: [tensors.pop(one) for one in list(tensors) if "up_proj" in one]),
        "no weights for its target module up_proj",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_an_adapter_that_does_not_fit_is_refused_alone(what: str, tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "model", "llama")
    good, bad = tmp_path / "adapters" / "good", tmp_path / "adapters" / "bad"
    save_adapter(tmp_path / "model", good, seed=1)
    shutil.copytree(good, bad)
    spoil, message = BAD[what]
    spoil(bad)
    core = make_core(tmp_path / "model", max_loras=1)
    for name, adapter in {"base": None, "bad": describe(bad), "good": describe(good), "worse": describe(bad)}.items():
        submit(core, name, PROMPTS[0], 4, adapter=adapter)
    answers = run(core)
    for name in ("bad", "worse"):
        assert answers[name].error is not None
        assert answers[name].error.startswith("The adapter bad can't be used: ")
        assert re.search(message, answers[name].error), answers[name].error
    assert len(answers["base"].token_ids) == len(answers["good"].token_ids) == 4


def test_files_that_changed_since_they_were_described_are_not_loaded(tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "model", "llama")
    path = tmp_path / "adapters" / "one"
    save_adapter(tmp_path / "model", path, seed=1)
    old = describe(path)
    save_adapter(tmp_path / "model", path, seed=2)
    core = make_core(tmp_path / "model")
    submit(core, "late", PROMPTS[0], 4, adapter=old)
    assert "changed" in (run(core)["late"].error or "")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_default_model_gives_what_peft_gives(
    default_model: Path, prompts: list[dict[str, Any]], tmp_path: Path, report: Callable[[str], None]
) -> None:
    asked = chat_prompts(default_model, prompts, 6, 200)
    paths = {"one": tmp_path / "one", "two": tmp_path / "two"}
    save_adapter(default_model, paths["one"], seed=1, scale=0.03)
    save_adapter(default_model, paths["two"], seed=2, scale=0.05, r=16, target_modules=list(ALL[:4]))
    core = make_core(
        default_model, threads=None, max_num_seqs=32, max_num_batched_tokens=256, kv_cache_memory=512 << 20
    )
    answers = ask(core, described(paths), asked)
    alone = ask(core, {"base": None}, asked)
    differing = 0
    for name in ("base", "one", "two"):
        oracle = load_adapted(default_model, paths.get(name))
        for number, prompt in enumerate(asked):
            answer = answers[f"{name} {number}"]
            assert len(answer) == NUM_TOKENS
            assert answer == choices(oracle, prompt, answer), f"{name} {number}"
            differing += answer != alone[f"base {number}"]
    assert differing == 2 * len(asked)
    report(
        f"greedy parity with transformers and peft, float32: {len(asked)} prompts of {min(map(len, asked))} to "
        f"{max(map(len, asked))} tokens, {NUM_TOKENS} chosen for each with two adapters and without, all in one batch; all equal"
    )
