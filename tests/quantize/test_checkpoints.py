"""Each scheme by the real library: the checkpoint is whole, and ours reads from it the weights that the library means by it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from fakes.quantize_command import TIMEOUT, Quantize, quantize_command
from fakes.tiny_models import make_core, random_prompt, run, submit
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from pennyweight.kernels.quantised import QuantisedLinear, Scheme
from pennyweight.quantize.formats.registry import checkpoint_format
from pennyweight.quantize.manifest import read_manifest
from pennyweight.quantize.source import read_source, sha256_of

LIBRARY_WEIGHTS, LIBRARY_LOGITS = (
    Path(__file__).with_name(name) for name in ("library_weights.py", "library_logits.py")
)
# So small a model is done sooner by one thread than by several that wait for each other.
TINY = ("--threads", "1")
SMALL = ("--calibration-samples", "16", "--calibration-tokens", "64")
GPTQ = ("--scheme", "w4a16", "--method", "gptq", *SMALL)
AWQ = ("--scheme", "w4a16", "--method", "awq", *SMALL)


@dataclass(frozen=True, slots=True)
class Case:
    """Options, what a projection comes to be, what the library rounds what it dequantises to, and how far ours may be from that.

    ``bound`` is relative to the largest weight of a projection. Projections that end as ``eight_bits`` are W8A16 instead.
    """

    options: tuple[str, ...]
    scheme: Scheme | None
    rounded: torch.dtype = torch.float32
    bound: float = 0.0
    eight_bits: tuple[str, ...] = ()

    def scheme_of(self, module: str) -> Scheme | None:
        return Scheme.W8A16 if self.eight_bits and module.endswith(self.eight_bits) else self.scheme


CASES = {
    "w8a8-smoothquant": Case(("--scheme", "w8a8", "--smoothquant", "0.8", *SMALL), Scheme.W8A8),
    "w4a16-gptq": Case(GPTQ, Scheme.W4A16),
    "w4a16-awq-asymmetric": Case((*AWQ, "--asymmetric"), Scheme.W4A16),
    "w4a16-rtn-mixed": Case(
        (
            "--scheme",
            "w4a16",
            "--method",
            "rtn",
            "--asymmetric",
            "--eight-bits",
            "v_proj",
            "--eight-bits",
            "1.mlp.down_proj",
        ),
        Scheme.W4A16,
        eight_bits=("v_proj", "layers.1.mlp.down_proj"),
    ),
    "gptqmodel": Case((*GPTQ, "--format", "gptq"), Scheme.W4A16, torch.float16),
    "gptqmodel-asymmetric": Case((*GPTQ, "--format", "gptq", "--asymmetric"), Scheme.W4A16, torch.float16),
    "fp8": Case(("--scheme", "fp8"), None),
    "nf4": Case(("--scheme", "nf4"), None),
    "int8": Case(("--scheme", "int8"), Scheme.W8A16, bound=1e-6),
}


class OpenCheckpoint:
    """Implements Tensors over the files of a directory."""

    def __init__(self, directory: Path) -> None:
        opened = [safe_open(file, framework="pt") for file in sorted(directory.glob("*.safetensors"))]
        self._files = {name: file for file in opened for name in file.keys()}  # noqa: SIM118

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def load(self, name: str) -> Tensor:
        tensor: Tensor = self._files[name].get_tensor(name)
        return tensor


def read_linears(directory: Path, shapes: dict[str, tuple[int, int]]) -> dict[str, Any]:
    config = json.loads((directory / "config.json").read_text())
    reader, tensors = checkpoint_format(config["quantization_config"]), OpenCheckpoint(directory)
    assert all(reader.names(name, tensors) for name in shapes)
    return {name: reader.read(name, *shape, tensors) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def checkpoints(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, python: str, quantize: Quantize
) -> dict[str, Path]:
    """The tiny model by each case, and beside each directory, as NAME.weights, what the library dequantises from it."""
    directory = tmp_path_factory.mktemp("checkpoints")
    made = {name: directory / name for name in CASES}

    def make(name: str) -> None:
        ran = quantize(tiny_model, *CASES[name].options, *TINY, "--out", made[name], "--python", python)
        assert ran.stdout.splitlines()[-1] == str(made[name])

    # The libraries' imports, on one thread each, are most of it.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as beside:
        list(beside.map(make, made))
    assert set(directory.iterdir()) == set(made.values())
    command = [python, LIBRARY_WEIGHTS, *made.values()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert ran.returncode == 0, ran.stderr
    return made


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", CASES)
def test_our_reader_means_what_the_library_means(checkpoints: dict[str, Path], tiny_model: Path, name: str) -> None:
    case, out = CASES[name], checkpoints[name]
    shapes = dict(read_source(tiny_model).linears)
    ours, theirs = read_linears(out, shapes), load_file(f"{out}.weights")
    assert set(theirs) == set(shapes)
    for module, read in ours.items():
        assert (read.scheme if isinstance(read, QuantisedLinear) else None) is case.scheme_of(module)
        weights = read.dequantised() if isinstance(read, QuantisedLinear) else read
        far = (weights.to(case.rounded).float() - theirs[module]).abs().max() / theirs[module].abs().max()
        assert far <= case.bound, f"{module} is {far:.1e} away"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", CASES)
def test_what_belongs_to_the_model_goes_along(checkpoints: dict[str, Path], tiny_model: Path, name: str) -> None:
    options, out = CASES[name].options, checkpoints[name]
    for companion in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (out / companion).read_bytes() == (tiny_model / companion).read_bytes()
    manifest = read_manifest(out)
    assert manifest["recipe"]["scheme"] in options
    assert (manifest["calibration"] is not None) is bool(set(SMALL) & set(options))
    assert manifest["result"]["sha256"] == sha256_of(tuple(out.glob("*.safetensors")))
    assert "scores" not in manifest


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    # How far apart in logits the library may see two tokens of which ours takes the other. It computes w8a8 in float32, where a
    # code of an activation may be the next one, GPTQ's in bfloat16.
    ("name", "tie"),
    [("w4a16-gptq", 1e-4), ("w4a16-rtn-mixed", 1e-4), ("w8a8-smoothquant", 0.1), ("gptqmodel", 0.2)],
)
def test_greedy_tokens_are_the_library_s(
    checkpoints: dict[str, Path], python: str, tmp_path: Path, name: str, tie: float
) -> None:
    core = make_core(checkpoints[name])
    prompts = {str(number): random_prompt(3 + number, number) for number in range(20)}
    for one, prompt in prompts.items():
        submit(core, one, prompt, 16)
    answers = run(core)
    asked = tmp_path / "asked.json"
    asked.write_text(json.dumps([[prompt, answers[one].token_ids] for one, prompt in prompts.items()]))
    command = [python, LIBRARY_LOGITS, checkpoints[name], asked, tmp_path / "logits"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert ran.returncode == 0, ran.stderr
    for one, logits in load_file(tmp_path / "logits").items():
        chosen = torch.tensor(answers[one].token_ids)
        behind = logits.max(dim=1).values - logits.gather(1, chosen[:, None])[:, 0]
        assert behind.max() <= tie, f"prompt {one}: {behind.max():.2g} behind the library's choice"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_smoothing_reaches_what_a_gated_mlp_hands_down(checkpoints: dict[str, Path], tiny_model: Path) -> None:
    shapes = dict(read_source(tiny_model).linears)
    read = read_linears(checkpoints["w8a8-smoothquant"], shapes)
    source = load_file(tiny_model / "model.safetensors")

    def by_row(module: str) -> Tensor:
        """How many times larger each row became, but for what all of them share."""
        largest = read[module].dequantised().abs().mean(dim=1) / source[f"{module}.weight"].float().abs().mean(dim=1)
        return largest / largest.median()

    for layer in (0, 1):
        mlp = f"model.layers.{layer}.mlp"
        # Columns alone are scaled behind a norm: on the average of a row that is nearly the same for each.
        assert by_row(f"{mlp}.gate_proj").log().abs().max() < 0.2
        assert by_row(f"{mlp}.up_proj").log().abs().max() > 0.3
        # What up's rows were divided by, down's columns are multiplied by.
        down = read[f"{mlp}.down_proj"].dequantised().abs().mean(dim=0)
        down = down / source[f"{mlp}.down_proj.weight"].float().abs().mean(dim=0)
        product = by_row(f"{mlp}.up_proj") * (down / down.median())
        assert product.log().abs().max() < 0.2


def kill_once(file: Path, command: list[str]) -> None:
    """Run a command until the file is there, and end it and what it started as a power cut would."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + TIMEOUT
        while not file.exists():
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < end
            time.sleep(0.001)
        for one in (*psutil.Process(process.pid).children(recursive=True), process):
            one.kill()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_that_was_killed_goes_on_and_ends_the_same(
    tmp_path: Path, tiny_model: Path, python: str, quantize: Quantize
) -> None:
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    quantize(tiny_model, *GPTQ, *TINY, "--out", whole, "--python", python)
    kept = tmp_path / "halved.incomplete" / "state"
    kill_once(
        kept / "00000.safetensors", quantize_command(tiny_model, *GPTQ, *TINY, "--out", halved, "--python", python)
    )
    assert not halved.exists()
    # However quick the second layer was.
    for later in sorted(kept.iterdir())[1:]:
        later.unlink()
    again = quantize(tiny_model, *GPTQ, *TINY, "--out", halved, "--python", python)
    assert "going on with the layers" in again.stderr
    assert read_manifest(halved)["resumed"]
    assert (whole / "model.safetensors").read_bytes() == (halved / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_default_model_in_eight_bits(tmp_path: Path, default_model: Path, python: str, quantize: Quantize) -> None:
    out = tmp_path / "out"
    quantize("smollm2-135m-instruct", "--scheme", "w8a8", "--out", out, "--python", python)
    shapes = dict(read_source(default_model).linears)
    assert len(shapes) == 30 * 7
    weights = load_file(default_model / "model.safetensors")
    for module, read in read_linears(out, shapes).items():
        assert isinstance(read, QuantisedLinear)
        assert read.scheme is Scheme.W8A8
        original = weights[f"{module}.weight"].float()
        # Half a step, and what the scale lost when it was rounded to bfloat16 itself.
        step = read.scales + original.abs().amax(dim=1, keepdim=True) / 256
        assert ((read.dequantised() - original).abs() <= step).all()
    assert torch.equal(
        load_file(out / "model.safetensors")["model.embed_tokens.weight"], weights["model.embed_tokens.weight"]
    )
