"""What of a model lives in the server's process: everything about text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pennyweight.server.config import EngineSettings
from pennyweight.server.errors import InvalidRequest
from pennyweight.server.types import ChatPrompt, TextPrompt

from .chat_template import ChatTemplate, detect_tool_format, load_chat_template
from .generation_defaults import GenerationDefaults, load_generation_defaults
from .tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True, slots=True)
class TextSide:
    """A model's tokenizer, chat template and defaults."""

    tokenizer: Tokenizer
    template: ChatTemplate | None
    defaults: GenerationDefaults
    tool_format: str

    def writer(self, prompt: ChatPrompt | TextPrompt) -> tuple[Callable[[], str], bool]:
        """What writes the prompt's text, for a thread, and whether the tokenizer adds special tokens to it.

        Raises InvalidRequest at once for a chat when there is no template.
        """
        if isinstance(prompt, TextPrompt):
            return lambda: prompt.text, prompt.add_special_tokens
        template = self.template
        if template is None:
            raise InvalidRequest(
                "This model has no chat template: use /v1/completions, or start with --chat-template.", param="messages"
            )
        # The template writes the special tokens itself.
        return lambda: template.render(prompt), False


def load_text_side(path: Path, settings: EngineSettings) -> TextSide:
    """The text side of the model at ``path``. Raises ModelError."""
    tokenizer = load_tokenizer(path)
    template = load_chat_template(path, settings.chat_template)
    tool_format = settings.tool_call_parser or detect_tool_format(template.source if template else "", tokenizer)
    defaults = load_generation_defaults(path, settings.generation_config)
    return TextSide(tokenizer, template, defaults, tool_format)
