"""Compiles the CPU kernels when the package is built; everything else is in pyproject.toml.

The compiler is $CXX, else c++, g++ or clang++, else the one that the package ziglang carries. Where there is none, the package
installs without the kernels and computes with PyTorch's, slower: `pennyweight doctor` tells. PENNYWEIGHT_KERNELS=none leaves them
out, for an environment in which only another engine's worker runs.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# The same sources for two instruction sets; which library is loaded the CPU decides (kernels/cpu/library.py).
ISA_FLAGS = {
    "avx2": ["-mavx2", "-mfma", "-mf16c", "-mbmi2"],
    "avx512": [
        *(
            "-mavx512f",
            "-mavx512bw",
            "-mavx512dq",
            "-mavx512vl",
            "-mavx512vnni",
            "-mavx512bf16",
            "-mfma",
            "-mf16c",
            "-mbmi2",
        ),
        *("-mamx-tile", "-mamx-int8", "-mamx-bf16"),
    ],
}
# GCC 12 warns about its own intrinsics' deliberately undefined operands.
WARNINGS = ["-Wall", "-Wextra", "-Wno-uninitialized", "-Wno-maybe-uninitialized"]
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", *WARNINGS]


def compilers() -> list[list[str]]:
    """Commands to try, in order."""
    named = [shlex.split(os.environ["CXX"])] if os.environ.get("CXX") else []
    found = [[path] for name in ("c++", "g++", "clang++") if (path := shutil.which(name))]
    zig = [[sys.executable, "-m", "ziglang", "c++"]] if importlib.util.find_spec("ziglang") else []
    return [*named, *found, *zig]


class BuildKernels(build_ext):
    """Compiles with the first compiler that can."""

    def build_extension(self, ext: Extension) -> None:
        if os.environ.get("PENNYWEIGHT_KERNELS") == "none":
            return
        if platform.machine() not in ("x86_64", "AMD64"):
            print(f"pennyweight: no CPU kernels for {platform.machine()} yet; PyTorch's will be used")
            return
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        # An editable install leaves the library beside the sources: none at all is better than one of older sources.
        (Path(ext.sources[0]).parent / target.name).unlink(missing_ok=True)
        for compiler in compilers():
            command = [*compiler, *FLAGS, *ISA_FLAGS[ext.name.rpartition("._")[2]], *ext.sources, "-o", str(target)]
            print("pennyweight: " + shlex.join(command))
            try:
                subprocess.run(command, check=True, timeout=600)
            except (OSError, subprocess.SubprocessError) as error:
                print(f"pennyweight: {error}")
            else:
                return
        print(
            "pennyweight: no C++ compiler could build the CPU kernels (set CXX, or pip install ziglang); PyTorch's will be used"
        )

    def get_outputs(self) -> list[str]:
        return [path for path in super().get_outputs() if Path(path).exists()]


kernels = [
    Extension(
        f"pennyweight.kernels.cpu._{isa}",
        sources=["kernels/cpu/library.cpp"],
        depends=[str(path) for path in Path("kernels/cpu").glob("*.h")],
        optional=True,
    )
    for isa in ISA_FLAGS
]
setup(ext_modules=kernels, cmdclass={"build_ext": BuildKernels})
