"""Which adapters the runner has at hand: a few slots, given to requests as they come and taken from whoever was idle longest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pennyweight.server.errors import InvalidRequest, ModelError
from pennyweight.server.types import Adapter

T = TypeVar("T")


@dataclass(slots=True)
class _Held(Generic[T]):
    slot: int
    loading: Future[T]
    holders: set[str] = field(default_factory=set)
    is_placed: bool = False


class AdapterSlots(Generic[T]):
    """``count`` adapters at a time, loaded by ``load`` beside the step loop and put into place by ``place`` between steps.

    An adapter stays where it is while a request holds it, and after that until its slot is wanted. Both functions may raise
    ModelError. Owned by the step loop; not thread-safe.
    """

    def __init__(self, count: int, load: Callable[[Adapter], T], place: Callable[[int, T], None]) -> None:
        self._load = load
        self._place = place
        self._free = list(reversed(range(count)))
        # By digest, the one that was asked for the longest ago first.
        self._held: OrderedDict[str, _Held[T]] = OrderedDict()
        self._digests: dict[str, str] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="adapter")

    def take(self, request_id: str, adapter: Adapter) -> int | None:
        """The adapter's slot, held for the request until ``drop``; None while it is being loaded, or every slot is held.

        To be asked again then. Raises InvalidRequest for an adapter that can't be loaded; the request holds nothing then.
        """
        held = self._held.get(adapter.digest)
        if held is None:
            slot = self._free_slot()
            if slot is None:
                return None
            held = self._held[adapter.digest] = _Held(slot, self._pool.submit(self._load, adapter))
        self._held.move_to_end(adapter.digest)
        held.holders.add(request_id)
        self._digests[request_id] = adapter.digest
        if not held.loading.done():
            return None
        try:
            if not held.is_placed:
                self._place(held.slot, held.loading.result())
                held.is_placed = True
        except (ModelError, MemoryError) as error:
            self.drop(request_id)
            if not held.holders:
                self._free.append(self._held.pop(adapter.digest).slot)
            raise InvalidRequest(f"The adapter {adapter.name} can't be used: {error}.", param="model") from error
        return held.slot

    def drop(self, request_id: str) -> None:
        """The request has ended. Unknown ids, and those that hold nothing, are ignored."""
        digest = self._digests.pop(request_id, None)
        if digest is not None:
            self._held[digest].holders.discard(request_id)

    def close(self) -> None:
        """Load nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _free_slot(self) -> int | None:
        if self._free:
            return self._free.pop()
        for digest, held in self._held.items():
            if not held.holders and held.loading.done():
                del self._held[digest]
                return held.slot
        return None
