"""An engine that says the same to everybody."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

from pennyweight.server.config import TemplateSettings
from pennyweight.server.engines.answer_template import AnswerTemplate
from pennyweight.server.engines.base import UPSTREAM_CALLS, Capabilities
from pennyweight.server.engines.manifest import manifest_of, versions
from pennyweight.server.engines.written_answer import WRITTEN_FEATURES, WrittenEngine
from pennyweight.server.types import Determinism, Request

_EXAMPLE = {"model": "name", "date": "2026-01-31", "request_id": "req-1"}


def _now() -> datetime:
    return datetime.now(UTC)


class TemplateEngine(WrittenEngine):
    """Implements Engine by the text of the settings. Fields: ``model`` (as it was asked for), ``date`` (of today in UTC, as in
    2026-01-31), ``request_id``, and ``retry_after`` where that is set. Raises ConfigError for a text that can't be used.
    """

    def __init__(self, settings: TemplateSettings, name: str, now: Callable[[], datetime] = _now) -> None:
        self._given: dict[str, object] = {}
        if settings.retry_after is not None:
            self._given["retry_after"] = settings.retry_after
        self._template = AnswerTemplate(settings.text, _EXAMPLE | self._given, f"models.{name}.text")
        self._now = now
        digest = hashlib.sha256(f"template 1 {settings.retry_after} {settings.text}".encode()).hexdigest()
        manifest = manifest_of(name, {"template": digest, **versions(("jinja2",))})
        changing = self._template.fields & {"date", "request_id"}
        self._capabilities = Capabilities(
            model=name,
            engine="template",
            fingerprint=manifest.fingerprint,
            max_model_len=None,
            vocab_size=None,
            tool_format=UPSTREAM_CALLS,
            features=WRITTEN_FEATURES,
            is_repeatable=False,
            determinism=Determinism.OFF if changing else Determinism.BITWISE,
            variance=f"its text has {' and '.join(sorted(changing))} in it" if changing else "",
            manifest=manifest,
        )

    async def start(self) -> None:
        """There is nothing to load."""

    def capabilities(self) -> Capabilities:
        return self._capabilities

    def _text(self, request: Request) -> str:
        fields = {"model": request.model, "date": self._now().date().isoformat(), "request_id": request.id}
        return self._template.render(fields | self._given)
