"""GET /v1/models and GET /v1/models/{id}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pennyweight.server.engines.base import Engine, Leased
from pennyweight.server.errors import ModelLoading

from .exchange import Answer, find_engine, json_answer

OWNER = "pennyweight"


def list_models(engines: Mapping[str, Engine]) -> Answer:
    """Every name that a request may give, save those of models that are being loaded for the first time at the start."""
    found = []
    for name, engine in engines.items():
        try:
            found.append(_model_object(name, engine))
        except ModelLoading:
            if isinstance(engine, Leased):
                found.append(_described(name, engine, created=0, root=name, max_model_len=None))
    return json_answer({"object": "list", "data": found})


def retrieve_model(engines: Mapping[str, Engine], name: str) -> Answer:
    """One model. Raises ModelNotFound, or ModelLoading while it is not known what it can do."""
    return json_answer(_model_object(name, find_engine(engines, name)))


def _model_object(name: str, engine: Engine) -> dict[str, Any]:
    known = engine.capabilities()
    return _described(name, engine, created=known.created, root=known.model, max_model_len=known.max_model_len)


def _described(name: str, engine: Engine, *, created: int, root: str, max_model_len: int | None) -> dict[str, Any]:
    """OpenAI's model object, with vLLM's ``root``, ``parent`` and ``max_model_len``, and our ``state``, beside it."""
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": OWNER,
        "root": root,
        "parent": None,
        "max_model_len": max_model_len,
        "state": engine.health().state.value,
    }
