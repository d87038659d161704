"""The table of what is used of TensorRT-LLM, held against the fake, against our source, and against the real one where it is."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.tensorrt_llm_engine import FAKE

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.tensorrt_llm import launch
from pennyweight.server.engines.tensorrt_llm.interface import USED

SOURCES = [Path(launch.__file__).resolve().with_name(name) for name in ("worker.py", "sampling.py", "outputs.py")]
TABLE = {used.name: used for used in USED}
# What is called in our source by its last name alone; the keywords of LLM are those of TorchLlmArgs.
CALLED = {used.name.split(".")[-1]: used for used in USED if used.name != "LLM"}
LACKING = "from pennyweight.server.engines.tensorrt_llm.interface import lacking; print(lacking())"


def lacking(**environment: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", LACKING], env={**os.environ, **environment}, check=True, capture_output=True, text=True
    )
    return ran.stdout.strip().splitlines()[-1]


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call in our source of something that the table names."""
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in CALLED:
                    yield name, node


def test_the_fake_has_all_that_is_used() -> None:
    assert lacking(PYTHONPATH=str(FAKE)) == "[]"


def test_what_a_version_lacks_is_found(tmp_path: Path) -> None:
    package = tmp_path / "tensorrt_llm"
    package.mkdir()
    (package / "__init__.py").write_text("class LLM:\n    def generate_async(self, inputs, sampling_params): ...\n")
    found = lacking(PYTHONPATH=str(tmp_path))
    assert "LLM.generate_async(streaming=)" in found
    assert "LLM.generate_async(inputs=)" not in found
    assert "LLM.get_stats_async" in found
    assert "tensorrt_llm.llmapi.KvCacheConfig" in found


def test_every_keyword_in_our_source_is_in_the_table_and_every_one_of_the_table_is_used() -> None:
    used: dict[str, set[str]] = {}
    for name, call in calls():
        if not any(keyword.arg is None for keyword in call.keywords):
            assert not call.args, f"{name} is called by position"
        used.setdefault(name, set()).update(keyword.arg for keyword in call.keywords if keyword.arg)
    by_data = {"TorchLlmArgs", "KvCacheConfig"}
    assert {name: set(one.keywords) for name, one in CALLED.items() if one.keywords and name not in by_data} == {
        name: keywords for name, keywords in used.items() if keywords
    }


def test_the_arguments_that_settings_become_are_in_the_table(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 100, "max_position_embeddings": 256}))
    changed = EngineSettings(
        dtype="bfloat16",
        max_num_seqs=1,
        max_num_batched_tokens=64,
        enforce_eager=True,
        kv_cache_memory=1,
        block_size=64,
    )
    arguments = launch.engine_arguments(changed, tmp_path)
    assert set(arguments) == set(TABLE["TorchLlmArgs"].keywords)
    assert set(arguments["kv_cache_config"]) == set(TABLE["KvCacheConfig"].keywords)


def test_every_attribute_that_is_read_is_in_the_table() -> None:
    """Of parameters that are said to be of TensorRT-LLM's types, and of the engine itself."""
    for source in SOURCES:
        for function in ast.walk(ast.parse(source.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            typed = {
                argument.arg: TABLE[argument.annotation.id]
                for argument in [*function.args.args, *function.args.kwonlyargs]
                if isinstance(argument.annotation, ast.Name) and argument.annotation.id in TABLE
            }
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in typed:
                    used = typed[node.value.id]
                    assert node.attr in used.attributes + used.own_attributes, f"{used.name}.{node.attr}"
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self._llm":
                    assert node.attr in TABLE["LLM"].attributes


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_llm") is None,
    reason="TensorRT-LLM is not installed: only the fake could be held against the table",
)
def test_the_installed_version_has_all_that_is_used() -> None:
    assert lacking() == "[]"
