"""GET /v1/models and GET /v1/models/{id}."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from pennyweight.server.engines.base import AdapterNames, Engine, Leased
from pennyweight.server.errors import ModelLoading

from .exchange import Answer, find_engine, json_answer

OWNER = "pennyweight"


def list_models(engines: Mapping[str, Engine], routes: Mapping[str, Engine]) -> Answer:
    """Every name that a request may give, save those of models that are being loaded for the first time at the start.

    ``routes`` are the names that leave the choice of the model to the router, which come first.
    """
    found = []
    for name in routes:
        with contextlib.suppress(ModelLoading):
            found.append(_route_object(routes, name))
    adapters = engines.adapter_names() if isinstance(engines, AdapterNames) else []
    for name in (*engines, *adapters):
        try:
            found.append(_model_object(engines, name))
        except ModelLoading:
            if isinstance(engines[_parent(engines, name) or name], Leased):
                found.append(_described(engines, name, created=0, root=name, max_model_len=None))
    return json_answer({"object": "list", "data": found})


def retrieve_model(engines: Mapping[str, Engine], routes: Mapping[str, Engine], name: str) -> Answer:
    """One model, with the modes of determinism that it honours and its manifest. Raises ModelNotFound, or ModelLoading while it is not known what it can do."""
    if name in routes:
        return json_answer(_route_object(routes, name))
    known = find_engine(engines, name).capabilities()
    modes = {
        "mode": known.determinism.value,
        "default": known.default_determinism.value,
        "limit": known.variance or None,
    }
    return json_answer({**_model_object(engines, name), "deterministic": modes, "numerics": known.manifest})


def _route_object(routes: Mapping[str, Engine], name: str) -> dict[str, Any]:
    known = routes[name].capabilities()
    return _described(routes, name, created=known.created, root=name, max_model_len=known.max_model_len)


def _model_object(engines: Mapping[str, Engine], name: str) -> dict[str, Any]:
    known = find_engine(engines, name).capabilities()
    return _described(engines, name, created=known.created, root=known.model, max_model_len=known.max_model_len)


def _parent(engines: Mapping[str, Engine], name: str) -> str | None:
    """The model of an adapter; None for a model."""
    base = engines.base_of(name) if isinstance(engines, AdapterNames) else name
    return None if base == name else base


def _described(
    engines: Mapping[str, Engine], name: str, *, created: int, root: str, max_model_len: int | None
) -> dict[str, Any]:
    """OpenAI's model object, with vLLM's ``root``, ``parent`` and ``max_model_len``, and our ``state``, beside it."""
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": OWNER,
        "root": root,
        "parent": _parent(engines, name),
        "max_model_len": max_model_len,
        "state": find_engine(engines, name).health().state.value,
    }
