"""A cascade of the real model in two precisions, on the real server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.served import openai_client
from fakes.server_process import MODEL, server_process

pytestmark = pytest.mark.slow

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string", "maxLength": 10}},
    "required": ["colour"],
    "additionalProperties": False,
}


def model(dtype: str) -> dict[str, Any]:
    return {"local": {"model": MODEL, "dtype": dtype, "kv_cache_memory": 128 << 20, "max_model_len": 1024}}


async def test_the_real_model_judges_its_margin_its_form_and_its_agreement() -> None:
    sections: dict[str, Any] = {
        "models": {"small": model("int8"), "large": model("bfloat16")},
        "tiers": {"quick": {"models": ["small"]}, "deep": {"models": ["large"]}},
        "router": {
            "policy": "cascade",
            "between": ["quick", "deep"],
            "cascade": {"judges": ["schema", "margin", "agreement"], "min_margin": 0.4, "min_agreement": 0.0},
        },
        "response_cache": {"max_bytes": 1 << 20},
    }
    async with server_process(**sections) as server, openai_client(f"{server.url}/v1") as client:

        async def ask(name: str, text: str, **more: Any) -> tuple[str, str, str]:
            raw = await client.chat.completions.with_raw_response.create(
                model=name, messages=[{"role": "user", "content": text}], temperature=0, max_tokens=24, **more
            )
            answer = raw.parse()
            assert answer.choices[0].logprobs is None
            told = raw.headers.get("x-pennyweight-route", ""), raw.headers.get("x-pennyweight-cache", "")
            return answer.choices[0].message.content or "", *told

        outcomes = set()
        for text in ("Write a surprising word.", "Repeat exactly: one two three"):
            found, route, _ = await ask("auto", text)
            given = route.partition(";")[0].strip('"')
            outcomes.add(given)
            # What is given is to the letter what that model says by itself, whatever else was asked of it.
            assert found == (await ask(given, text))[0]
            assert (await ask("auto", text))[::2] == (found, "hit")
        assert outcomes == {"small", "large"}, "choose other questions: one model was never given"
        assert await server.metric("router_escalations_total") > 0
        choice = {"structured_outputs": {"choice": ["yes", "no"]}}
        text, route, _ = await ask("auto", "Is fire hot?", extra_body=choice)
        assert text in ("yes", "no")
        assert "agreement" in route or "escalated" in route
        text, route, _ = await ask(
            "auto",
            "Which colour is the sky? Answer in JSON.",
            response_format={"type": "json_schema", "json_schema": {"name": "sky", "schema": SCHEMA}},
        )
        assert isinstance(json.loads(text)["colour"], str)
        assert "valid" in route or "escalated" in route
