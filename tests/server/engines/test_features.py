"""What a request uses, and what an engine without it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from pennyweight.server.engines.base import Capabilities
from pennyweight.server.engines.features import ALL_FEATURES, Feature, refuse_unsupported, used_features
from pennyweight.server.errors import UnsupportedParameter
from pennyweight.server.types import (
    ChatPrompt,
    Message,
    Prompt,
    Request,
    SamplingParams,
    TextPrompt,
    TokensPrompt,
    Tool,
    ToolChoice,
)

CHAT = ChatPrompt(messages=(Message(role="user", content="Hi"),))
WITH_TOOL = structs.replace(CHAT, tools=(Tool(name="f"),))
CAPABILITIES = Capabilities(
    model="m", engine="e", fingerprint="fp", max_model_len=None, vocab_size=None, tool_format="hermes"
)


@pytest.mark.parametrize(
    ("prompt", "used"),
    [
        (CHAT, set()),
        (WITH_TOOL, {Feature.TOOLS}),
        (structs.replace(WITH_TOOL, tool_choice=ToolChoice(mode="required")), {Feature.TOOLS, Feature.FORCED_TOOLS}),
        (structs.replace(CHAT, add_generation_prompt=False), {Feature.NO_GENERATION_PROMPT}),
        (
            structs.replace(CHAT, continue_final_message=True, add_generation_prompt=False),
            {Feature.CONTINUE_FINAL_MESSAGE},
        ),
        (TextPrompt(text="a"), {Feature.TEXT_PROMPTS}),
        (TextPrompt(text="a", add_special_tokens=False), {Feature.TEXT_PROMPTS, Feature.NO_SPECIAL_TOKENS}),
        (TokensPrompt(token_ids=(1,)), {Feature.TOKEN_PROMPTS}),
    ],
)
def test_features_of_prompts(prompt: Prompt, used: set[Feature]) -> None:
    request = Request(id="r", model="m", prompt=prompt, sampling=SamplingParams())
    assert {feature for feature, _ in used_features(request)} == used
    refuse_unsupported(request, CAPABILITIES)
    for feature in used:
        with pytest.raises(UnsupportedParameter) as caught:
            refuse_unsupported(request, replace(CAPABILITIES, features=ALL_FEATURES - {feature}))
        assert caught.value.param
