"""The compiled CPU kernels of each instruction set that this CPU has."""

from __future__ import annotations

import pytest

from pennyweight.kernels.cpu import library as cpu_library
from pennyweight.kernels.cpu.library import Library, cpu_isa, library_path


@pytest.fixture(params=["amx", "avx512", "avx2"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Library:
    path = library_path(request.param)
    if path is None:
        pytest.skip("the CPU kernels are not built: no C++ compiler")
    monkeypatch.setenv(cpu_library.ISA_VARIABLE, request.param)
    if cpu_isa() != request.param:
        pytest.skip(f"this CPU has no {request.param}")
    return Library(path, request.param)
