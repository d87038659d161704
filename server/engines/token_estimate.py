"""How many tokens a text would be where nobody has counted them: a guess from its length, to be marked as one."""

from __future__ import annotations

import msgspec

from pennyweight.server.types import ChatPrompt, Prompt, TextPrompt, TokensPrompt

# For texts of any language.
CHARACTERS_PER_TOKEN = 4


def estimated(characters: int) -> int:
    """The tokens of so many characters."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def estimated_prompt(prompt: Prompt) -> int:
    """The tokens of a prompt, guessed from the length of its texts; token ids are counted."""
    match prompt:
        case TokensPrompt():
            return len(prompt.token_ids)
        case TextPrompt():
            return estimated(len(prompt.text))
        case ChatPrompt():
            texts = [message.content or "" for message in prompt.messages]
            texts += [call.name + call.arguments for message in prompt.messages for call in message.tool_calls]
            texts += [msgspec.json.encode(tool).decode() for tool in prompt.tools]
            return estimated(sum(map(len, texts)))
