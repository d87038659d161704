"""What is known of a loaded model: the capabilities of its engine, and what its answers depend on."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

import msgspec

from pennyweight.quantize.manifest import manifest_digest
from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.base import Capabilities
from pennyweight.server.engines.features import ENCODER_FEATURES
from pennyweight.server.engines.manifest import Manifest, manifest_of, versions
from pennyweight.server.errors import ModelError
from pennyweight.server.types import Determinism

from .launch import Launch
from .messages import Ready
from .text_side import TextSide

# What makes token ids of texts, and masks of grammars.
TEXT_PACKAGES = ("pennyweight", "tokenizers", "jinja2", "llguidance", "numpy")


def describe(
    name: str, path: Path, launch: Launch, ready: Ready, text: TextSide, settings: EngineSettings
) -> Capabilities:
    """The capabilities of the engine that was launched for the model at ``path`` and says that it is ready.

    Raises ModelError where the settings ask for a mode of determinism that it can't honour.
    """
    manifest = _manifest(name, path, ready, text)
    capabilities = Capabilities(
        model=name,
        engine=launch.engine,
        fingerprint=manifest.fingerprint,
        max_model_len=ready.max_model_len,
        vocab_size=ready.vocab_size,
        tool_format=text.tool_format,
        has_chat_template=text.template is not None,
        template_kwargs=text.template.variables if text.template else frozenset(),
        created=int(path.stat().st_mtime),
        features=ENCODER_FEATURES if ready.embedding_sizes else launch.features,
        embedding_sizes=ready.embedding_sizes,
        determinism=Determinism.SEEDED if ready.variance else Determinism.BITWISE,
        variance=ready.variance,
        adapter_variance=ready.adapter_variance,
        default_determinism=Determinism(settings.deterministic),
        manifest=manifest,
        details=ready.details,
    )
    if not capabilities.determinism.covers(capabilities.default_determinism):
        raise ModelError(
            f"engine.deterministic is {settings.deterministic}, and the engine ({launch.engine}) can't be that: {ready.variance}"
        )
    return capabilities


def _manifest(name: str, path: Path, ready: Ready, text: TextSide) -> Manifest:
    parts = {
        **versions(TEXT_PACKAGES),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "tokenizer": text.tokenizer.hash,
        "template": _digest((text.template.source if text.template else "").encode()),
        "defaults": _digest(msgspec.json.encode(text.defaults, order="sorted")),
        **ready.fingerprint,
    }
    if (made := manifest_digest(path)) is not None:
        parts["quantization"] = made
    return manifest_of(name, parts)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
