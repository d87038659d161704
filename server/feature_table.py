"""The README's table of what each engine can do, made from what the engines themselves declare.

``python -m pennyweight.server.feature_table`` prints it; a test holds the README to it.
"""

from __future__ import annotations

from collections.abc import Mapping

from .config import UpstreamSettings
from .engines.features import ENCODER_FEATURES, GENERATION_FEATURES, Feature
from .engines.tensorrt_llm import launch as tensorrt_llm
from .engines.upstream.dialect import features
from .engines.vllm import launch as vllm
from .engines.written_answer import WRITTEN_FEATURES

# Models that write text and models that make embeddings together: the native engine and the encoder are both ours, and vLLM has both.
ENGINES: Mapping[str, frozenset[Feature]] = {
    "native": GENERATION_FEATURES | ENCODER_FEATURES,
    "vLLM": (GENERATION_FEATURES - vllm.CAN_NOT) | ENCODER_FEATURES,
    "TensorRT-LLM": GENERATION_FEATURES - tensorrt_llm.CAN_NOT,
    "upstream, vllm dialect": features(UpstreamSettings(base_url="", dialect="vllm")),
    "upstream, openai dialect": features(UpstreamSettings(base_url="", dialect="openai")),
    "faq, template": WRITTEN_FEATURES,
}


def feature_table() -> str:
    """Markdown: a row for what all engines can do, then one for each feature that some can't."""
    lines = [f"| | {' | '.join(ENGINES)} |", "|---|" + "---|" * len(ENGINES)]
    everywhere = [feature for feature in Feature if all(feature in one for one in ENGINES.values())]
    lines.append(f"| {', '.join(f'`{feature}`' for feature in everywhere)} |" + " yes |" * len(ENGINES))
    for feature in Feature:
        if feature not in everywhere:
            cells = ("yes" if feature in one else "no" for one in ENGINES.values())
            lines.append(f"| `{feature}` | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(feature_table())
