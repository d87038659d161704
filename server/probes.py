"""The endpoints that tell of the server itself: alive, ready, metrics, version."""

from __future__ import annotations

from .api.exchange import Answer, json_answer
from .engines.base import HealthState, Leased
from .gateway import Gateway

# Where a model takes no requests, but the next one brings it back.
DORMANT = (HealthState.UNLOADED, HealthState.SLEEPING)


def health() -> Answer:
    """GET /health: 200 as long as the process serves at all."""
    return json_answer({"status": "alive"})


def ready(gateway: Gateway) -> Answer:
    """GET /ready: 200 when every model takes requests or is loaded when one comes, else 503; each model's state and why."""
    models = {name: engine.health() for name, engine in gateway.engines.items()}
    on_demand = {name for name, engine in gateway.engines.items() if isinstance(engine, Leased)}
    if gateway.admission.is_draining:
        status = "draining"
    elif all(
        one.state is HealthState.READY or (one.state in DORMANT and name in on_demand) for name, one in models.items()
    ):
        status = "ready"
    else:
        status = "not ready"
    return json_answer(
        {
            "status": status,
            "models": {name: {"state": one.state, "detail": one.detail} for name, one in models.items()},
        },
        status=200 if status == "ready" else 503,
    )


def metrics(gateway: Gateway) -> Answer:
    """GET /metrics: for Prometheus."""
    body, content_type = gateway.metrics.render()
    return Answer(body=body, headers=((b"content-type", content_type.encode()),))


def version(gateway: Gateway) -> Answer:
    """GET /version."""
    return json_answer({"version": gateway.version})
