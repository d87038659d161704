"""Building a tokenizer from a GGUF file's metadata.

llama.cpp stores the vocabulary, and either merges (byte-level BPE) or scores (SentencePiece BPE), but only the *name* of
the way in which text is cut up before merging; the tables here say what the names stand for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from pennyweight.server.errors import ModelError

from .gguf_file import GGUFFile

# tokenizer.ggml.token_type
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4

# The cut of the GPT-4 tokenizer, which Llama 3 took over; Qwen2's differs in taking digits one by one.
_GPT4_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3_SPLIT = _GPT4_SPLIT % "{1,3}"
_QWEN2_SPLIT = _GPT4_SPLIT % ""
_TEKKEN_SPLIT = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# tokenizer.ggml.pre -> the kind of cut, under one name for each.
_KINDS = MappingProxyType(
    {
        "default": "gpt-2",
        "gpt-2": "gpt-2",
        "smollm": "smollm",
        "llama3": "llama3",
        "llama-v3": "llama3",
        "llama-bpe": "llama3",
        "qwen2": "qwen2",
        "deepseek-r1-qwen": "qwen2",
        "tekken": "tekken",
    }
)
# These vocabularies hold whole words that no sequence of merges reaches, and their texts begin with a token.
_WHOLE_WORDS = frozenset({"llama3", "tekken"})


def tokenizer_from_gguf(path: Path) -> Tokenizer:
    """The tokenizer that a GGUF file describes.

    Raises ModelError where the file has none, or one of a kind (``tokenizer.ggml.model``, ``tokenizer.ggml.pre``) that is
    not known here: a guess would give wrong tokens without a word.
    """
    return tokenizer_of(GGUFFile(path))


def tokenizer_of(file: GGUFFile) -> Tokenizer:
    """As ``tokenizer_from_gguf``, of an open file."""
    metadata = file.metadata
    model = metadata.get("tokenizer.ggml.model")
    try:
        if model == "gpt2":
            tokenizer = _byte_level(metadata)
        elif model == "llama":
            tokenizer = _sentencepiece(metadata)
        else:
            raise ModelError(f"{file.path} has a tokenizer of kind {model!r}; gpt2 and llama can be read")
        _add_special_tokens(tokenizer, metadata)
    except ModelError:
        raise
    except Exception as error:  # what the Rust side makes of a vocabulary that contradicts itself has no narrower type
        raise ModelError(f"the tokenizer in {file.path} can't be built: {error!r}") from error
    return tokenizer


def adds_bos(metadata: dict[str, Any]) -> bool:
    """Whether a text begins with the bos token: as the file says, else as llama.cpp takes it for this kind of tokenizer."""
    by_default = metadata.get("tokenizer.ggml.model") == "llama" or _kind(metadata) in _WHOLE_WORDS
    return bool(metadata.get("tokenizer.ggml.add_bos_token", by_default))


def _kind(metadata: dict[str, Any]) -> str | None:
    return _KINDS.get(metadata.get("tokenizer.ggml.pre", "default"))


def _byte_level(metadata: dict[str, Any]) -> Tokenizer:
    kind = _kind(metadata)
    if kind is None:
        raise ModelError(
            f"the pre-tokenizer {metadata['tokenizer.ggml.pre']!r} is unknown; known are {', '.join(_KINDS)}. "
            "Use the model's directory in Hugging Face format, which brings its tokenizer.json"
        )
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    merges = [_pair(merge) for merge in metadata["tokenizer.ggml.merges"]]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=kind in _WHOLE_WORDS))
    if kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _pre_tokenizer(kind)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right


def _pre_tokenizer(kind: str) -> pre_tokenizers.PreTokenizer:
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if kind == "gpt-2":
        return gpt2
    if kind == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2])
    split = {"llama3": _LLAMA3_SPLIT, "qwen2": _QWEN2_SPLIT, "tekken": _TEKKEN_SPLIT}[kind]
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _sentencepiece(metadata: dict[str, Any]) -> Tokenizer:
    """SentencePiece's BPE with byte fallback. A space is U+2581, and each text gets one in front unless the file says no."""
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    unknown = tokens[metadata.get("tokenizer.ggml.unknown_token_id", 0)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=list(_merges(metadata)), unk_token=unknown, fuse_unk=True, byte_fallback=True
        )
    )
    prefixed = metadata.get("tokenizer.ggml.add_space_prefix", True)
    spaces = [normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), *spaces] if prefixed else spaces)
    decoding: list[decoders.Decoder] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*decoding, decoders.Strip(" ", 1, 0)] if prefixed else decoding)
    return tokenizer


def _merges(metadata: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The pairs of pieces that make a piece, best score first: what SentencePiece's greedy merging by score amounts to."""
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    scores: list[float] = metadata["tokenizer.ggml.scores"]
    kinds: list[int] = metadata.get("tokenizer.ggml.token_type", [NORMAL] * len(tokens))
    pieces = {token for token, kind in zip(tokens, kinds, strict=True) if kind in (NORMAL, USER_DEFINED)}
    by_score = sorted(range(len(tokens)), key=lambda index: -scores[index])
    for token in (tokens[index] for index in by_score if tokens[index] in pieces):
        for cut in range(1, len(token)):
            if token[:cut] in pieces and token[cut:] in pieces:
                yield token[:cut], token[cut:]


def _add_special_tokens(tokenizer: Tokenizer, metadata: dict[str, Any]) -> None:
    """Tokens that are never cut, and those that begin and end a text."""
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    kinds: list[int] = metadata.get("tokenizer.ggml.token_type", [])
    tokenizer.add_tokens(
        [
            AddedToken(token, normalized=False, special=kind != USER_DEFINED)
            for token, kind in zip(tokens, kinds, strict=False)
            if kind in (CONTROL, UNKNOWN, USER_DEFINED)
        ]
    )
    template, special_tokens = ["$A"], []
    if adds_bos(metadata):
        bos = metadata["tokenizer.ggml.bos_token_id"]
        template.insert(0, tokens[bos])
        special_tokens.append((tokens[bos], bos))
    if metadata.get("tokenizer.ggml.add_eos_token", False):
        eos = metadata["tokenizer.ggml.eos_token_id"]
        template.append(tokens[eos])
        special_tokens.append((tokens[eos], eos))
    if special_tokens:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=template, pair=[*template, "$B:1"], special_tokens=special_tokens
        )
