"""The command line as a person runs it: in a process of its own, against a server on a real socket."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from fakes.live_server import LiveEngine, LiveServer, live_server

from pennyweight.server.cli.flags import FLAGS
from pennyweight.server.config import Settings
from pennyweight.server.errors import EngineFailed

COMMANDS = ("serve", "pull", "chat", "explain-config", "doctor", "version")


class Ran(NamedTuple):
    code: int
    out: str
    err: str


async def pennyweight(*arguments: str, stdin: str = "", **environment: str) -> Ran:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PENNYWEIGHT_HTTP", "OPENAI_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pennyweight.server.cli", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean | {"COLUMNS": "200", "NO_COLOR": "1"} | environment,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def server() -> AsyncIterator[LiveServer]:
    async with live_server() as running:
        yield running


async def test_help_teaches_every_command() -> None:
    shown = await pennyweight("--help")
    assert shown.code == 0
    assert all(command in shown.out for command in COMMANDS)
    assert "pennyweight serve" in shown.out


@pytest.mark.parametrize("command", ["serve", "explain-config"])
async def test_every_flag_is_in_the_help(command: str) -> None:
    shown = await pennyweight(command, "--help")
    for flag in FLAGS:
        assert flag.names[0].partition("/")[0] in shown.out


def test_every_flag_sets_a_setting_that_there_is() -> None:
    for flag in FLAGS:
        assert hasattr(getattr(Settings(), flag.section), flag.setting)


@pytest.mark.parametrize("spelling", ["--version", "version"])
async def test_the_version_is_told(spelling: str) -> None:
    assert (await pennyweight(spelling)).out.startswith("pennyweight 0.")


async def test_an_unknown_flag_is_a_usage_error() -> None:
    ran = await pennyweight("serve", "--prot", "1")
    assert ran.code == 2
    assert "--port" in ran.err


async def test_explain_config_tells_where_each_setting_comes_from(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("engine: {dtype: int8}\n")
    ran = await pennyweight(
        *("explain-config", "--json", "--config", str(tmp_path / "c.yaml"), "--port", "81", "a-model"),
        PENNYWEIGHT_API_KEY="sk-secret",
    )
    settings = json.loads(ran.out)["settings"]
    assert settings["http.port"] == {"value": 81, "source": "--port"}
    assert settings["engine.model"] == {"value": "a-model", "source": "MODEL"}
    assert settings["engine.dtype"] == {"value": "int8", "source": str(tmp_path / "c.yaml")}
    assert settings["http.host"]["source"] == "default"
    assert settings["http.api_keys"] == {"value": "1 hidden", "source": "PENNYWEIGHT_API_KEY"}
    assert "sk-secret" not in ran.out


async def test_a_bad_setting_is_one_line() -> None:
    ran = await pennyweight("serve", "--dtype", "float16")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert ran.err.startswith("pennyweight: engine.dtype (from --dtype) is 'float16'")


async def test_a_file_that_is_no_yaml_is_one_line_without_its_keys(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("http: {api_keys: [sk-secret}\n")
    ran = await pennyweight("serve", "--config", str(tmp_path / "c.yaml"))
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "line 1, column 28" in ran.err
    assert "sk-secret" not in ran.err


async def test_doctor_refuses_a_port_that_there_is_not() -> None:
    ran = await pennyweight("doctor", "--port", "99999")
    assert ran.code == 2
    assert "Traceback" not in ran.err


async def test_a_model_that_is_not_there_is_one_line() -> None:
    ran = await pennyweight("serve", "no-such-model", "--port", "0")
    assert ran.code == 1
    assert "no model is called 'no-such-model'" in ran.err.splitlines()[-1]


async def test_a_port_that_is_taken_is_one_line(server: LiveServer) -> None:
    ran = await pennyweight("serve", "--port", str(server.port))
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert str(server.port) in ran.err


async def test_pull_prints_the_directory_last(default_model: Path) -> None:
    ran = await pennyweight("pull", "smollm2-135m-instruct")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, str(default_model))


async def test_doctor_looks_at_machine_and_engines() -> None:
    ran = await pennyweight("doctor", "--json", "--port", "0")
    found = {finding["what"]: finding for finding in json.loads(ran.out)["findings"]}
    assert {"processor", "memory", "gpu", "cache", "engine native", "default model", "engine vllm"} <= found.keys()
    assert "torch 2" in found["engine native"]["found"]
    assert ran.code == 0


async def test_chat_asks_once_and_tells_the_speed(server: LiveServer) -> None:
    ran = await pennyweight("chat", "--url", server.url, "Hi")
    assert (ran.code, ran.out) == (0, "Hello world\n")
    assert "2 tokens in " in ran.err
    assert "tokens/s" in ran.err


async def test_chat_asks_what_is_piped_in(server: LiveServer) -> None:
    assert (await pennyweight("chat", "--url", server.url + "/v1", stdin="Hi\n")).out == "Hello world\n"


async def test_chat_says_what_to_do_when_nobody_answers() -> None:
    ran = await pennyweight("chat", "--url", "http://127.0.0.1:9", "Hi")
    assert ran.code == 1
    assert "start one with: pennyweight serve" in ran.err


async def test_chat_passes_on_what_the_server_says() -> None:
    async with live_server(LiveEngine(refusal=lambda request: EngineFailed("No luck."))) as server:
        ran = await pennyweight("chat", "--url", server.url, "Hi")
        assert (ran.code, ran.err) == (1, "pennyweight: No luck.\n")


async def test_chat_asks_for_the_key() -> None:
    async with live_server(http={"api_keys": ("sk-one",)}) as server:
        ran = await pennyweight("chat", "--url", server.url, "Hi")
        assert ran.code == 1
        assert "$PENNYWEIGHT_API_KEY" in ran.err
        ran = await pennyweight("chat", "--url", server.url, "Hi", PENNYWEIGHT_API_KEY="sk-one, sk-two")
        assert ran.out == "Hello world\n"


async def test_chat_waits_for_a_server_that_is_loading() -> None:
    async with live_server(loaded=False) as server:
        asking = asyncio.create_task(pennyweight("chat", "--wait", "--url", server.url, "Hi"))
        await asyncio.sleep(1.0)
        assert not asking.done()
        server.engine.loaded.set()
        assert (await asking).out == "Hello world\n"
