"""GET /v1/models and GET /v1/models/{id}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pennyweight.server.engines.base import Engine
from pennyweight.server.errors import ModelLoading

from .exchange import Answer, find_engine, json_answer

OWNER = "pennyweight"


def list_models(engines: Mapping[str, Engine]) -> Answer:
    """Every name that a request may give, save those of models that are still being loaded."""
    found = []
    for name, engine in engines.items():
        try:
            found.append(_model_object(name, engine))
        except ModelLoading:
            continue
    return json_answer({"object": "list", "data": found})


def retrieve_model(engines: Mapping[str, Engine], name: str) -> Answer:
    """One model. Raises ModelNotFound, or ModelLoading while it is not known what it can do."""
    return json_answer(_model_object(name, find_engine(engines, name)))


def _model_object(name: str, engine: Engine) -> dict[str, Any]:
    """OpenAI's model object, with vLLM's ``root``, ``parent`` and ``max_model_len`` beside it."""
    capabilities = engine.capabilities()
    return {
        "id": name,
        "object": "model",
        "created": capabilities.created,
        "owned_by": OWNER,
        "root": capabilities.model,
        "parent": None,
        "max_model_len": capabilities.max_model_len,
    }
