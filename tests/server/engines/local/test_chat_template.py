"""Chat templates as transformers renders them, and what becomes of conversations that they don't know or refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from pennyweight.server.engines.local.chat_template import ChatTemplate, load_chat_template
from pennyweight.server.errors import InvalidRequest, ModelError
from pennyweight.server.types import ChatPrompt, Message, Tool, ToolCall

USER = Message(role="user", content="Hi")
SYSTEM = Message(role="system", content="Be brief.")
CALL = ToolCall(id="call_1", name="look", arguments='{"at": "sky"}')
CALLED = Message(role="assistant", content=None, tool_calls=(CALL,))
RESULT = Message(role="tool", content="blue", tool_call_id="call_1")
LOOK = Tool(
    name="look", description="Look at it", parameters={"type": "object", "properties": {"at": {"type": "string"}}}
)

# The dialect of transformers at work: tools, special tokens, JSON, loop controls, a refusal and a marked generation.
RICH = """{{- bos_token }}
{%- if tools %}[{% for tool in tools %}{{ tool | tojson }}{% if not loop.last %}, {% endif %}{% endfor %}]{% endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' and not loop.index0 %}{{ raise_exception('a result without a call') }}{% endif %}
    {%- if message.role == 'skip' %}{% continue %}{% endif %}
    {%- generation %}<{{ message.role }}>{{ message.content | trim }}{% endgeneration %}
    {%- if message.tool_calls is defined %}{% for call in message.tool_calls %}!{{ call.function.name }}({{ call.function.arguments | tojson }}){% endfor %}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<assistant>{% if enable_thinking %}<think>{% endif %}{% endif %}"""


def prompt(*messages: Message, **options: Any) -> ChatPrompt:
    return ChatPrompt(messages=messages, **options)


@pytest.fixture
def rich() -> ChatTemplate:
    return ChatTemplate(RICH, {"bos_token": "<s>"})


def test_the_real_template_renders_as_transformers_renders_it(default_model: Path) -> None:
    template = load_chat_template(default_model, None)
    assert template is not None
    theirs = AutoTokenizer.from_pretrained(default_model)
    for messages in ([USER], [SYSTEM, USER], [USER, Message(role="assistant", content="Hello! "), USER]):
        for generation in (True, False):
            raw = [{"role": one.role, "content": one.content} for one in messages]
            assert template.render(prompt(*messages, add_generation_prompt=generation)) == theirs.apply_chat_template(
                raw, tokenize=False, add_generation_prompt=generation
            )


def test_tools_and_calls_reach_a_template_that_knows_them(rich: ChatTemplate) -> None:
    text = rich.render(prompt(USER, CALLED, RESULT, tools=(LOOK,)))
    told, _, rest = text.partition("]<user>")
    assert json.loads(told.removeprefix("<s>[")) == {
        "type": "function",
        "function": {"name": "look", "description": "Look at it", "parameters": LOOK.parameters},
    }
    assert rest == 'Hi<assistant>!look({"at": "sky"})<tool>blue<assistant>'


def test_what_a_template_reads_is_known(rich: ChatTemplate) -> None:
    assert "enable_thinking" in rich.variables
    assert not rich.variables & {"raise_exception", "loop", "range", "namespace"}
    assert rich.render(prompt(USER, template_kwargs={"enable_thinking": True})).endswith("<assistant><think>")


def test_a_template_without_tools_is_told_of_them_in_the_system_message() -> None:
    plain = ChatTemplate("{% for m in messages %}<{{ m['role'] }}>{{ m['content'] + '' }}{% endfor %}", {})
    text = plain.render(prompt(SYSTEM, USER, CALLED, RESULT, tools=(LOOK,)))
    system, _, rest = text.partition("<user>Hi")
    assert system.startswith("<system>Be brief.\n\nYou can call functions")
    assert '"name": "look"' in system
    assert rest == (
        '<assistant><tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call>'
        "<user><tool_response>\nblue\n</tool_response>"
    )
    assert plain.render(prompt(USER, tools=(LOOK,))).startswith("<system>You can call functions")
    assert plain.render(prompt(USER)) == "<user>Hi"


def test_a_developer_is_the_system_to_a_template_that_knows_none(rich: ChatTemplate) -> None:
    developer = Message(role="developer", content="Be brief.")
    assert rich.render(prompt(developer, USER)) == rich.render(prompt(SYSTEM, USER))
    knowing = ChatTemplate("{% for m in messages %}{{ m.role }}{# developer #}{% endfor %}", {})
    assert knowing.render(prompt(developer)) == "developer"


@pytest.mark.parametrize("content", ["Once upon", "assistant", "a", "<assistant>", "ends with a space "])
def test_the_last_message_is_continued_where_it_ends(rich: ChatTemplate, content: str) -> None:
    last = Message(role="assistant", content=content)
    options: Any = {"add_generation_prompt": False, "continue_final_message": True}
    assert rich.render(prompt(USER, last, **options)) == f"<s><user>Hi<assistant>{content}"


@pytest.mark.parametrize(
    "arguments",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"a": "\\ud800"}',
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": ' + "9" * 5000 + "}",
        "[1]",
    ],
    ids=["arrays", "objects", "half a character", "no number", "infinity", "digits", "no object"],
)
def test_arguments_that_are_no_good_json_stay_the_text_that_they_are(rich: ChatTemplate, arguments: str) -> None:
    """A model may have written them, and the next request brings them back."""
    call = ToolCall(id="call_1", name="look", arguments=arguments)
    text = rich.render(prompt(USER, Message(role="assistant", content=None, tool_calls=(call,))))
    assert json.dumps(arguments) in text
    assert text.encode().decode() == text


def test_a_template_that_recurses_without_end_is_no_crash() -> None:
    endless = ChatTemplate("{% macro again(x) %}{{ again(x) }}{% endmacro %}{{ again(1) }}", {})
    with pytest.raises(InvalidRequest):
        endless.render(prompt(USER))


def test_a_refusal_of_the_template_is_the_request_s_fault(rich: ChatTemplate) -> None:
    with pytest.raises(InvalidRequest, match="a result without a call") as refused:
        rich.render(prompt(RESULT))
    assert refused.value.param == "messages"


@pytest.mark.parametrize(
    "source", ["{{ messages[9].content }}", "{{ 1 / 0 }}", "{{ messages | nothing }}", "{{ undefined_name.x }}"]
)
def test_a_template_that_fails_is_no_crash(source: str) -> None:
    with pytest.raises((InvalidRequest, ModelError)):
        ChatTemplate(source, {}).render(prompt(USER))


def test_the_sandbox_holds() -> None:
    escape = ChatTemplate("{{ messages.__class__.__mro__[1].__subclasses__() }}", {})
    with pytest.raises(InvalidRequest):
        escape.render(prompt(USER))


def test_a_broken_template_is_refused_with_its_line() -> None:
    with pytest.raises(ModelError, match=r"no valid Jinja: .*line 2"):
        ChatTemplate("\n{% if %}", {})


class TestPlaces:
    """Where a checkpoint may have its template."""

    def save(self, path: Path, **files: Any) -> Path:
        for name, content in files.items():
            name = name.replace("__", ".")
            (path / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def rendered(self, path: Path, override: str | None = None, **options: Any) -> str:
        template = load_chat_template(path, override)
        assert template is not None
        return template.render(prompt(USER, **options))

    def test_none(self, tmp_path: Path) -> None:
        assert load_chat_template(self.save(tmp_path, tokenizer_config__json={}), None) is None

    def test_in_the_tokenizer_s_configuration_with_its_special_tokens(self, tmp_path: Path) -> None:
        config = {
            "chat_template": "{{ bos_token }}{{ eos_token }}",
            "bos_token": {"content": "<b>"},
            "eos_token": "<e>",
        }
        assert self.rendered(self.save(tmp_path, tokenizer_config__json=config)) == "<b><e>"

    def test_in_a_file_of_its_own_which_counts_first(self, tmp_path: Path) -> None:
        self.save(tmp_path, tokenizer_config__json={"chat_template": "old"}, chat_template__jinja="new")
        assert self.rendered(tmp_path) == "new"

    def test_one_for_tools_and_one_without(self, tmp_path: Path) -> None:
        named = [
            {"name": "default", "template": "plain"},
            {"name": "tool_use", "template": "{{ tools | length }} tools"},
        ]
        self.save(tmp_path, tokenizer_config__json={"chat_template": named})
        assert self.rendered(tmp_path) == "plain"
        assert self.rendered(tmp_path, tools=(LOOK,)) == "1 tools"

    def test_several_without_a_default_are_refused(self, tmp_path: Path) -> None:
        self.save(tmp_path, tokenizer_config__json={"chat_template": [{"name": "rag", "template": "x"}]})
        with pytest.raises(ModelError, match="rag"):
            load_chat_template(tmp_path, None)

    def test_given_by_the_operator_as_a_file_or_in_words(self, tmp_path: Path) -> None:
        self.save(tmp_path, tokenizer_config__json={"chat_template": "own"}, mine__jinja="mine")
        assert self.rendered(tmp_path, str(tmp_path / "mine.jinja")) == "mine"
        assert self.rendered(tmp_path, "{{ 1 + 1 }}") == "2"
        with pytest.raises(ModelError, match="can't be read"):
            load_chat_template(tmp_path, str(tmp_path / "none.jinja"))

    def test_the_one_for_tools_in_the_folder_of_newer_checkpoints(self, tmp_path: Path) -> None:
        self.save(tmp_path, chat_template__jinja="plain")
        (tmp_path / "additional_chat_templates").mkdir()
        (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools | length }} tools")
        assert self.rendered(tmp_path) == "plain"
        assert self.rendered(tmp_path, tools=(LOOK,)) == "1 tools"

    @pytest.mark.parametrize(
        "found", [7, ["x"], [{"name": "default"}], {"default": 7}, {"default": "a", "tool_use": 7}]
    )
    def test_what_is_no_template_is_refused(self, tmp_path: Path, found: Any) -> None:
        self.save(tmp_path, tokenizer_config__json={"chat_template": found})
        with pytest.raises(ModelError, match="chat_template"):
            load_chat_template(tmp_path, None)

    def test_a_file_that_is_no_text_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
        with pytest.raises(ModelError, match="can't be read"):
            load_chat_template(tmp_path, None)
