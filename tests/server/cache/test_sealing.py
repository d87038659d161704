"""Sealed answers: they open as they were, and nothing else opens."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.cache.sealing import Sealer, Unsealable, open_sealer
from pennyweight.server.errors import ConfigError

KEY, MASTER = bytes(range(32)), bytes(range(100, 132))
SEALERS = [Sealer(), Sealer(MASTER)]


@pytest.mark.parametrize("sealer", SEALERS, ids=["plain", "encrypted"])
@given(st.binary(), st.text(), st.floats(0, 1e10))
def test_what_is_sealed_opens_as_it_was(sealer: Sealer, encoded: bytes, tenant: str, made: float) -> None:
    assert sealer.open(sealer.seal(encoded, KEY, tenant, made), KEY, tenant) == (encoded, made)


@pytest.mark.parametrize("sealer", SEALERS, ids=["plain", "encrypted"])
@given(st.binary(max_size=50), st.data())
def test_what_is_changed_anywhere_or_cut_does_not_open(sealer: Sealer, encoded: bytes, data: st.DataObject) -> None:
    sealed = sealer.seal(encoded, KEY, "t", 1.0)
    place = data.draw(st.integers(0, len(sealed) - 1))
    changed = bytes(byte ^ (place == number) * data.draw(st.just(1)) for number, byte in enumerate(sealed))
    for damaged in (changed, sealed[:place], sealed + b"\0"):
        with pytest.raises(Unsealable):
            sealer.open(damaged, KEY, "t")


@pytest.mark.parametrize("sealer", SEALERS, ids=["plain", "encrypted"])
def test_what_is_moved_to_another_key_does_not_open(sealer: Sealer) -> None:
    with pytest.raises(Unsealable):
        sealer.open(sealer.seal(b"answer", KEY, "t", 1.0), bytes(32), "t")


def test_another_tenant_s_another_key_s_and_what_is_in_the_clear_do_not_open() -> None:
    plain, encrypted = SEALERS
    sealed = encrypted.seal(b"a secret of some length", KEY, "t", 1.0)
    assert b"secret" not in sealed
    for sealer, tenant in ((encrypted, "u"), (Sealer(bytes(32)), "t"), (plain, "t")):
        with pytest.raises(Unsealable):
            sealer.open(sealed, KEY, tenant)
    with pytest.raises(Unsealable):
        encrypted.open(plain.seal(b"answer", KEY, "t", 1.0), KEY, "t")


def test_with_a_master_key_the_store_sees_neither_keys_nor_tenants_by_which_a_guess_could_be_checked() -> None:
    plain, encrypted = SEALERS
    assert plain.stored_key(KEY) == KEY
    assert len({encrypted.stored_key(KEY), Sealer(bytes(32)).stored_key(KEY), KEY}) == 3
    assert len({encrypted.stored_tenant("t"), Sealer(bytes(32)).stored_tenant("t"), plain.stored_tenant("t")}) == 3


@pytest.mark.parametrize(
    "text",
    [
        MASTER.hex(),
        MASTER.hex() + "\n",
        base64.b64encode(MASTER).decode(),
        base64.urlsafe_b64encode(b"\xff" * 32).decode(),
    ],
)
def test_a_key_is_read_from_a_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    assert open_sealer(str(file)).is_encrypting


@pytest.mark.parametrize("text", ["", "abc", MASTER.hex()[:-2], "ключ"])
def test_a_file_that_holds_no_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="key_file") as refused:
        open_sealer(str(file))
    assert not text or text not in str(refused.value)
