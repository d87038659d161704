"""An engine that answers from FAQ documents, or says that they have no answer."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pennyweight.server.config import FaqSettings
from pennyweight.server.engines.answer_template import AnswerTemplate
from pennyweight.server.engines.base import UPSTREAM_CALLS, Capabilities, Health, HealthState
from pennyweight.server.engines.manifest import manifest_of, versions
from pennyweight.server.engines.written_answer import WRITTEN_FEATURES, WrittenEngine
from pennyweight.server.errors import ConfigError, ModelError, ModelLoading, NoAnswer
from pennyweight.server.types import ChatPrompt, Determinism, Request, TextPrompt

from .documents import READERS, read_documents
from .index import FaqIndex

# Goes into the fingerprint: a change of how entries are found must not look like the answers of before.
VERSION = 1
# No question is as long; what is has other things in it, and looking for them would hold up all others.
MAX_QUESTION = 2000
_EXAMPLE = {"id": "faq.md:1", "question": "Q?", "answer": "A.", "tags": ("tag",), "document": "faq.md"}

_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Edition:
    """The documents as they were at a time: ``stamp`` has each one's modification time, size and inode."""

    index: FaqIndex
    capabilities: Capabilities
    stamp: _Stamp


def _now() -> datetime:
    return datetime.now(UTC)


class FaqEngine(WrittenEngine):
    """Implements Engine by the entry that answers the last message of a user, or the prompt's text; ``start`` first.

    Every ``check_interval`` seconds it looks whether a document has changed, and then reads all of them; what can't be read leaves
    the edition of before in place, is told to ``on_reload`` (with None for an edition that could be read) and shown by ``health``.
    Raises ConfigError for settings that can't be used.
    """

    def __init__(
        self,
        settings: FaqSettings,
        name: str,
        *,
        on_reload: Callable[[str | None], None] = lambda error: None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._settings = settings
        self._name = name
        self._on_reload = on_reload
        self._now = now
        self._template = AnswerTemplate(settings.template, _EXAMPLE, f"models.{name}.template")
        self._paths = [Path(document).expanduser() for document in settings.documents]
        self._check(f"models.{name}")
        self._edition: _Edition | None = None
        self._seen: _Stamp = ()
        self._problem = ""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the documents. Raises ModelError for what can't be read."""
        self._edition = await asyncio.to_thread(self._read)
        self._seen = self._edition.stamp
        self._task = asyncio.create_task(self._keep_looking())

    def capabilities(self) -> Capabilities:
        return self._ready().capabilities

    def health(self) -> Health:
        if self._edition is None:
            return Health(state=HealthState.LOADING, detail="the documents have not been read yet")
        return Health(state=HealthState.READY, detail=self._problem)

    async def look(self) -> None:
        """Read the documents if one has changed since they were read last."""
        stamp = await asyncio.to_thread(self._stamp)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._edition = await asyncio.to_thread(self._read)
        except ModelError as error:
            self._problem = f"the documents of before are used: {error}"
            self._on_reload(str(error))
        else:
            # As it was before it was read: what was written meanwhile is seen the next time.
            self._seen = self._edition.stamp
            self._problem = ""
            self._on_reload(None)

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def _text(self, request: Request) -> str:
        question = _question(request)
        if len(question) > MAX_QUESTION:
            raise NoAnswer(f"The documents of {request.model} answer questions of {MAX_QUESTION} characters at most.")
        found = self._ready().index.search(question, self._now().date())
        if found is None or found.score < self._settings.threshold:
            raise NoAnswer(f"The documents of {request.model} have no answer to this.")
        entry = found.entry
        return self._template.render({field: getattr(entry, field) for field in _EXAMPLE})

    def _ready(self) -> _Edition:
        if self._edition is None:
            raise ModelLoading(f"The documents of {self._name} have not been read yet.", retry_after=1.0)
        return self._edition

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._settings.check_interval)
            await self.look()

    def _stamp(self) -> _Stamp:
        return tuple(map(_stamp_of, self._paths))

    def _read(self) -> _Edition:
        stamp = self._stamp()
        entries = read_documents(self._paths)
        parts = (VERSION, self._name, self._settings.template, self._settings.threshold, entries)
        digest = hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
        manifest = manifest_of(self._name, {"documents": digest, **versions(("bm25s", "numpy", "jinja2"))})
        capabilities = Capabilities(
            model=self._name,
            engine="faq",
            fingerprint=manifest.fingerprint,
            max_model_len=None,
            vocab_size=None,
            tool_format=UPSTREAM_CALLS,
            created=max(time for time, _, _ in stamp) // 10**9,
            features=WRITTEN_FEATURES,
            is_repeatable=False,
            # What is found follows from the question and the documents alone; equal scores go by the entries' places.
            determinism=Determinism.BITWISE,
            variance="",
            manifest=manifest,
            details={"entries": str(len(entries)), "documents": ", ".join(path.name for path in self._paths)},
        )
        return _Edition(FaqIndex(entries), capabilities, stamp)

    def _check(self, where: str) -> None:
        if not self._paths:
            raise ConfigError(f"{where}.documents: there must be one at least")
        for path in self._paths:
            if path.suffix.lower() not in READERS:
                raise ConfigError(f"{where}.documents: {path} is none of {', '.join(READERS)}")
        names = [path.name for path in self._paths]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(f"{where}.documents: two are called {twice}, and entries go by their document's name")
        if not 0.0 <= self._settings.threshold <= 2.0:
            raise ConfigError(f"{where}.threshold must be from 0 to 2")
        if not 0.1 <= self._settings.check_interval <= 86_400.0:
            raise ConfigError(f"{where}.check_interval must be from 0.1 seconds to a day")


def _stamp_of(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino


def _question(request: Request) -> str:
    match request.prompt:
        case ChatPrompt(messages=messages):
            return next((one.content or "" for one in reversed(messages) if one.role == "user"), "")
        case TextPrompt(text=text):
            return text
        case _:
            return ""
