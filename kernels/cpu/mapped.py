"""Memory for weights and caches."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from .library import Library


class MappedTensor:
    """Zeroed memory in huge pages where the system has them, touched first by whoever writes it. Freed with its owner."""

    def __init__(self, library: Library, num_bytes: int) -> None:
        self._library = library
        self._num_bytes = max(num_bytes, 1)
        address = library.c.pw_map(self._num_bytes)
        if not address:
            raise MemoryError(f"{num_bytes} bytes of memory are not to be had")
        self.address: int = address

    def as_bytes(self) -> NDArray[np.uint8]:
        """A view of it, for as long as this object lives."""
        return np.frombuffer(memoryview((ctypes.c_uint8 * self._num_bytes).from_address(self.address)), dtype=np.uint8)

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self._library.c.pw_unmap(self.address, self._num_bytes)
