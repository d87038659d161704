"""The floors of the design: who may import whom, read off the import statements; and what a start must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("server", "kernels", "quantize", "bench")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

# Each part of the tree, and the parts it may import beside itself. The first prefix that fits counts.
ALLOWED: dict[str, tuple[str, ...]] = {
    "kernels": (),
    # Its users look for the quality gate's command among those of quantize; it shows its result as every benchmark does.
    "quantize.cli": ("kernels", "quantize", "bench.cli.quality"),
    "quantize": ("kernels",),
    # Serves what stands in for real engines, for the two servers below.
    "bench.stand_in": ("server",),
    # The two processes that stand for a whole server and for an engine's process, over nothing that computes: they are the server,
    # started by other means, so that only what is measured differs. What measures them talks HTTP as all of bench does.
    "bench.frontend.null_server": ("server", "bench.frontend", "bench.stand_in"),
    "bench.frontend.null_engine": ("bench.frontend.names", "server.engines.base", "server.types", "server.errors"),
    "bench.frontend.null_worker": ("server.engines.local", "server.types"),
    "bench.overload.fixed_server": ("server", "bench.overload", "bench.stand_in"),
    "bench.overload.fixed_engine": ("server.engines.base", "server.types", "server.errors"),
    # Above the server and unknown to it: what it serves, bench asks for over HTTP. Whole distributions no API gives: the gate's
    # measures have them from a process of their own, through a pipe.
    "bench.quality": ("bench", "quantize.quality", "quantize.manifest", "server.errors"),
    "bench.cli.quality": ("bench", "quantize.quality", "quantize.manifest", "server.errors"),
    # Trains and judges what the server loads.
    "bench.router": ("bench", "server.router.learned", "server.router.cascade.margin", "server.errors"),
    "bench.cli.router": ("bench", "server.router.learned", "server.errors"),
    "bench.cli.calibrate": ("bench", "server.router.cascade.calibration", "server.errors"),
    # What decides in the server is replayed over a stream of pairs, which no server would be asked twenty thousand times for.
    "bench.semantic": ("bench", "server.cache.semantic", "server.errors"),
    # Reads a trained router's scores, to set its threshold as operators would on traffic of their own.
    "bench.savings": ("bench", "server.router.learned", "server.errors", "server.ledger.price_book"),
    # Reads what the server has recorded, in its own structs, and makes a request's body as what asks an upstream does. Its measures are
    # the quality gate's.
    "bench.replay": (
        "bench",
        "server.record",
        "server.engines.manifest",
        "server.types",
        "server.errors",
        "server.config",
        "server.key_file",
        "server.telemetry.route_header",
        "server.engines.upstream.request_body",
        "quantize.quality.answers",
    ),
    "bench.drift": (
        "bench",
        "server.record.record",
        "server.engines.manifest",
        "quantize.quality.answers",
        "quantize.quality.bootstrap",
    ),
    "bench.report.kinds.drift": ("bench", "quantize.quality.answers", "quantize.quality.bootstrap"),
    "bench": ("server.errors", "server.ledger.price_book", "server.telemetry.gpu"),
    "server.types": (),
    "server.errors": (),
    "server.config_file": (
        "server.config",
        "server.config_models",
        "server.config_named",
        "server.config_rules",
        "server.config_values",
        "server.strict_yaml",
        "server.errors",
    ),
    "server.config_models": (
        "server.config",
        "server.config_rules",
        "server.config_values",
        "server.strict_yaml",
        "server.errors",
    ),
    "server.config_named": ("server.config", "server.config_values", "server.strict_yaml", "server.errors"),
    "server.config_rules": ("server.config", "server.errors"),
    "server.config_record": (),
    "server.key_file": ("server.errors",),
    "server.config_values": ("server.errors",),
    "server.strict_yaml": ("server.errors",),
    "server.config_routing": (),
    "server.config": ("server.errors", "server.config_record", "server.config_routing"),
    "server.ledger": ("server.types", "server.errors", "server.strict_yaml"),
    "server.engines.local": (
        # Any engine's weights may have one, and the server reads it before it starts the engine.
        "quantize.manifest",
        "server.engines.adapted",
        "server.engines.base",
        "server.engines.determinism",
        "server.engines.features",
        "server.engines.manifest",
        "server.engines.frames",
        "server.engines.supervisor",
        "server.types",
        "server.errors",
        "server.config",
    ),
    "server.engines.native": (
        "kernels",
        "quantize",
        "server.engines",
        "server.types",
        "server.errors",
        "server.config",
    ),
    "server.engines.encoder": (
        "server.engines.local",
        "server.engines.native.checkpoint",
        "server.engines.native.loader",
        "server.engines.native.model_runner",
        "server.types",
        "server.errors",
        "server.config",
    ),
    "server.engines.tensorrt_llm": (
        "server.engines.local",
        "server.engines.features",
        "server.types",
        "server.errors",
        "server.config",
    ),
    "server.engines.upstream": (
        "server.engines.determinism",
        "server.engines.manifest",
        "server.engines.base",
        "server.engines.features",
        "server.engines.token_estimate",
        "server.retry_budget",
        "server.types",
        "server.errors",
        "server.config",
    ),
    "server.engines.faq": (
        "server.engines.manifest",
        "server.engines.base",
        "server.engines.answer_template",
        "server.engines.written_answer",
        "server.types",
        "server.errors",
        "server.config",
    ),
    "server.engines.template": (
        "server.engines.manifest",
        "server.engines.base",
        "server.engines.answer_template",
        "server.engines.written_answer",
        "server.types",
        "server.errors",
        "server.config",
    ),
    "server.engines.vllm": (
        "server.engines.local",
        "server.engines.features",
        "server.types",
        "server.errors",
        "server.config",
    ),
    "server.engines": ("server.types", "server.errors", "server.config"),
    "server.deadline": (
        "server.types",
        "server.errors",
        "server.request_headers",
        "server.engines.base",
        "server.engines.around",
    ),
    "server.api": (
        "server.types",
        "server.errors",
        "server.config",
        "server.deadline",
        "server.engines.base",
        "server.engines.features",
        "server.engines.leasing",
    ),
    "server.retry_budget": (),
    "server.tenants": ("server.config",),
    "server.router.learned": ("server.errors",),
    "server.router": (
        "server.types",
        "server.errors",
        "server.config",
        "server.config_named",
        "server.config_routing",
        "server.tenants",
        "server.retry_budget",
        "server.cache.result",
        "server.ledger.price_book",
        "server.engines.base",
        "server.engines.features",
        "server.engines.frames",
        "server.engines.leasing",
        # How calls are told from a model's text, to judge them: no HTTP, and no JSON of OpenAI's.
        "server.api.tools",
    ),
    "server.cache": (
        "server.types",
        "server.errors",
        "server.key_file",
        "server.config",
        "server.engines.base",
        "server.engines.around",
    ),
    "server.record": (
        "server.types",
        "server.errors",
        "server.config_record",
        "server.key_file",
        "server.cache.breaker",
        "server.engines.base",
        "server.engines.manifest",
        "server.engines.around",
        "server.engines.features",
    ),
    "server.overload": (
        "server.types",
        "server.errors",
        "server.config",
        "server.engines.base",
        "server.engines.around",
    ),
    "server.telemetry": (
        "server.types",
        "server.errors",
        "server.config",
        "server.engines.base",
        "server.api",
        "server.cache",
        "server.router",
        "server.retry_budget",
        "server.overload",
        "server.record",
    ),
    "server.cli": ("server", "kernels.cpu.library"),
    "server.app": ("server",),
    "server": ("server",),
}
# Imported at few places: what is heavy in an engine's own process, what speaks HTTP at its seam.
HEAVY = {
    "torch": ("kernels", "quantize", "server.engines.native", "server.engines.encoder", "server.engines.vllm.worker"),
    "triton": ("kernels.triton",),
    "transformers": ("quantize.recipes",),
    "llmcompressor": ("quantize.recipes",),
    "gptqmodel": ("quantize.recipes",),
    "vllm": ("server.engines.vllm",),
    "tensorrt_llm": ("server.engines.tensorrt_llm",),
    "sklearn": ("server.router.learned.training", "server.router.learned.trainer", "bench.router"),
    "scipy": ("server.router.learned.training",),
    "aiohttp": ("bench", "server.engines.upstream.session"),
}
# In the server's own process; nothing there may bring torch in.
GATEWAY = (
    "pennyweight.server.app",
    "pennyweight.server.cli",
    "pennyweight.server.engines.local.client",
    "pennyweight.server.engines.upstream.client",
    # Not the server's, but what stands beside two processes with a model each need not be a third one.
    "pennyweight.quantize.cli",
    "pennyweight.quantize.quality.evaluation",
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, the project's own without its prefix."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            names = [".".join([*base, *([node.module] if node.module else [alias.name])]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        for name in names:
            yield name.removeprefix("pennyweight.")


def is_within(module: str, parts: tuple[str, ...]) -> bool:
    return any(module == part or module.startswith(part + ".") for part in parts)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_a_module_imports_only_what_lies_below_it(path: Path) -> None:
    module = module_name(path)
    part = next(part for part in ALLOWED if is_within(module, (part,)))
    own = [name for name in imported(path) if is_within(name, FOLDERS)]
    assert [name for name in own if not is_within(name, (part, *ALLOWED[part]))] == []
    for heavy, homes in HEAVY.items():
        if not is_within(module, homes):
            assert [name for name in imported(path) if is_within(name, (heavy,))] == []


@pytest.mark.parametrize("module", GATEWAY)
def test_the_gateway_starts_without_torch(module: str) -> None:
    script = f"import sys, {module}; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]"
