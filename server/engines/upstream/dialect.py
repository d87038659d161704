"""What can be asked of an upstream, by the API that it speaks."""

from __future__ import annotations

from pennyweight.server.config import UpstreamSettings
from pennyweight.server.engines.features import Feature

_OPENAI = frozenset(
    {
        # Which of the two a model is made for, only the upstream knows.
        Feature.GENERATION,
        Feature.EMBEDDINGS,
        Feature.N,
        Feature.SEED,
        Feature.STOP,
        Feature.LOGPROBS,
        Feature.LOGIT_BIAS,
        Feature.PENALTIES,
        Feature.JSON_OBJECT,
        Feature.JSON_SCHEMA,
        Feature.TEXT_PROMPTS,
        Feature.CACHED_TOKENS,
    }
)
# Not PROMPT_LOGPROBS, which no server tells in a stream; nor ECHO, which may want them.
_VLLM = _OPENAI | {
    Feature.TOP_K,
    Feature.MIN_P,
    Feature.REPETITION_PENALTY,
    Feature.MIN_TOKENS,
    Feature.STOP_TOKEN_IDS,
    Feature.INCLUDE_STOP_STR,
    Feature.IGNORE_EOS,
    Feature.SPECIAL_TOKENS,
    Feature.REGEX,
    Feature.CHOICE,
    Feature.GRAMMAR,
    Feature.CONTINUE_FINAL_MESSAGE,
    Feature.NO_GENERATION_PROMPT,
    Feature.TEMPLATE_KWARGS,
    Feature.TOKEN_PROMPTS,
    Feature.NO_SPECIAL_TOKENS,
    Feature.PRIORITY,
    Feature.TOKENIZE,
    Feature.DETOKENIZE,
}
_DIALECTS = {"openai": _OPENAI, "vllm": _VLLM}


def features(upstream: UpstreamSettings) -> frozenset[Feature]:
    """What requests may use of the upstream."""
    tools = frozenset({Feature.TOOLS, Feature.FORCED_TOOLS}) if upstream.tools else frozenset[Feature]()
    return _DIALECTS[upstream.dialect] | tools
