"""Settings from a file, the environment and flags: which counts, and what is said of those that can't be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from pennyweight.server.api.tools.formats import TOOL_FORMATS
from pennyweight.server.config import Settings
from pennyweight.server.config_file import SECTIONS, load_settings
from pennyweight.server.config_values import parse_size
from pennyweight.server.errors import ConfigError
from pennyweight.server.telemetry.logs import level_number


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "server.yaml"
    path.write_text(text)
    return path


def test_without_anything_the_defaults_hold() -> None:
    loaded = load_settings(None, {"HOME": "/", "PATH": "/bin"}, {})
    assert loaded.settings == Settings()
    assert loaded.sources == {}


def test_the_file_of_defaults_states_every_default() -> None:
    file = Path(__file__).parents[2] / "configs" / "default.yaml"
    loaded = load_settings(file, {}, {})
    assert loaded.settings == Settings()
    assert loaded.sources.keys() == {
        f"{section}.{name}" for section, kind in SECTIONS.items() for name in kind.__struct_fields__
    }


def test_flags_count_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "http: {port: 1, host: file, grace_period: 5}\nengine:\n  served_model_name: [a, b]\n")
    environment = {"PENNYWEIGHT_HTTP__PORT": "2", "PENNYWEIGHT_HTTP__HOST": "environment"}
    loaded = load_settings(file, environment, {("http", "port"): (3, "--port")})
    http = loaded.settings.http
    assert (http.port, http.host, http.grace_period) == (3, "environment", 5.0)
    assert loaded.settings.engine.served_model_name == ("a", "b")
    assert loaded.sources == {
        "http.port": "--port",
        "http.host": "PENNYWEIGHT_HTTP__HOST",
        "http.grace_period": str(file),
        "engine.served_model_name": str(file),
    }


def test_the_environment_gives_text_that_is_read_as_the_setting_s_type() -> None:
    environment = {
        "PENNYWEIGHT_API_KEY": "one, two",
        "PENNYWEIGHT_ENGINE__ENABLE_PREFIX_CACHING": "false",
        "PENNYWEIGHT_ENGINE__KV_CACHE_MEMORY": "2GiB",
        "PENNYWEIGHT_HTTP__GRACE_PERIOD": "1.5",
        "PENNYWEIGHT_CACHE": "/anywhere",
    }
    settings = load_settings(None, environment, {}).settings
    assert settings.http.api_keys == ("one", "two")
    assert settings.engine.enable_prefix_caching is False
    assert settings.engine.kv_cache_memory == 2 << 30
    assert settings.http.grace_period == 1.5


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", 1 << 20),
        ("2GiB", 2 << 30),
        ("2 gib", 2 << 30),
        ("512MB", 512_000_000),
        ("4G", 4 << 30),
        ("1.5k", 1536),
    ],
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http:\n  prot: 1", r"server\.yaml, line 2, has an unknown setting http\.prot; did you mean port\?"),
        ("htpp: {}", r"unknown section 'htpp'; did you mean http\?"),
        ("http: {port: 1, port: 2}", "line 1, column 17: the name comes twice"),
        ("http: 3", "section http .* must be settings"),
        ("- 1", "must be sections: http, limits, engine, response_cache, overload, semantic_cache, log"),
        ("http: {port: eighty}", r"http\.port \(from .*server\.yaml\) can't be used: expected int"),
        ("http: {port: 70000}", r"http\.port .* is 70000; it must be from 0 .* to 65535"),
        (
            "engine: {dtype: float16}",
            r"engine\.dtype .* one of auto, bfloat16, int8, float32 .*bfloat16 takes its place",
        ),
        ("engine: {block_size: 20}", "a positive multiple of 16"),
        ("engine: {kv_cache_memory: 2 bananas}", "'2 bananas' is no size"),
        (
            "engine: {max_num_batched_tokens: 512, max_num_seqs: 600}",
            r"max_num_batched_tokens \(512\) must not be below .* \(600\)",
        ),
        ("engine: {tool_call_parser: xml}", "one of hermes, llama3, mistral"),
        ("log: {level: loud}", "one of debug, info, warning, error"),
        ("limits: {max_n: 0}", r"limits\.max_n .* at least 1"),
        ("http: [", "not valid YAML"),
        ("? [a, b]\n: 1", "not valid YAML: line 1, column 3"),
        ("http: {port: 2026-13-45}", "not valid YAML"),
        ("engine: {device: banana}", "auto, cpu, cuda or cuda:N"),
        ("router: {cascade: {judges: []}}", r"router\.cascade\.judges .* must be at least one of them"),
        ("router: {cascade: {judges: [schema, schema]}}", r"router\.cascade\.judges .* none twice"),
        ("router: {cascade: {judges: [taste]}}", r"router\.cascade .* invalid enum value"),
        ("router: {cascade: {min_margin: 2}}", r"router\.cascade\.min_margin .* must be from 0 to 1"),
        ("router: {cascade: {mni_margin: 1}}", r"router\.cascade .* unknown field"),
        ("router: {policy: cascade}", r"router\.policy cascade needs router\.between"),
        (
            "models: {m: {model: x}}\ntiers: {t: {models: [m], stale_if_error: 60}}",
            r"tiers\.t\.stale_if_error .* set response_cache\.max_bytes",
        ),
        (
            "models: {m: {model: x}}\ntiers: {t: {models: [m], stale_if_error: -1}}\nresponse_cache: {max_bytes: 1MiB}",
            r"tiers\.t\.stale_if_error must be seconds",
        ),
    ],
)
def test_what_cannot_be_used_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(write(tmp_path, text), {}, {})


def test_an_unknown_variable_is_refused_with_what_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"PENNYWEIGHT_HTTP__PROT; did you mean PENNYWEIGHT_HTTP__PORT\?"):
        load_settings(None, {"PENNYWEIGHT_HTTP__PROT": "1"}, {})


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read: No such file"):
        load_settings(tmp_path / "none.yaml", {}, {})


@pytest.mark.parametrize(
    "text",
    [
        "http: {api_keys: {sk-secret: 1}}",
        "http: {api_keys: {sk-secret: 1, sk-secret: 2}}",
        "http: {api_keys: [sk-secret}",
        "http:\n  api_keys: [*sk-secret]",
        "http:\n  api_keys: [!sk-secret]",
        "http:\n  api_keys: [!sk-secret!x y]",
        "http:\n  api_keys: sk-secret: 1",
        "http:\n  api_keys: ['sk-secret ']",
        "http:\n  api_keys: ['sk-secret\n",
    ],
)
def test_a_key_is_in_no_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(write(tmp_path, text), {}, {})
    assert "secret" not in str(refused.value)


def test_a_key_of_the_environment_is_one_more(tmp_path: Path) -> None:
    file = write(tmp_path, "http: {api_keys: [one]}")
    loaded = load_settings(file, {"PENNYWEIGHT_API_KEY": "two"}, {})
    assert loaded.settings.http.api_keys == ("one", "two")
    assert loaded.sources["http.api_keys"] == f"{file}, PENNYWEIGHT_API_KEY"


@pytest.mark.parametrize("variable", ["PENNYWEIGHT_API_KEY", "PENNYWEIGHT_HTTP__API_KEYS"])
def test_an_empty_variable_does_not_open_the_server(variable: str, tmp_path: Path) -> None:
    file = write(tmp_path, "http: {api_keys: [one]}")
    assert load_settings(file, {variable: ""}, {}).settings.http.api_keys == ("one",)


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"http\.api_keys \(from --api-key\) has a key that is empty"):
        load_settings(None, {}, {("http", "api_keys"): ([""], "--api-key")})


@pytest.mark.parametrize("format", sorted(TOOL_FORMATS))
def test_every_format_of_tool_calls_can_be_set(format: str) -> None:
    loaded = load_settings(None, {}, {("engine", "tool_call_parser"): (format, "--tool-call-parser")})
    assert loaded.settings.engine.tool_call_parser == format


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_every_level_of_the_log_is_known_to_it(level: str) -> None:
    assert level_number(load_settings(None, {"PENNYWEIGHT_LOG__LEVEL": level}, {}).settings.log) > 0


def test_a_cascade_is_set_in_the_environment_as_json() -> None:
    environment = {"PENNYWEIGHT_ROUTER__CASCADE": '{"judges": ["agreement"], "samples": 5}'}
    cascade = load_settings(None, environment, {}).settings.router.cascade
    assert (cascade.judges, cascade.samples, cascade.min_margin) == (("agreement",), 5, 0.6)


def test_variables_of_other_commands_are_no_settings() -> None:
    environment = {
        "PENNYWEIGHT_ADMIN_URL": "http://127.0.0.1:8001",
        "PENNYWEIGHT_KERNELS": "none",
        "PENNYWEIGHT_PRICES": "p",
    }
    assert load_settings(None, environment, {}).settings == Settings()
