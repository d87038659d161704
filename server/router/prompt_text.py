"""The text of a prompt, as policies read it."""

from __future__ import annotations

from pennyweight.server.types import ChatPrompt, Prompt, TextPrompt

# A rough rule for most languages' text and most vocabularies; with it a prompt's tokens are estimated where nobody has counted them yet.
CHARACTERS_PER_TOKEN = 4
# A token is seldom longer than this: a text of more characters a token than that surely doesn't fit.
MOST_CHARACTERS_PER_TOKEN = 16


def characters(prompt: Prompt) -> int:
    """The length of all that is said in it; of token ids, what they would be as text."""
    match prompt:
        case ChatPrompt():
            return sum(len(message.content or "") for message in prompt.messages)
        case TextPrompt():
            return len(prompt.text)
        case _:
            return len(prompt.token_ids) * CHARACTERS_PER_TOKEN


def question(prompt: Prompt) -> str:
    """What is asked: the last message of a user, or the text; empty for token ids."""
    match prompt:
        case ChatPrompt():
            return next((one.content or "" for one in reversed(prompt.messages) if one.role == "user"), "")
        case TextPrompt():
            return prompt.text
        case _:
            return ""


def estimated_tokens(prompt: Prompt) -> int:
    """How many tokens it may have, at least 1."""
    return max(1, characters(prompt) // CHARACTERS_PER_TOKEN)
