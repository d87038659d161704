"""Kinds of hostile requests that are so by their JSON body alone."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"

REFUSED = frozenset({400})
# A constraint may be a bomb to one compiler and nothing to another, and there may be too many at once.
ANY_ANSWER = frozenset({200, 400, 429})


@dataclass(frozen=True, slots=True)
class Body:
    """A body for a path, the statuses that are right, and the parameters that a refusal may blame, where that is known."""

    raw: bytes
    params: frozenset[str | None] | None = None
    statuses: frozenset[int] = REFUSED
    path: str = CHAT


def chat(model: str, content: object = "Hi", **changes: object) -> dict[str, Any]:
    """A valid chat of a few tokens."""
    return {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 2} | changes


def _body(value: object, *params: str | None, statuses: frozenset[int] = REFUSED, path: str = CHAT) -> Body:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Body(raw, frozenset(params) if params else None, statuses, path)


def _any_chat(generator: random.Random, model: str, changes: list[dict[str, object]], *params: str | None) -> Body:
    return _body(chat(model, **generator.choice(changes)), *params)


def bad_json(generator: random.Random, model: str) -> Body:
    return _body(
        generator.choice([b"", b"{", b"{'model': 1}", b'{"a": 1,}', b"nul", b"{]", b'{"a" 1}', b'"\\x"', b"\xff\xfe"])
    )


def truncated(generator: random.Random, model: str) -> Body:
    whole = json.dumps(chat(model)).encode()
    return _body(whole[: generator.randrange(1, len(whole))])


def not_an_object(generator: random.Random, model: str) -> Body:
    return _body(generator.choice([b"[]", b"null", b"3", b'"text"', b"[{}]", b"true"]))


def wrong_type(generator: random.Random, model: str) -> Body:
    name = generator.choice(["model", "messages", "stream", "temperature", "n", "stop", "tools", "seed", "max_tokens"])
    wrong = generator.choice([{"a": {}}, [[[]]], -0.5, {"type": "object"}])
    return Body(json.dumps(chat(model) | {name: wrong}).encode())


def missing_field(generator: random.Random, model: str) -> Body:
    value = chat(model)
    name = generator.choice(["model", "messages", "content", "role"])
    if name in value:
        del value[name]
        return _body(value, name)
    del value["messages"][0][name]
    return _body(value, f"messages[0].{name}")


def unknown_model(generator: random.Random, model: str) -> Body:
    name = generator.choice(["gpt-4o", "", model.upper(), model + " ", "m" * 100_000, "{{7*7}}", "%s%n"])
    return _body(chat(name), "model", statuses=frozenset({404}))


def not_finite(generator: random.Random, model: str) -> Body:
    number = generator.choice([b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e400"])
    return _body(json.dumps(chat(model, temperature=0.5)).encode().replace(b"0.5", number))


def huge_number(generator: random.Random, model: str) -> Body:
    name = generator.choice(["max_tokens", "seed", "n", "top_k", "min_tokens", "priority", "temperature"])
    return _body(chat(model) | {name: generator.choice([10**30, -(10**25), 10**4000])}, name, None)


def deep_nesting(generator: random.Random, model: str) -> Body:
    depth = generator.choice([65, 1000, 100_000])
    opening, closing = generator.choice([(b"[", b"]"), (b'{"a":', b"1" + b"}")])
    inner = opening * depth + closing * (depth if generator.random() < 0.5 else 0)
    return _body(b'{"model":"x","metadata":' + inner + b"}")


def duplicate_name(generator: random.Random, model: str) -> Body:
    name = generator.choice(["model", "n", "temperature"])
    return _body(json.dumps(chat(model)).encode().replace(b"{", b'{"%b":1,"%b":1,' % (name.encode(), name.encode()), 1))


def lone_surrogate(generator: random.Random, model: str) -> Body:
    return _body(chat(model, generator.choice(["\ud800", "a\udfffb", "\udc00\ud800"])), "messages[0].content")


def invalid_utf8(generator: random.Random, model: str) -> Body:
    damage = generator.choice([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"])
    return _body(json.dumps(chat(model, "HERE")).encode().replace(b"HERE", damage))


def byte_order_mark(generator: random.Random, model: str) -> Body:
    text = json.dumps(chat(model))
    return _body(generator.choice([text.encode("utf-8-sig"), text.encode("utf-16"), text.encode("utf-32")]))


def many_values(generator: random.Random, model: str) -> Body:
    item = generator.choice([b"0,", b"[],", b'"",', b"{},"])
    return _body(b'{"model":"x","a":[' + item * (7_000_000 // len(item)) + b"0]}")


def many_messages(generator: random.Random, model: str) -> Body:
    count = generator.choice([2049, 20_000])
    return _body(chat(model) | {"messages": [{"role": "user", "content": "x"}] * count}, "messages")


def many_stops(generator: random.Random, model: str) -> Body:
    long = generator.choice(["x" * 257, "x" * 1_000_000])
    changes: list[dict[str, object]] = [{"stop": ["x"] * 17}, {"stop": [long]}, {"stop": [""]}, {"stop": long}]
    changes.append({"stop_token_ids": list(range(1000))})
    return _any_chat(generator, model, changes, "stop", "stop[0]", "stop_token_ids")


def many_biases(generator: random.Random, model: str) -> Body:
    wrong: list[dict[str, object]] = [{str(number): 1 for number in range(1025)}, {"x": 1}, {"-1": 1}, {"1": 1e3}]
    wrong += [{"01": 1, "1": 1}, {"9" * 5000: 1}, {"1": "1"}, {" 1": 1}, {"999999": 1}]
    return _any_chat(
        generator, model, [{"logit_bias": bias} for bias in wrong], "logit_bias", "logit_bias.1", "logit_bias[...]"
    )


def bad_tools(generator: random.Random, model: str) -> Body:
    def tool(name: str, parameters: object = None) -> dict[str, object]:
        return {"type": "function", "function": {"name": name, "parameters": parameters}}

    wrong: list[object] = [
        [tool(f"f{number}") for number in range(129)],
        [tool("f"), tool("f")],
        [tool("a b")],
        [tool("")],
        [tool("f", {"x": "y" * 70_000})],
        [{"type": "retrieval"}],
        [{"type": "function"}],
    ]
    return _body(chat(model, tools=generator.choice(wrong)))


def many_prompts(generator: random.Random, model: str) -> Body:
    prompt = generator.choice([["x"] * 65, [[1]] * 65, [], ["x", 1], [[]], ["x", [1]]])
    return _body({"model": model, "prompt": prompt, "max_tokens": 1}, "prompt", "prompt[0]", path=COMPLETIONS)


def many_choices(generator: random.Random, model: str) -> Body:
    return _any_chat(generator, model, [{"n": 17}, {"n": 10**9}, {"n": 0}, {"best_of": 5}], "n", "best_of")


def foreign_tokens(generator: random.Random, model: str) -> Body:
    token = generator.choice([-1, 999_999, 2**31 - 1, 2**31, 2**64])
    if generator.random() < 0.5:
        return _body({"model": model, "tokens": [1, token]}, path="/detokenize")
    return _body({"model": model, "prompt": [1, token], "max_tokens": 1}, path=COMPLETIONS)


def over_the_context(generator: random.Random, model: str) -> Body:
    if generator.random() < 0.3:
        prompt = [generator.randrange(1000) for _ in range(200_000)]
        return _body({"model": model, "prompt": prompt, "max_tokens": 1}, "prompt", path=COMPLETIONS)
    return _body(chat(model, "The quick brown fox jumps. " * generator.randrange(2_000, 200_000)), "messages")


def slow_to_tokenise(generator: random.Random, model: str) -> Body:
    text = generator.choice(["a", "1", " ", "\n", "!?", "\u0301", "\U0001f600", "ab", "<|im_start|>"])
    size = generator.randrange(1_000_000, 2_000_000)
    return _body(chat(model, text * (size // len(text.encode()))), "messages")


def long_text_to_count(generator: random.Random, model: str) -> Body:
    text = "".join(generator.choices(string.ascii_lowercase, k=500_000))
    return _body({"model": model, "prompt": text}, statuses=frozenset({200, 400}), path="/tokenize")


def regex_bomb(generator: random.Random, model: str) -> Body:
    n = generator.randrange(20, 2000)
    regex = generator.choice(
        [
            f"(a|b)*a(a|b){{{n}}}",
            f"(.*{'.*'.join(generator.choices(string.ascii_letters, k=30))}){{{n}}}",
            f"((((a{{{n}}}){{100}}){{100}}){{100}})",
            f"([a-z]{{1,{n}}} ?){{1,{n}}}",
            f"(\\w+\\s?)*{n}$",
            "(" + "|".join("".join(generator.choices("abc", k=12)) for _ in range(3000)) + f"){{{n}}}",
            "(" * n + "a" + ")" * n,
            f"(?=a{{{n}}})b",
            f"(a)\\1{{{n}}}",
            f"[{n}",
        ]
    )
    params = ("structured_outputs.regex",)
    return _body(chat(model, structured_outputs={"regex": regex}), *params, statuses=ANY_ANSWER)


def schema_bomb(generator: random.Random, model: str) -> Body:
    n = generator.randrange(10, 60)
    words = ["".join(generator.choices(string.ascii_lowercase, k=8)) for _ in range(3000)]
    choice = {"anyOf": [{"properties": {word: {"type": "string"}}} for word in words[:n]]}
    nested: dict[str, object] = {"type": "string", "pattern": f"(a|b)*a(a|b){{{n}}}"}
    for _ in range(12):
        nested = {"type": "array", "items": nested, "minItems": n, "maxItems": n * n}
    schemas: list[dict[str, object]] = [
        {"$ref": "#"},
        {
            "allOf": [{"$ref": "#/$defs/a"}],
            "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}},
        },
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "#/$defs/missing"},
        {"enum": words},
        {"allOf": [choice] * n},
        nested,
        {"type": "object", "properties": {word: {"enum": words[:10]} for word in words[:300]}},
        {"type": "string", "minLength": 10**9 + n},
        {"type": "array", "minItems": 10**6 + n},
        {"type": "object", "patternProperties": {f"^(x+x+)+{n}y$": {"type": "integer"}}},
        {"type": "nothing", "x": n},
        {"type": "integer", "minimum": 10**30, "maximum": -(10**30) - n},
    ]
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": generator.choice(schemas)}}
    return _body(chat(model, response_format=form), "response_format.json_schema.schema", statuses=ANY_ANSWER)


def grammar_bomb(generator: random.Random, model: str) -> Body:
    n = generator.randrange(20, 400)
    rules = "".join(f"r{number}: r{number + 1} r{number + 1}\n" for number in range(n))
    grammar = generator.choice(
        [
            'start: start start | "a"\n' + "\n" * n,
            f'start: r0\n{rules}r{n}: "a"\n',
            f'start: ("a"{{{n}}}){{{n}}}\n',
            "start: undefined\n" + "\n" * n,
            "start: " + "(" * n + '"a"' + ")" * n + "\n",
            'root ::= root root | "a"\n' + "\n" * n,
            f"start: /(a|b)*a(a|b){{{n}}}/\n",
            "%" * n,
        ]
    )
    params = ("structured_outputs.grammar",)
    return _body(chat(model, structured_outputs={"grammar": grammar}), *params, statuses=ANY_ANSWER)


def contradictory(generator: random.Random, model: str) -> Body:
    changes: list[dict[str, object]] = [
        {"structured_outputs": {"regex": "a", "choice": ["a"]}},
        {"structured_outputs": {"regex": "a"}, "response_format": {"type": "json_object"}},
        {"guided_regex": "a", "guided_choice": ["b"]},
        {"max_tokens": 1, "min_tokens": 2},
        {"max_tokens": 1, "max_completion_tokens": 2},
        {"stream_options": {"include_usage": True}},
        {"top_logprobs": 2},
        {"continue_final_message": True, "add_generation_prompt": True},
        {"structured_outputs": {"choice": []}},
    ]
    return _any_chat(generator, model, changes)


def bad_tool_choice(generator: random.Random, model: str) -> Body:
    choices = ["required", "any", {"type": "function", "function": {"name": "missing"}}, {"type": "x"}, 3, []]
    return _any_chat(
        generator, model, [{"tool_choice": one} for one in choices], "tool_choice", "tool_choice.function.name",
        "tool_choice.type", "tool_choice.function",
    )  # fmt: skip


def unsupported(generator: random.Random, model: str) -> Body:
    name, value = generator.choice(
        [
            ("length_penalty", 2.0),
            ("audio", {"voice": "x", "format": "wav"}),
            ("modalities", ["audio"]),
            ("functions", [{"name": "f"}]),
            ("logits_processors", ["os.system"]),
            ("chat_template", "{{ cycler.__init__.__globals__.os.system('id') }}"),
            ("truncate_prompt_tokens", 5),
            ("prompt_embeds", "AAAA"),
        ]
    )
    return _body(chat(model) | {name: value}, name)


def not_text(generator: random.Random, model: str) -> Body:
    part = generator.choice(
        [
            {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"type": "file", "file": {"file_id": "../../etc/passwd"}},
            {"type": "x" * 10_000},
            {"type": "text"},
        ]
    )
    return _body(chat(model, [part]), "messages[0].content[0]", "messages[0].content[0].text")


def out_of_range(generator: random.Random, model: str) -> Body:
    name, value = generator.choice(
        [
            ("temperature", -0.1), ("temperature", 2.5), ("top_p", -1), ("top_p", 1.5), ("top_k", -2), ("min_p", 7),
            ("presence_penalty", 2.1), ("frequency_penalty", -9), ("repetition_penalty", 0), ("max_tokens", 0),
            ("max_tokens", -1), ("top_logprobs", 21), ("n", -1), ("seed", 2**63), ("max_tokens", 10**6),
        ]
    )  # fmt: skip
    return _body(chat(model, logprobs=True) | {name: value}, name)


MAKERS: tuple[Callable[[random.Random, str], Body], ...] = (
    bad_json, truncated, not_an_object, wrong_type, missing_field, unknown_model, not_finite, huge_number, deep_nesting,
    duplicate_name, lone_surrogate, invalid_utf8, byte_order_mark, many_values, many_messages, many_stops, many_biases,
    bad_tools, many_prompts, many_choices, foreign_tokens, over_the_context, slow_to_tokenise, long_text_to_count,
    regex_bomb, schema_bomb, grammar_bomb, contradictory, bad_tool_choice, unsupported, not_text, out_of_range,
)  # fmt: skip
