"""The models of a configuration file: each with an engine, its own settings, and errors that say where."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pennyweight.server.cli.__main__ import app
from pennyweight.server.config import FaqSettings, Settings, TemplateSettings
from pennyweight.server.config_file import load_settings
from pennyweight.server.errors import ConfigError

FILE = """
engine: {kv_cache_memory: 1GiB, dtype: int8}
residency: {memory_budget: 20GiB}
models:
  small: {model: one, pinned: true, sleep_level: 2}
  large: {engine: vllm, model: /weights/two, dtype: auto, served_model_name: [big], engine_args: {seed: 3}}
  hosted:
    engine: upstream
    base_url: https://llm.example.com/v1
    headers: {X-Secret: hush}
    token_timeout: 5
  faq: {engine: faq, documents: [a.jsonl, b.md], threshold: 0.7}
  sorry: {engine: template, text: "Sorry.", retry_after: 30}
aliases: {chat: large}
"""


def load(tmp_path: Path, text: str, model: str | None = None) -> Settings:
    file = tmp_path / "server.yaml"
    file.write_text(text)
    overrides = {} if model is None else {("engine", "model"): (model, "MODEL")}
    return load_settings(file, {}, overrides).settings


def test_models_have_what_they_say_and_else_what_the_engine_section_says(tmp_path: Path) -> None:
    settings = load(tmp_path, FILE)
    small, large, hosted = settings.models["small"], settings.models["large"], settings.models["hosted"]
    assert small.local is not None
    assert (small.sleep_level, large.sleep_level) == (2, None)
    assert (small.pinned, small.local.kind, small.local.model, small.local.dtype) == (True, "native", "one", "int8")
    assert small.local.kv_cache_memory == 1 << 30
    assert large.local is not None
    assert (large.pinned, large.local.kind, large.local.dtype) == (False, "vllm", "auto")
    assert (large.local.served_model_name, large.local.engine_args) == (("big",), {"seed": 3})
    assert hosted.local is None
    assert hosted.upstream is not None
    assert (hosted.upstream.base_url, hosted.upstream.token_timeout) == ("https://llm.example.com/v1", 5.0)
    assert settings.models["faq"].faq == FaqSettings(documents=("a.jsonl", "b.md"), threshold=0.7)
    assert settings.models["sorry"].template == TemplateSettings(text="Sorry.", retry_after=30)
    assert settings.aliases == {"chat": "large"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [a]", "must be models, each a name with settings"),
        ("models: {a: b}", "must give models names, and each settings"),
        ("models: {7: {model: b}}", "must give models names, and each settings"),
        ("models: {a: {dtype: int8}}", r"must give models\.a a model"),
        ("models: {a: {model: b, dtyp: int8}}", r"line 1, models\.a has an unknown setting dtyp; did you mean dtype"),
        ("models: {a: {model: b, dtype: int7}}", r"engine\.dtype \(from models\.a in .*server\.yaml\) is 'int7'"),
        ("models: {a: {model: b, sleep_level: 3}}", r"models\.a\.sleep_level can't be used"),
        ("models: {a: {model: b, pinned: 3}}", r"models\.a\.pinned must be true or false"),
        ("models: {a: {model: b, max_num_seqs: x}}", r"models\.a\.max_num_seqs can't be used: expected int"),
        ("models: {a: {model: b, kv_cache_memory: much}}", r"models\.a\.kv_cache_memory: 'much' is no size"),
        ("models: {a: {engine: vlm, model: b}}", r"engine\.kind \(from models\.a in .*\) is 'vlm'; it must be one of"),
        ("models: {a: {engine: upstream}}", r"models\.a: an upstream needs a base_url"),
        ("models: {a: {engine: upstream, base_url: x, dialect: y}}", r"models\.a\.dialect can't be used"),
        ("models: {a: {engine: upstream, base_url: x, pinned: true}}", "unknown setting pinned"),
        ("models: {a: {engine: faq}}", r"models\.a must have documents: a list of files"),
        ("models: {a: {engine: faq, documents: [a.md], model: b}}", "unknown setting model"),
        ("models: {a: {engine: template}}", r"models\.a must have text: what it answers"),
        ("models: {a: {engine: template, text: b, retry_after: x}}", r"models\.a\.retry_after can't be used"),
        ("aliases: [a]", "must be aliases, each with the name of a model"),
        ("residency: {memory_budget: 1GiB}", r"memory_budget \(from .*server\.yaml\) is for several models"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_a_model_on_the_command_line_and_models_in_a_file_contradict(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names models of its own: leave out MODEL"):
        load(tmp_path, FILE, model="another")


def test_a_budget_without_models_is_not_dropped() -> None:
    with pytest.raises(ConfigError, match=r"residency\.memory_budget \(from --memory-budget\) is for several models"):
        load_settings(None, {}, {("residency", "memory_budget"): ("1GiB", "--memory-budget")})


def test_a_configuration_is_explained_without_its_secrets(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text(FILE)
    shown = CliRunner().invoke(app, ["explain-config", "--config", str(file), "--json"]).stdout
    assert '"models.large.kind": {"value": "vllm"' in shown
    assert '"aliases.chat": {"value": "large"' in shown
    assert "model hosted: upstream, https://llm.example.com/v1" in shown
    assert "model faq: faq, a.jsonl, b.md, from a score of 0.7 on" in shown
    assert "model sorry: template, a text of 6 characters" in shown
    assert '"models.faq.documents": {"value": ["a.jsonl", "b.md"]' in shown
    assert "hush" not in shown
