"""``pennyweight bench frontend``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer


def frontend(
    connections: Annotated[list[int], typer.Option(min=1, help="May be repeated.")] = [1, 16, 64, 256],  # noqa: B006
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="That each load is measured for.")] = 4.0,
    warm_up: Annotated[float, typer.Option(min=0, help="Seconds of load before.")] = 1.0,
    tokens: Annotated[int, typer.Option(min=1, help="Of a whole answer.")] = 16,
    stream_tokens: Annotated[int, typer.Option(min=1, help="Of a streamed answer.")] = 128,
    step: Annotated[float, typer.Option(min=0.0001, help="Seconds between two tokens of a stream.")] = 0.01,
    model: Annotated[
        Path | None,
        typer.Option(help="A model's directory (pennyweight pull): for the rows that tokenise."),
    ] = None,
    litellm_python: Annotated[
        Path | None, typer.Option(help="The Python that LiteLLM's proxy is installed for.")
    ] = None,
    router_python: Annotated[Path | None, typer.Option(help="The Python that vllm-router is installed for.")] = None,
    vllm_python: Annotated[
        Path | None, typer.Option(help="The Python that vLLM is installed for; with --model.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only the rows that contain this; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="A directory for the result.")] = None,
) -> None:
    """What a server costs before its engine: CPU time per request and per streamed token, requests per second, latency.

        pennyweight bench frontend --model DIRECTORY --litellm-python PATH --router-python PATH --vllm-python PATH

    Our server runs whole, with admission, limits, metrics and the request log on, over an engine that computes nothing:
    within the server's process, once more with a response cache that gives the same answer again each time, with a router
    and a response cache and nothing asked twice, and with --model in a process of its own, with that model's tokenizer, as
    real engines run. LiteLLM's proxy and vllm-router
    stand in front of a server that answers with constants, and vLLM's front before vLLM's engine with a tiny random
    model. Of the last only the front's own process counts, and no rate or latency is given, for they are the engine's.
    The measured server has a core of its own. CPU time is user and system time of its processes, never of the load, of
    the constant server or of an engine.

    The load is a closed loop: each connection sends its next request when its last answer has ended, so the latency of a
    server that is busy all the time is its queue. Whole answers come as fast as the server can; streams get one token each
    at every --step, as a batch that is decoded gives them, and so each token is written on its own; and once more all
    tokens are ready at once, as where a server is behind its engine and may write several together.

    How to get the peers, each into an environment of its own: ``pip install 'litellm[proxy]==1.80.5'`` (never 1.82.7 or
    1.82.8, which were compromised), ``pip install vllm-router==0.1.17``, and vLLM as ``bench compare --help`` tells.
    """
    import tempfile

    from rich.console import Console

    from pennyweight.bench.compare.measure import BUSY
    from pennyweight.bench.compare.rounds import until_terminated
    from pennyweight.bench.frontend.cores import choose_cores
    from pennyweight.bench.frontend.measure import Plan
    from pennyweight.bench.frontend.names import AT_ONCE, STEPPED
    from pennyweight.bench.frontend.rounds import make_rows, run_rounds
    from pennyweight.bench.frontend.table import make_table
    from pennyweight.bench.frontend.targets import NullServer, Target, Upstream
    from pennyweight.bench.machine import busy_cores
    from pennyweight.bench.peers.base import PeerFailed
    from pennyweight.bench.peers.litellm import LiteLlm
    from pennyweight.bench.peers.process import free_port
    from pennyweight.bench.peers.vllm import Vllm
    from pennyweight.bench.peers.vllm_router import VllmRouter
    from pennyweight.bench.random_model import SHAPES, write_model
    from pennyweight.bench.result import Run, show

    if vllm_python is not None and model is None:
        raise typer.BadParameter("--vllm-python needs --model, whose tokenizer the tiny model gets")
    try:
        cores = choose_cores()
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    plan = Plan(tokens=tokens, stream_tokens=stream_tokens, seconds=seconds, warm_up=warm_up)
    upstream, port = Upstream(step), free_port()
    url, models = f"http://127.0.0.1:{port}", (AT_ONCE, STEPPED)
    run = Run("frontend", {"plan": plan, "connections": connections, "rounds": rounds, "step": step, "cores": cores})
    progress = Console(stderr=True)
    busy = busy_cores()
    with tempfile.TemporaryDirectory(prefix="pennyweight-bench-") as directory:
        targets = [
            Target(NullServer(step)),
            Target(NullServer(step, is_cached=True)),
            Target(NullServer(step, is_routed=True), prefix="auto:", is_varied=True),
        ]
        if model is not None:
            targets.append(Target(NullServer(step, model.absolute()), own_process_only=True))
        # Environments' Pythons are links, which must not be resolved.
        if litellm_python is not None:
            config = Path(directory) / "litellm.yaml"
            targets.append(Target(LiteLlm(litellm_python.absolute(), config, url, models)))
        if router_python is not None:
            targets.append(Target(VllmRouter(router_python.absolute(), url)))
        if vllm_python is not None and model is not None:
            tiny = Path(directory) / "tiny"
            write_model(SHAPES["tiny"], tiny, model)
            front = Vllm(vllm_python.absolute(), tiny, "front", 1, eager=True, dtype="bfloat16", served_names=models)
            targets.append(Target(front, own_process_only=True, is_idle_engine=False))
        targets = [one for one in targets if not only or any(part in one.label for part in only)]
        try:
            versions = {one.peer.name: one.peer.version() for one in targets}
            measuring = run_rounds(targets, upstream, port, plan, cores, sorted(set(connections)), rounds, progress)
            found, complaints = asyncio.run(until_terminated(measuring))
        except PeerFailed as error:
            raise typer.BadParameter(str(error)) from None
        rows = make_rows(targets, upstream, found)
    if busy > BUSY:
        complaints.append(f"other work kept {busy:.1f} cores busy at the start")
    failed = sum(one.failed for one in found)
    if failed:
        complaints.append(f"{failed} answers failed or were cut off")
    data = {"rows": rows, "measurements": found}
    show(run.result(data, versions=versions, complaints=tuple(complaints)), out, make_table(rows, rounds))
