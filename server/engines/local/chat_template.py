"""A model's chat template: from a conversation to the text that the model was trained to go on from."""

from __future__ import annotations

import datetime
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.meta
import msgspec
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pennyweight.server.errors import InvalidRequest, ModelError
from pennyweight.server.types import ChatPrompt, Message

from .gguf import tokenizer_config_of
from .gguf_file import GGUFFile
from .model_json import read_json_if_there
from .tokenizer import Tokenizer
from .tool_prompt import tell_of_tools, tool_object

TEMPLATE_FILE = "chat_template.jinja"
TOOL_TEMPLATE_FILE = "additional_chat_templates/tool_use.jinja"
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
MAX_MESSAGE = 300
# What running a template may raise: it is a program of somebody else's.
_FAILURES = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)


class ChatTemplate:
    """A Jinja template in the dialect of transformers, run in a sandbox.

    ``variables`` are the names that it reads; ``source`` is its text, of the templates for tools and without where a model
    has two. Raises ModelError for a template that is no Jinja.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str], tool_source: str | None = None) -> None:
        environment = _environment()
        self.source = source if tool_source is None else source + tool_source
        self._special_tokens = dict(special_tokens)
        try:
            self._template = environment.from_string(source)
            self._tool_template = self._template if tool_source is None else environment.from_string(tool_source)
            read = jinja2.meta.find_undeclared_variables(environment.parse(self.source))
        except jinja2.TemplateSyntaxError as error:
            raise ModelError(f"the chat template is no valid Jinja: {error.message} (line {error.lineno})") from error
        self.variables = frozenset(read - environment.globals.keys())
        self._knows_tools = "tools" in self.variables
        self._knows_developers = "developer" in self.source

    def render(self, prompt: ChatPrompt) -> str:
        """The prompt's text. Raises InvalidRequest for a conversation that the template refuses."""
        messages = list(prompt.messages)
        cut = ""
        if prompt.continue_final_message:
            # The template writes something after the last message: what it is shows by a mark that nobody can foresee.
            cut = secrets.token_hex(16)
            last = messages[-1]
            messages[-1] = msgspec.structs.replace(last, content=(last.content or "") + cut)
        tools = prompt.tools
        if not self._knows_tools:
            messages, tools = tell_of_tools(messages, tools), ()
        template = self._tool_template if tools else self._template
        try:
            text = template.render(
                self._special_tokens
                | dict(prompt.template_kwargs)
                | {
                    "messages": [self._message(message) for message in messages],
                    "tools": [tool_object(tool) for tool in tools] or None,
                    "add_generation_prompt": prompt.add_generation_prompt,
                    "continue_final_message": prompt.continue_final_message,
                }
            )
        except _FAILURES as error:
            raise _refusal(f"the model's chat template can't take these messages: {error}") from error
        if not cut:
            return text
        before, mark, _ = text.partition(cut)
        if not mark:
            raise _refusal("the model's chat template does not write the last message as it is")
        return before

    def _message(self, message: Message) -> dict[str, Any]:
        """In the shape that templates of transformers read."""
        role = "system" if message.role == "developer" and not self._knows_developers else message.role
        found: dict[str, Any] = {"role": role, "content": message.content or ""}
        if message.name is not None:
            found["name"] = message.name
        if message.tool_call_id is not None:
            found["tool_call_id"] = message.tool_call_id
        if message.tool_calls:
            found["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": _arguments(call.arguments)},
                }
                for call in message.tool_calls
            ]
        return found


def load_chat_template(path: Path, override: str | None) -> ChatTemplate | None:
    """The template of the model in a directory in Hugging Face format or a .gguf file; None where it has none.

    ``override`` is a template to use instead: a file, or the template itself. Raises ModelError.
    """
    config = (
        tokenizer_config_of(GGUFFile(path))
        if path.suffix == ".gguf"
        else read_json_if_there(path / "tokenizer_config.json")
    )
    special_tokens = {name: token for name in SPECIAL_TOKENS if (token := _token(config.get(name))) is not None}
    if override is not None:
        return ChatTemplate(_given(override), special_tokens)
    file, tool_file = path / TEMPLATE_FILE, path / TOOL_TEMPLATE_FILE
    if file.is_file():
        return ChatTemplate(_text(file), special_tokens, _text(tool_file) if tool_file.is_file() else None)
    # Older checkpoints have it in a file of its own or in the tokenizer's configuration; some have several by name.
    found = read_json_if_there(path / "chat_template.json").get("chat_template") or config.get("chat_template")
    if not found:
        return None
    named = _named(found, path)
    if "default" not in named:
        raise ModelError(f"{path} has chat templates {', '.join(named)} and no default: name one by --chat-template")
    return ChatTemplate(named["default"], special_tokens, named.get("tool_use"))


def detect_tool_format(source: str, tokenizer: Tokenizer) -> str:
    """How a model writes tool calls, by the marks in its chat template or its vocabulary."""
    if "[TOOL_CALLS]" in source or tokenizer.has_token("[TOOL_CALLS]"):
        return "mistral"
    if "<tool_call>" not in source and ("<|python_tag|>" in source or tokenizer.has_token("<|python_tag|>")):
        return "llama3"
    return "hermes"


def _given(override: str) -> str:
    if "{%" in override or "{{" in override:
        return override
    return _text(Path(override).expanduser())


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"the chat template {file} can't be read: {error}") from error


def _named(found: object, path: Path) -> dict[str, str]:
    """Templates by name, from a single one, a list of {"name", "template"} or an object."""
    try:
        named = {one["name"]: one["template"] for one in found} if isinstance(found, list) else found
    except (TypeError, KeyError):
        named = None
    if isinstance(named, str):
        named = {"default": named}
    if not isinstance(named, dict) or not all(isinstance(one, str) for pair in named.items() for one in pair):
        raise ModelError(f"chat_template of {path} is neither a template nor templates by name")
    return named


def _token(value: object) -> str | None:
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else None


def _arguments(text: str) -> Any:
    """Templates write arguments as JSON themselves; what is no JSON object, or none as UTF-8, stays the text that it is."""
    try:
        parsed = json.loads(text)
        # A text of its own, it has passed no check of the request's: not its depth, infinities or halves of characters.
        json.dumps(parsed, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return text
    return parsed if isinstance(parsed, dict) else text


def _refusal(reason: str) -> InvalidRequest:
    shown = reason if len(reason) <= MAX_MESSAGE else reason[:MAX_MESSAGE] + "..."
    return InvalidRequest(f"Invalid 'messages': {shown}.", param="messages")


def _environment() -> ImmutableSandboxedEnvironment:
    """What chat templates count on beyond plain Jinja (transformers, utils/chat_template_utils.py)."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


class _GenerationTag(jinja2.ext.Extension):
    """``{% generation %}``: marks the assistant's words for training; for a prompt it is its content."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 reads it as a class variable)

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    # Unlike Jinja's own, without escapes for HTML: the model must see the text as it is.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.datetime.now().strftime(format)
