"""An engine whose weights lie on this machine, as the server sees it: text is handled here, tokens in a child process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import numpy as np

from pennyweight.server.config import EngineSettings, LimitSettings
from pennyweight.server.engines.adapted import with_adapter
from pennyweight.server.engines.base import Capabilities, EngineStats, Health, HealthState
from pennyweight.server.engines.determinism import honoured
from pennyweight.server.engines.features import refuse_unsupported, refuse_unsupported_embedding
from pennyweight.server.engines.supervisor import Supervisor, Watch
from pennyweight.server.errors import EngineDead, ModelError, ModelLoading, PennyweightError, ShuttingDown
from pennyweight.server.types import (
    Embeddings,
    EmbedRequest,
    Event,
    Finished,
    Prompt,
    Request,
    TextPrompt,
    TokensPrompt,
    Usage,
)

from .answer import Answer
from .constraint_guard import ConstraintGuard
from .description import describe
from .embedding_inputs import encode_inputs
from .launch import Launch
from .memory import process_tree_bytes
from .messages import (
    Abort,
    Asleep,
    Embed,
    Embedded,
    Failed,
    Loading,
    Outputs,
    Ready,
    Sleep,
    Stats,
    Wake,
    decode_from_engine,
    frame,
)
from .submission import check_vocabulary, make_submission, prompt_too_long
from .text_side import TextSide, load_text_side
from .text_threads import TextThreads
from .vectors import PendingVectors


class LocalEngine:
    """Implements Engine for everything that speaks ``messages``: our own engine, and libraries behind a worker of ours.

    ``start`` first; the weights are loaded by the child while the tokenizer is loaded here. ``on_loading`` is called with the
    bytes loaded and in all.
    """

    def __init__(
        self,
        settings: EngineSettings,
        path: Path,
        name: str,
        launch: Launch,
        *,
        constraint_seconds: float = LimitSettings().constraint_compile_seconds,
        on_loading: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._settings = settings
        self._constraint_seconds = constraint_seconds
        self._path = path
        self._name = name
        self._launch = launch
        self._on_loading = on_loading
        self._text: TextSide | None = None
        self._guard: ConstraintGuard | None = None
        self._capabilities: Capabilities | None = None
        self._max_model_len = 0
        self._vocab_size = 0
        self._answers: dict[str, Answer] = {}
        self._vectors = PendingVectors()
        self._stats = Stats()
        self._sleep_levels: frozenset[int] = frozenset()
        self._is_asleep = False
        # Done when the child has fallen asleep or woken, as it was told to.
        self._turned: asyncio.Future[None] | None = None
        self._threads = TextThreads()
        self._closing = False
        self._supervisor = Supervisor(
            [launch.python, "-m", launch.module, json.dumps(launch.arguments)],
            environment=launch.environment,
            watch=Watch(start_timeout=settings.start_timeout, stall_seconds=settings.stall_seconds),
            on_frame=self._on_frame,
            on_down=self._on_down,
            is_busy=lambda: bool(self._answers or self._vectors),
        )

    async def start(self) -> None:
        """Load the model and return when it takes requests. Raises ModelError when it can't be loaded."""
        try:
            await self.load()
        except ModelError:
            await self.aclose()
            raise

    async def load(self) -> None:
        """The same for an engine that may be loaded again, or sleeps: after an error it can be tried once more."""
        if self._is_asleep:
            await self._turn(Wake())
            return
        self._supervisor.start()
        try:
            await self._load_text()
            health = await self._supervisor.until_ready()
            if health.state is HealthState.FAILED:
                raise ModelError(health.detail)
        except BaseException:
            await self._supervisor.stop()
            raise

    async def unload(self) -> None:
        """End the process and so free all that it holds; what is known of the model, and its text side, stay here."""
        await self._supervisor.stop()
        self._stats = Stats()
        self._is_asleep = False

    async def sleep(self, level: int) -> None:
        """Keep of the model what the level says, and the process. Raises ModelError when the engine could not."""
        await self._turn(Sleep(level))
        self._stats = Stats()

    def sleep_levels(self) -> frozenset[int]:
        return self._sleep_levels

    def resident_bytes(self) -> int:
        """Memory of the engine's process and all below it, as the system accounts for it; 0 while it is not loaded."""
        return 0 if self._supervisor.pid is None else process_tree_bytes(self._supervisor.pid)

    def expected_bytes(self) -> int:
        """A guess at ``resident_bytes`` before the model was loaded for the first time: its files and its KV cache."""
        files = [self._path] if self._path.is_file() else [*self._path.glob("*.safetensors")]
        return sum(file.stat().st_size for file in files) + (self._settings.kv_cache_memory or 0)

    async def generate(self, request: Request) -> AsyncGenerator[Event]:
        text, capabilities = self._ready()
        refuse_unsupported(request, capabilities)
        token_ids, prompt_text = await self._encode_to_fit(request.prompt, self._max_model_len)
        submission = make_submission(
            request,
            token_ids,
            defaults=text.defaults,
            max_model_len=self._max_model_len,
            vocab_size=self._vocab_size,
        )
        if submission.constraint is not None and self._guard is not None:
            await self._guard.check(submission.constraint)
        self._ready()  # it may have gone down meanwhile
        if request.adapter is not None:
            capabilities = with_adapter(capabilities, request.adapter.digest)
        answer = Answer(
            request,
            token_ids,
            text.tokenizer,
            fingerprint=capabilities.fingerprint,
            determinism=honoured(request, capabilities),
            prompt_text=prompt_text,
        )
        self._answers[request.id] = answer
        try:
            self._supervisor.send(frame(submission))
            while True:
                for event in await answer.next_events():
                    yield event
                    if isinstance(event, Finished):
                        return
        finally:
            del self._answers[request.id]
            if not answer.is_finished:
                self._supervisor.send(frame(Abort(request.id)))

    async def embed(self, request: EmbedRequest) -> Embeddings:
        text, capabilities = self._ready()
        refuse_unsupported_embedding(request, capabilities)
        inputs = await encode_inputs(
            request,
            text,
            self._threads,
            max_model_len=self._max_model_len,
            vocab_size=self._vocab_size,
        )
        self._ready()  # it may have gone down meanwhile
        vectors = self._vectors.expect(request.id)
        try:
            packed = tuple(np.asarray(token_ids, dtype="<i4").tobytes() for token_ids in inputs)
            self._supervisor.send(frame(Embed(request_id=request.id, inputs=packed, dimensions=request.dimensions)))
            usage = Usage(prompt_tokens=sum(map(len, inputs)), completion_tokens=0)
            return Embeddings(vectors=await vectors, usage=usage)
        finally:
            self._vectors.forget(request.id)
            if vectors.cancelled():
                self._supervisor.send(frame(Abort(request.id)))

    def capabilities(self) -> Capabilities:
        if self._capabilities is None:
            raise ModelLoading(f"The model {self._name} is still being loaded.", retry_after=1.0)
        return self._capabilities

    async def tokenize(self, prompt: Prompt) -> list[int]:
        text = self._known_text()
        if isinstance(prompt, TokensPrompt):
            return self._given(prompt)
        token_ids = await self._threads.encode(text, prompt)
        assert token_ids is not None, "there is no limit"
        return token_ids

    async def detokenize(self, token_ids: list[int]) -> str:
        text = self._known_text()
        check_vocabulary(token_ids, self._vocab_size, "tokens")
        return await self._threads.decode(text, token_ids)

    def health(self) -> Health:
        if self._closing:
            return Health(state=HealthState.DRAINING, detail="shutting down")
        if self._capabilities is None and self._supervisor.health.state is HealthState.READY:
            return Health(state=HealthState.LOADING, detail="the tokenizer is still being loaded")
        if self._is_asleep:
            return Health(state=HealthState.SLEEPING, detail="wakes with the next request")
        return self._supervisor.health

    def stats(self) -> EngineStats:
        stats = self._stats
        return EngineStats(
            running=stats.running,
            waiting=stats.waiting,
            kv_cache_usage=stats.kv_cache_usage,
            prefix_cache_queries=stats.prefix_queries,
            prefix_cache_hits=stats.prefix_hits,
            preemptions=stats.preemptions,
            restarts=self._supervisor.restarts,
            work=stats.work,
        )

    async def aclose(self) -> None:
        self._closing = True
        self._fail_all(ShuttingDown("The server is shutting down."))
        await self._supervisor.stop()
        if self._guard is not None:
            await self._guard.aclose()
        self._threads.close()

    async def _load_text(self) -> None:
        if self._text is None:
            self._text = await self._threads.run(lambda: load_text_side(self._path, self._settings))
            to_json = self._text.tokenizer.to_json
            self._guard = ConstraintGuard(to_json, deadline_seconds=self._constraint_seconds)

    async def _turn(self, message: Sleep | Wake) -> None:
        """Have the child fall asleep or wake up; a child that can't is ended, and the model then unloaded."""
        self._turned = asyncio.get_running_loop().create_future()
        self._supervisor.send(frame(message))
        try:
            async with asyncio.timeout(self._settings.start_timeout):
                await self._turned
        except TimeoutError:
            await self.unload()
            raise ModelError(f"the engine took more than {self._settings.start_timeout:g} s") from None
        except BaseException:
            await self.unload()
            raise
        finally:
            self._turned = None

    def _has_turned(self, error: Exception | None = None, *, is_asleep: bool) -> None:
        self._is_asleep = is_asleep
        if self._turned is not None and not self._turned.done():
            if error is None:
                self._turned.set_result(None)
            else:
                self._turned.set_exception(error)

    def _known_text(self) -> TextSide:
        """What text and tokens are to the model: known from its first load on, also while it isn't loaded."""
        if self._closing:
            raise ShuttingDown("The server is shutting down.")
        if self._text is None or self._capabilities is None:
            raise ModelLoading(f"The model {self._name} is still being loaded.", retry_after=1.0)
        return self._text

    def _ready(self) -> tuple[TextSide, Capabilities]:
        text, capabilities, health = self._known_text(), self.capabilities(), self.health()
        if health.state is HealthState.LOADING:
            raise ModelLoading(f"The model {self._name} is still being loaded.", retry_after=1.0)
        if health.state is not HealthState.READY:
            raise EngineDead(f"The engine of {self._name} is {health.state}: {health.detail}.", retry_after=1.0)
        return text, capabilities

    async def _encode_to_fit(self, prompt: Prompt, limit: int) -> tuple[list[int], str]:
        """The prompt's token ids, and its text where a completion may have to echo it. Raises ContextLengthExceeded."""
        text, _ = self._ready()
        if isinstance(prompt, TokensPrompt):
            if len(prompt.token_ids) > limit:
                raise prompt_too_long(prompt, limit)
            given = self._given(prompt)
            return given, await self._threads.decode(text, given)
        token_ids = await self._threads.encode(text, prompt, at_most=limit)
        if token_ids is None:
            raise prompt_too_long(prompt, limit)
        return token_ids, prompt.text if isinstance(prompt, TextPrompt) else ""

    def _given(self, prompt: TokensPrompt) -> list[int]:
        check_vocabulary(prompt.token_ids, self._vocab_size, "prompt")
        return list(prompt.token_ids)

    def _on_frame(self, body: bytes) -> None:
        match decode_from_engine(body):
            case Outputs(items=items, stats=stats):
                if stats is not None:
                    self._stats = stats
                for progress in items:
                    answer = self._answers.get(progress.request_id)
                    # None: cancelled a moment ago.
                    if answer is not None and answer.advance(progress):
                        self._supervisor.send(frame(Abort(progress.request_id, progress.index)))
            case Embedded() as message:
                self._vectors.take(message)
            case Loading(done=done, total=total):
                self._on_loading(done, total)
            case Failed(message=message, is_permanent=is_permanent):
                # What the first start fails with is told to the one who waits for it; later the supervisor tries on.
                if self._turned is not None:
                    self._has_turned(ModelError(message), is_asleep=False)
                elif is_permanent or not self._supervisor.was_ready:
                    self._supervisor.mark_failed(message)
            case Asleep():
                self._has_turned(is_asleep=True)
            case Ready() as message:
                self._on_ready(message)

    def _on_ready(self, message: Ready) -> None:
        loop = asyncio.get_running_loop()
        if self._text is None:
            # The child was faster than the tokenizer: look again when that is there.
            loop.call_later(0.01, self._on_ready, message)
            return
        try:
            self._capabilities = describe(self._name, self._path, self._launch, message, self._text, self._settings)
        except ModelError as error:
            self._supervisor.mark_failed(str(error))
            return
        self._max_model_len, self._vocab_size = message.max_model_len, message.vocab_size
        self._sleep_levels = message.sleep_levels
        self._supervisor.mark_ready()
        self._has_turned(is_asleep=False)

    def _on_down(self, reason: str) -> None:
        self._stats = Stats()
        self._has_turned(ModelError(f"the engine {reason}"), is_asleep=False)
        self._fail_all(EngineDead(f"The engine {reason} while it worked on this request.", retry_after=1.0))

    def _fail_all(self, error: PennyweightError) -> None:
        for answer in self._answers.values():
            answer.fail(error)
        self._vectors.fail(error)
