"""Which Python an engine's process runs on: the server's own, or that of an environment which has a library that the server hasn't."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys

from pennyweight.server.errors import ConfigError


def interpreter_with(package: str, given: str | None, *, otherwise: str) -> str:
    """The interpreter named in the settings, else the server's own if it has the package.

    Raises ConfigError: for a name that is no program, and with ``otherwise``, which says what to do, where nothing has it.
    """
    if given is not None:
        found = shutil.which(os.path.expanduser(given))
        if found is None:
            raise ConfigError(f"engine.python is {given!r}, which is no program that can be run")
        return found
    if importlib.util.find_spec(package) is None:
        raise ConfigError(otherwise)
    return sys.executable
