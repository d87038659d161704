"""Where the libraries are: this interpreter, or that of an environment of their own, and what to do where they are not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from .errors import QuantizeError
from .recipe import Library

PROBE_SECONDS = 120
# Whose versions decide what a recipe makes.
PACKAGES: Mapping[Library, tuple[str, ...]] = MappingProxyType(
    {
        Library.LLM_COMPRESSOR: ("llmcompressor", "compressed-tensors", "transformers", "torch"),
        Library.GPTQMODEL: ("gptqmodel", "transformers", "torch"),
        Library.BITSANDBYTES: ("bitsandbytes", "accelerate", "transformers", "torch"),
    }
)
# These pin versions of PyTorch and transformers which are not the server's: hence the environment of their own.
INSTALL: Mapping[Library, str] = MappingProxyType(
    {
        Library.LLM_COMPRESSOR: "pip install 'pennyweight[quantize]'",
        Library.BITSANDBYTES: "pip install 'pennyweight[quantize]'",
        Library.GPTQMODEL: "pip install 'pennyweight[quantize]' and then, for it asks for newer versions than it needs, "
        "pip install --no-deps gptqmodel device-smi tokenicer logbar pypcre defuser threadpoolctl torchao",
    }
)
_PROBE = """
import importlib.metadata, json, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
print(json.dumps({"python": sys.version.split()[0], **{name: version(name) for name in sys.argv[1:]}}))
"""


def interpreter(given: str | None) -> str:
    """The interpreter that is named, or this one. Raises QuantizeError for a name that is no program."""
    if given is None:
        return sys.executable
    found = shutil.which(os.path.expanduser(given))
    if found is None:
        raise QuantizeError(f"--python {given} is no program that can be run")
    # Not resolved: an environment's python is a link, and only by its own name does it find the environment.
    return str(Path(found).absolute())


def probe(python: str, library: Library) -> dict[str, str]:
    """The versions of the library and of what it stands on there, and of Python and this package.

    Raises QuantizeError, which says what to install, where something is missing.
    """
    names = ("pennyweight", "msgspec", *PACKAGES[library])
    command = [python, "-c", _PROBE, *names]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=True)
        found: dict[str, str | None] = json.loads(ran.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise QuantizeError(f"{python} can't be asked for its packages: {error}") from None
    missing = [name for name in names if found.get(name) is None]
    if missing:
        raise QuantizeError(
            f"{python} has no {', '.join(missing)}. Make an environment for quantising (`make quantize` in a checkout makes "
            f".venv-quantize; or, in an environment of its own: {INSTALL[library]}) and name its python by --python"
        )
    return {name: version for name, version in found.items() if version is not None and name != "msgspec"}
