"""Answers from documents over a socket, through OpenAI's client, while the documents change."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
from fakes.written_server import WrittenServer, written_server

from pennyweight.server.config import FaqSettings
from pennyweight.server.engines.base import HealthState
from pennyweight.server.engines.faq.engine import MAX_QUESTION, FaqEngine
from pennyweight.server.errors import ConfigError, ModelError, ModelLoading

FAQ = """{"question": "What are your opening hours?", "answer": "From 9 to 18.\\nNot on {Sundays}.", "id": "hours"}
{"question": "How do I return an item?", "answer": "Send it back."}
"""
HANDBOOK = "# How long does delivery take?\nTwo days.\n"


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    (tmp_path / "faq.jsonl").write_text(FAQ)
    (tmp_path / "handbook.md").write_text(HANDBOOK)
    return tmp_path


@pytest_asyncio.fixture
async def server(documents: Path) -> AsyncIterator[WrittenServer]:
    text = f"""
response_cache: {{max_bytes: 1000000}}
models:
  faq:
    engine: faq
    documents: [{documents}/faq.jsonl, {documents}/handbook.md]
    template: "From our FAQ ({{id}}): {{answer}}"
    check_interval: 3600
"""
    async with written_server(documents, text) as found:
        yield found


def message(text: str, *before: tuple[str, str]) -> Any:
    return [*({"role": role, "content": said} for role, said in before), {"role": "user", "content": text}]


async def ask(server: WrittenServer, text: str, *before: tuple[str, str], **more: Any) -> Any:
    return await server.client.chat.completions.create(model="faq", messages=message(text, *before), **more)


def change(file: Path, text: str) -> None:
    """Write a file so that its time is another one, whatever the clock's resolution."""
    before = file.stat().st_mtime_ns
    file.write_text(text)
    os.utime(file, ns=(before + 10**9, before + 10**9))


async def test_the_last_message_is_answered_from_the_documents(server: WrittenServer) -> None:
    before = (("user", "How do I return an item?"), ("assistant", "Send it back."))
    answer = await ask(server, "And what are your opening hours?", *before)
    assert answer.choices[0].message.content == "From our FAQ (hours): From 9 to 18.\nNot on {Sundays}."
    assert (answer.choices[0].finish_reason, answer.usage.model_extra["estimated"]) == ("stop", True)
    assert answer.system_fingerprint.startswith("fp_")
    plain = await server.client.completions.create(model="faq", prompt="How long does delivery take?")
    assert plain.choices[0].text == "From our FAQ (handbook.md:1): Two days."


async def test_it_streams(server: WrittenServer) -> None:
    stream = await ask(server, "opening hours", stream=True)
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(pieces) == "From our FAQ (hours): From 9 to 18.\nNot on {Sundays}."
    assert len([piece for piece in pieces if piece]) == 2


@pytest.mark.parametrize("text", ["What is the capital of France?", "hours " * MAX_QUESTION, "🙂", "\ud800"])
async def test_what_they_do_not_know_is_an_error_of_its_own(server: WrittenServer, text: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await server.client.post(
            "/chat/completions",
            cast_to=object,
            body={"model": "faq", "messages": [{"role": "user", "content": text.encode(errors="replace").decode()}]},
        )
    assert caught.value.code == "no_answer"


async def test_a_list_of_fallbacks_goes_on_where_they_do_not_know(documents: Path) -> None:
    text = f"""
models:
  faq: {{engine: faq, documents: [{documents}/faq.jsonl]}}
  sorry: {{engine: template, text: "Sorry."}}
tiers:
  help: {{models: [faq], fallbacks: [sorry]}}
"""
    async with written_server(documents, text) as server:
        for question, expected in [
            ("opening hours", "From 9 to 18.\nNot on {Sundays}."),
            ("boil an egg", "Sorry."),
        ] * 4:
            answer = await server.client.chat.completions.create(model="auto", messages=message(question))
            assert answer.choices[0].message.content == expected


async def test_changed_documents_are_read_again_and_answers_of_before_are_not_kept(
    server: WrittenServer, documents: Path
) -> None:
    engine: Any = server.engines["faq"]
    before = await ask(server, "opening hours", seed=1, temperature=0)
    change(documents / "faq.jsonl", FAQ.replace("9 to 18", "8 to 20"))
    await engine.look()
    after = await ask(server, "opening hours", seed=1, temperature=0)
    assert "From 8 to 20" in after.choices[0].message.content
    assert before.system_fingerprint != after.system_fingerprint
    assert '"documents read again"' in server.output.getvalue()


async def test_a_broken_edition_is_logged_once_and_leaves_the_one_of_before(
    server: WrittenServer, documents: Path
) -> None:
    engine: Any = server.engines["faq"]
    change(documents / "faq.jsonl", "{")
    for _ in range(3):
        await engine.look()
    answer = await ask(server, "opening hours")
    assert "From 9 to 18" in answer.choices[0].message.content
    assert server.output.getvalue().count("documents can't be read again") == 1
    assert (engine.health().state, "line 1" in engine.health().detail) == (HealthState.READY, True)
    (documents / "faq.jsonl").unlink()
    await engine.look()
    assert "No such file" in engine.health().detail
    (documents / "faq.jsonl").write_text(FAQ)
    await engine.look()
    assert engine.health().detail == ""


async def test_documents_are_looked_at_by_themselves(documents: Path) -> None:
    told: list[str | None] = []
    settings = FaqSettings(documents=(str(documents / "faq.jsonl"),), check_interval=0.1)
    engine = FaqEngine(settings, "faq", on_reload=told.append)
    with pytest.raises(ModelLoading):
        engine.capabilities()
    await engine.start()
    before = engine.capabilities().fingerprint
    change(documents / "faq.jsonl", FAQ.replace("9", "8"))
    for _ in range(100):
        if told:
            break
        await asyncio.sleep(0.05)
    assert told == [None]
    assert engine.capabilities().fingerprint != before
    await engine.aclose()


async def test_the_same_documents_have_the_same_fingerprint(documents: Path) -> None:
    async def fingerprint(**settings: Any) -> str:
        engine = FaqEngine(FaqSettings(documents=(str(documents / "faq.jsonl"),), **settings), "faq")
        await engine.start()
        found = engine.capabilities().fingerprint
        await engine.aclose()
        return found

    first = await fingerprint()
    assert first == await fingerprint()
    others = {await fingerprint(template="{id}: {answer}"), await fingerprint(threshold=0.7)}
    assert len(others | {first}) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"documents": ()}, "there must be one at least"),
        ({"documents": ("a.pdf",)}, r"a\.pdf is none of \.jsonl, \.csv, \.md"),
        ({"documents": ("x/a.md", "y/a.md")}, "two are called a.md"),
        ({"template": "{text}"}, r"models\.faq\.template has an unknown field text; there are id, question, answer"),
        ({"threshold": 7.0}, "threshold must be from 0 to 2"),
        ({"check_interval": 0.0}, "check_interval must be"),
    ],
)
def test_settings_that_cannot_be_used_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FaqEngine(FaqSettings(**({"documents": ("a.md",)} | settings)), "faq")


async def test_a_start_without_documents_fails(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="can't be read"):
        await FaqEngine(FaqSettings(documents=(str(tmp_path / "none.md"),)), "faq").start()
