"""The compiled CPU kernels, loaded through ctypes: teams of threads, packed weights, recorded programs, sampling."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import sys
import sysconfig
from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int, c_int64, c_size_t, c_uint64, c_void_p
from pathlib import Path

_AVX2 = frozenset({"avx2", "fma", "f16c", "bmi2"})
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16"}
# Instruction sets, the best first, and what they need as Linux spells it in /proc/cpuinfo. One library has AVX-512 and AMX.
_NEEDED = {"amx": _AVX512 | {"amx_tile", "amx_bf16", "amx_int8"}, "avx512": _AVX512, "avx2": _AVX2}
# One of these, or "none": use no more than that, whatever the CPU has.
ISA_VARIABLE = "PENNYWEIGHT_CPU_ISA"


class AttentionShape(Structure):
    """``pw::AttentionShape``."""

    _fields_ = (
        ("heads", c_int),
        ("kv_heads", c_int),
        ("dim", c_int),
        ("dim_padded", c_int),
        ("block_size", c_int),
        ("num_blocks", c_int),
        ("cos", c_void_p),
        ("sin", c_void_p),
        ("norm_eps", c_float),
    )


class Operation(Structure):
    """``Operation`` of library.cpp."""

    _fields_ = (
        ("kind", c_int),
        ("of_rows", c_int),
        ("width", c_int),
        ("accumulate", c_int),
        ("epsilon", c_float),
        ("table_type", c_int),
        ("projection", c_int),
        ("projections", c_int),
        ("form", c_int),
        ("group", c_int),
        ("source", c_void_p),
        ("out", c_void_p),
        ("scales", c_void_p),
        ("group_sums", c_void_p),
        ("source_stride", c_int64),
        ("out_stride", c_int64),
        ("weight", c_void_p),
        ("keys", c_void_p),
        ("values", c_void_p),
        ("q_norm", c_void_p),
        ("k_norm", c_void_p),
        ("attended", c_void_p),
    )


class LowRankPart(Structure):
    """``pw::LowRank``."""

    _fields_ = (
        ("a", c_void_p),
        ("b", c_void_p),
        ("rank", c_int),
        ("n", c_int),
        ("first", c_int),
    )


class LowRankStep(Structure):
    """``pw::LowRankStep``."""

    _fields_ = (
        ("slots", c_void_p),
        ("table", c_void_p),
        ("middle", c_void_p),
        ("middle_stride", c_int64),
        ("num_slots", c_int),
        ("projections", c_int),
    )


class StepView(Structure):
    """``pw::StepView``."""

    _fields_ = (
        ("token_ids", c_void_p),
        ("positions", c_void_p),
        ("slots", c_void_p),
        ("query_start", c_void_p),
        ("context_lens", c_void_p),
        ("block_tables", c_void_p),
        ("logit_rows", c_void_p),
        ("table_stride", c_int64),
        ("tokens", c_int),
        ("seqs", c_int),
        ("rows", c_int),
        ("low_rank", LowRankStep),
    )


class SampleArguments(Structure):
    """``pw::SampleArguments``."""

    _fields_ = (
        ("logits", c_void_p),
        ("logits_stride", c_int64),
        ("rows", c_int),
        ("vocab_size", c_int),
        ("temperature", c_void_p),
        ("top_k", c_void_p),
        ("top_p", c_void_p),
        ("min_p", c_void_p),
        ("seed", c_void_p),
        ("position", c_void_p),
        ("num_top", c_void_p),
        ("mask", c_void_p),
        ("masked", c_void_p),
        ("given", c_void_p),
        ("mask_stride", c_int64),
        ("token_ids", c_void_p),
        ("logprobs", c_void_p),
        ("top_ids", c_void_p),
        ("top_logprobs", c_void_p),
        ("top_stride", c_int64),
    )


class HashArguments(Structure):
    """``pw::HashArguments``."""

    _fields_ = (
        ("logits", c_void_p),
        ("logits_stride", c_int64),
        ("rows", c_void_p),
        ("count", c_int),
        ("vocab_size", c_int),
        ("low", c_void_p),
        ("high", c_void_p),
        ("sums", c_void_p),
    )


_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "pw_grant_tiles": (c_int, []),
    "pw_tiles": (c_char_p, []),
    "pw_activation_bytes": (c_int, [c_int]),
    "pw_map": (c_void_p, [c_size_t]),
    "pw_unmap": (None, [c_void_p, c_size_t]),
    "pw_team_create": (c_void_p, [c_int]),
    "pw_team_progress": (c_uint64, [c_void_p]),
    "pw_panel_bytes": (c_size_t, [c_int, c_int, c_int, c_int]),
    "pw_weights_create": (c_void_p, [c_int, c_int, c_int, c_int, c_void_p, c_void_p, c_void_p, c_void_p]),
    "pw_weights_destroy": (None, [c_void_p]),
    "pw_weights_pack": (None, [c_void_p, c_void_p, c_int, c_int, c_void_p, c_int]),
    "pw_weights_pack_int8": (None, [c_void_p, c_void_p, c_void_p, c_void_p]),
    "pw_weights_pack_codes": (None, [c_void_p, c_void_p, c_void_p, c_void_p, c_void_p]),
    "pw_program_create": (c_void_p, [c_void_p, c_int, c_int, c_int, POINTER(AttentionShape)]),
    "pw_program_destroy": (None, [c_void_p]),
    "pw_program_add": (None, [c_void_p, POINTER(Operation)]),
    "pw_program_run": (None, [c_void_p, POINTER(StepView)]),
    "pw_peak": (c_double, [c_void_p, c_int, c_int64]),
    "pw_sample": (None, [c_void_p, POINTER(SampleArguments)]),
    "pw_hash_rows": (None, [c_void_p, POINTER(HashArguments)]),
}


class Library:
    """The loaded library and this process's teams of threads. ``isa`` is "amx", "avx512" or "avx2".

    ``tiles`` says where its sums are cut, ``digest`` tells its very instructions from those of another build.
    """

    def __init__(self, path: Path, isa: str) -> None:
        self.c = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(self.c, name)
            function.restype, function.argtypes = result, arguments
        # The system grants tiles to processes that ask; where it does not, vectors do.
        self.isa = "avx512" if isa == "amx" and not self.c.pw_grant_tiles() else isa
        self.tiles: str = self.c.pw_tiles().decode()
        self.digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        self._teams: dict[int, int] = {}

    def team(self, threads: int = 1) -> int:
        """The address of a team of that many threads, made at its first use and kept."""
        if threads not in self._teams:
            self._teams[threads] = self.c.pw_team_create(threads)
        return self._teams[threads]

    @property
    def largest_team(self) -> int:
        """The address of the largest team that was made."""
        return self.team(max(self._teams, default=1))


def library_path(isa: str) -> Path | None:
    """Where the library for an instruction set is; None when it was not built (no compiler when the package was installed)."""
    path = Path(__file__).resolve().parent / f"_{isa.replace('amx', 'avx512')}{sysconfig.get_config_var('EXT_SUFFIX')}"
    if path.exists():
        return path
    # A strict editable install links the sources into a tree of links, where the library is built beside the links.
    beside_link = Path(__file__).parent / path.name
    return beside_link if beside_link.exists() else None


def cpu_isa() -> str:
    """The best of "amx", "avx512", "avx2" and "none" that this CPU has and PENNYWEIGHT_CPU_ISA allows."""
    names = list(_NEEDED)
    most = os.environ.get(ISA_VARIABLE, names[0])
    flags = _cpu_flags()
    allowed = names[names.index(most) :] if most in names else []
    return next((isa for isa in allowed if flags >= _NEEDED[isa]), "none")


@functools.cache
def load_library() -> Library | None:
    """The library, loaded once for the process; None where it can't be used, and PyTorch's kernels are to be."""
    isa = cpu_isa()
    path = library_path(isa)
    return Library(path, isa) if path is not None else None


def _cpu_flags() -> frozenset[str]:
    if sys.platform != "linux":
        return frozenset()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()
