"""The text of single tokens, of both kinds of vocabulary, and the files that tokenizers are read from."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Inner

from pennyweight.server.engines.local.detokenizer import Detokenizer
from pennyweight.server.engines.local.tokenizer import TOKENIZER_FILE, Tokenizer, load_tokenizer
from pennyweight.server.errors import ModelError

VOCAB_SIZE = 49152
# SmolLM2 has no tokens for these; its tokenizer, and transformers' too, leaves them out.
UNKNOWN_BYTES = frozenset(b"\x04\x06\x13\x14\x16\x1d\xf1\xf2")
KNOWN = st.characters(exclude_categories=["Cs"]).filter(lambda char: UNKNOWN_BYTES.isdisjoint(char.encode()))


@pytest.fixture(scope="module")
def real(default_model: Path) -> Tokenizer:
    return load_tokenizer(default_model)


def load(inner: Inner, directory: Path) -> Tokenizer:
    inner.save(str(directory / TOKENIZER_FILE))
    return load_tokenizer(directory)


def byte_level(added: list[AddedToken]) -> Inner:
    """A token for each byte, and the added ones from 256 on."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Inner(models.BPE({char: place for place, char in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_tokens(added)
    return inner


def sentencepiece() -> Inner:
    """As in Llama 2: a token for each byte, letters, and a space before every text."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a"]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    inner = Inner(models.BPE(vocabulary, [("▁", "a")], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    inner.add_special_tokens([AddedToken(token, special=True) for token in tokens[:3]])
    return inner


def test_every_single_token_reads_as_its_library_decodes_it(real: Tokenizer) -> None:
    for token_id in range(VOCAB_SIZE):
        assert real.token_text(token_id) == real.decode([token_id], skip_special_tokens=False)


@given(text=st.text(KNOWN, max_size=60))
def test_the_bytes_of_a_text_s_tokens_are_the_text_s(real: Tokenizer, text: str) -> None:
    ids = real.encode(text, add_special_tokens=False)
    assert b"".join(map(real.token_bytes, ids)) == text.encode()


@pytest.mark.parametrize("skips", [False, True])
@given(ids=st.lists(st.integers(0, VOCAB_SIZE - 1) | st.integers(0, 300), max_size=24))
def test_any_tokens_one_by_one_are_what_they_are_together(real: Tokenizer, ids: list[int], skips: bool) -> None:
    one = Detokenizer(real, skip_special_tokens=skips)
    text = "".join(one.push([token_id])[0] for token_id in ids) + one.flush()
    assert text == real.decode(ids, skip_special_tokens=skips)


def test_an_id_beyond_the_vocabulary_has_no_text(real: Tokenizer) -> None:
    assert real.token_bytes(10**6) == b""
    assert real.token_text(10**6) == ""


def test_special_tokens_are_known_by_id_and_by_name(real: Tokenizer) -> None:
    (token_id,) = real.encode("<|im_end|>", add_special_tokens=False)
    assert token_id in real.special_ids
    assert real.token_bytes(token_id) == b"<|im_end|>"
    assert real.has_token("<|im_end|>")
    assert not real.has_token("<|eot_id|>")
    assert real.decode([token_id], skip_special_tokens=True) == ""


def test_a_token_that_is_not_all_spelled_in_bytes_is_text(tmp_path: Path) -> None:
    alphabet = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "é世", "世"]
    inner = Inner(models.BPE({token: place for place, token in enumerate(alphabet)}, []))
    inner.decoder = decoders.ByteLevel()
    tokenizer = load(inner, tmp_path)
    for token_id, text in ((256, "é世"), (257, "世")):
        assert tokenizer.token_bytes(token_id) == text.encode()
        assert tokenizer.decode([token_id], skip_special_tokens=False) == text


def test_added_tokens_are_spelled_as_they_are_written(tmp_path: Path) -> None:
    names = ["<think>", "<tool call>", "é▁Ġ"]
    added = [AddedToken(name, special=False, normalized=False) for name in names]
    tokenizer = load(byte_level([*added, AddedToken("<end>", special=True)]), tmp_path)
    assert [tokenizer.token_bytes(256 + place).decode() for place in range(4)] == [*names, "<end>"]
    assert tokenizer.special_ids == {259}
    ids = tokenizer.encode("a<tool call>é▁Ġ<end>é", add_special_tokens=False)
    assert b"".join(map(tokenizer.token_bytes, ids)).decode() == "a<tool call>é▁Ġ<end>é"
    assert Detokenizer(tokenizer).push(ids) == ("a<tool call>é▁Ġé", None)


@given(st.text("ab 🙂é\n", max_size=20))
def test_sentencepiece_texts_come_as_they_are_written_but_for_the_first_space(text: str) -> None:
    inner = sentencepiece()
    tokenizer = Tokenizer(inner, inner.to_str)
    ids = tokenizer.encode(text, add_special_tokens=False)
    one = Detokenizer(tokenizer)
    came = "".join(one.push([token_id])[0] for token_id in ids) + one.flush()
    # In the middle of a conversation that space is one that the model wrote.
    assert came == (f" {text}" if text else "")
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_byte_tokens_are_single_bytes_and_no_others_are(tmp_path: Path) -> None:
    tokenizer = load(sentencepiece(), tmp_path)
    assert [tokenizer.token_bytes(3 + byte) for byte in range(256)] == [bytes([byte]) for byte in range(256)]
    assert tokenizer.token_bytes(262) == b" a"
    assert tokenizer.token_text(3 + 0xF0) == "\ufffd"


def test_a_file_s_truncation_and_padding_are_not_used(tmp_path: Path) -> None:
    inner = byte_level([])
    inner.enable_truncation(4)
    inner.enable_padding(length=16, pad_id=0)
    assert len(load(inner, tmp_path).encode("a" * 9, add_special_tokens=True)) == 9


def test_several_threads_may_use_one(real: Tokenizer) -> None:
    texts = [f"{place} is the number {place}. " * 50 for place in range(32)]
    alone = [real.encode(text, add_special_tokens=False) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda text: real.encode(text, add_special_tokens=False), texts)) == alone


def test_the_hash_is_that_of_the_text_and_changes_with_it(tmp_path: Path) -> None:
    inner = byte_level([])
    first = load(inner, tmp_path)
    assert first.hash == hashlib.sha256((tmp_path / TOKENIZER_FILE).read_bytes()).hexdigest()
    assert first.to_json() == (tmp_path / TOKENIZER_FILE).read_text(encoding="utf-8")
    inner.add_tokens(["<new>"])
    assert load(inner, tmp_path).hash != first.hash


def test_a_gguf_file_has_its_tokenizer_in_itself(default_gguf: Path, real: Tokenizer) -> None:
    tokenizer = load_tokenizer(default_gguf)
    text = "def f(x):\n\treturn '🙂' <|im_end|>"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert ids == real.encode(text, add_special_tokens=False)
    assert tokenizer.special_ids == real.special_ids
    assert Tokenizer(Inner.from_str(tokenizer.to_json()), tokenizer.to_json).hash == tokenizer.hash


def test_a_model_without_a_tokenizer_file_is_refused_with_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no tokenizer\.json; .*save_pretrained"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"model": {"type": "None such"}}', "\ufeff{"])
def test_a_file_that_is_no_tokenizer_is_refused_by_name(content: str, tmp_path: Path) -> None:
    (tmp_path / TOKENIZER_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=r"tokenizer\.json can't be read as a tokenizer"):
        load_tokenizer(tmp_path)
