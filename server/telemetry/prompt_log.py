"""The text of prompts and answers in the log, for who asked for it by ``LogSettings.prompts``."""

from __future__ import annotations

import msgspec
from structlog.typing import FilteringBoundLogger

from pennyweight.server.api.exchange import Observer
from pennyweight.server.types import Delta, Embeddings, EmbedRequest, Finished, Request, Started


class PromptLog:
    """An Observer around an Observer that also logs a line for each prompt and one for each choice that ended."""

    def __init__(self, observer: Observer, logger: FilteringBoundLogger, request_id: str) -> None:
        self._observer = observer
        self._logger = logger.bind(request_id=request_id)
        self._texts: dict[tuple[str, int], list[str]] = {}

    def submitted(self, request: Request | EmbedRequest) -> None:
        self._observer.submitted(request)
        prompts = request.inputs if isinstance(request, EmbedRequest) else (request.prompt,)
        for prompt in prompts:
            self._logger.info("prompt", model=request.model, prompt=msgspec.to_builtins(prompt))

    def started(self, request: Request, started: Started) -> None:
        self._observer.started(request, started)

    def delta(self, request: Request, delta: Delta) -> None:
        self._observer.delta(request, delta)
        texts = self._texts.setdefault((request.id, delta.index), [])
        texts.append(delta.text)
        texts.extend((call.name or "") + call.arguments for call in delta.tool_calls)
        if delta.finish_reason is not None:
            self._logger.info("choice", index=delta.index, finish_reason=delta.finish_reason, text="".join(texts))

    def finished(self, request: Request, finished: Finished) -> None:
        self._observer.finished(request, finished)

    def embedded(self, request: EmbedRequest, embeddings: Embeddings) -> None:
        self._observer.embedded(request, embeddings)

    def failed(self, request: Request | EmbedRequest, error: BaseException) -> None:
        self._observer.failed(request, error)

    def abandoned(self, request: Request | EmbedRequest) -> None:
        self._observer.abandoned(request)
