"""A recording's files: what was written is read again whatever became of the last line, and they take the room that they may."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from fakes.recordings import MANIFEST, record, recorded_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pennyweight.server.engines.manifest import Manifest
from pennyweight.server.errors import ConfigError
from pennyweight.server.record.line import encode_line
from pennyweight.server.record.reader import RecordingReader
from pennyweight.server.record.segment import CHECK_SECONDS
from pennyweight.server.record.segment_name import began_at, segments_in
from pennyweight.server.record.segments import Segments

KEY = bytes(range(32))


def segments(directory: Path, **changes: Any) -> Segments:
    return Segments(directory, **{"max_file_bytes": 1 << 20, "max_bytes": 8 << 20} | changes)


def write(into: Segments, *ids: str, text: str = "Hello", manifest: Manifest = MANIFEST) -> int:
    return into.write([encode_line(record(id, text=text, manifest=manifest.fingerprint)) for id in ids], [manifest])


def total(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "sealed"])
def test_what_is_written_is_read_in_its_order_with_its_manifest_before_it(tmp_path: Path, key: bytes | None) -> None:
    other = Manifest(fingerprint="fp_two", model="other", parts={})
    into = segments(tmp_path, master=key)
    nbytes = write(into, "a", "b") + write(into, "c", manifest=other) + write(into, "d")
    into.close()
    found = list(RecordingReader([tmp_path], key))
    assert [one.fingerprint if isinstance(one, Manifest) else one.id for one in found] == [
        "fp_one", "a", "b", "fp_two", "c", "d",
    ]  # fmt: skip
    assert found[1] == record("a")
    assert found[0] == MANIFEST
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size == nbytes
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (b"Hello" in path.read_bytes()) is (key is None)


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "sealed"])
def test_a_torn_tail_is_dropped_and_nothing_else(tmp_path: Path, key: bytes | None) -> None:
    into = segments(tmp_path, master=key)
    for id in "ab":
        write(into, id)
    into.close()
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(data) if byte == ord("\n")]
    assert len(ends) == 4  # header, manifest, two records
    for cut in reversed(range(len(data) + 1)):
        os.truncate(path, cut)
        reader = RecordingReader([path], key)
        found = [one.id for one in reader if not isinstance(one, Manifest)]
        whole = sum(end <= cut for end in ends)
        assert found == ["a", "b"][: max(whole - 2, 0)], cut
        assert sum(reader.torn.values()) == cut - max((end for end in ends if end <= cut), default=0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(batches=st.lists(st.lists(st.text(max_size=40), min_size=1, max_size=4), max_size=6), data=st.data())
def test_any_text_survives_any_cut_of_the_last_file(tmp_path: Path, batches: list[list[str]], data: Any) -> None:
    directory = tmp_path / os.urandom(8).hex()
    directory.mkdir()
    key = data.draw(st.sampled_from([None, KEY]))
    into = segments(directory, master=key)
    for number, batch in enumerate(batches):
        into.write([encode_line(record(f"{number}", text=text, prompt=text)) for text in batch], [MANIFEST])
    into.close()
    texts = [text for batch in batches for text in batch]
    assert [one.choices[0].text for one in recorded_in(directory, key)] == texts
    if not texts:
        return
    (path,) = directory.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    found = recorded_in(directory, key)
    assert [one.choices[0].text for one in found] == texts[: len(found)]
    # What comes after it in another file is read all the same.
    write(another := segments(directory, master=key), "later")
    another.close()
    assert [one.id for one in recorded_in(directory, key)][len(found) :] == ["later"]


def test_reading_goes_on_where_it_ended(tmp_path: Path) -> None:
    into, reader = segments(tmp_path), RecordingReader([tmp_path])
    write(into, "a")
    assert [one.id for one in reader if not isinstance(one, Manifest)] == ["a"]
    (path,) = tmp_path.iterdir()
    line = encode_line(record("b"))
    with path.open("ab") as file:
        file.write(line[:50])
    assert list(reader) == []
    assert reader.torn == {path: 50}
    with path.open("ab") as file:
        file.write(line[50:] + b"\n")
    assert list(reader) == [record("b")]
    assert not reader.torn
    into.close()
    write(into, "c")
    assert [one.id for one in reader if not isinstance(one, Manifest)] == ["c"]


def test_files_are_begun_before_they_are_too_large_and_the_oldest_go(tmp_path: Path) -> None:
    into = segments(tmp_path, max_file_bytes=20_000, max_bytes=50_000)
    for number in range(200):
        write(into, f"r{number:03}", text="x" * 500)
        assert total(tmp_path) <= 50_000
        assert all(path.stat().st_size <= 20_000 for path in tmp_path.iterdir())
    found = [one.id for one in recorded_in(tmp_path)]
    assert found == [f"r{number:03}" for number in range(200)][-len(found) :]
    assert len(found) >= 19
    # Each can be read alone.
    for path in segments_in(tmp_path):
        assert isinstance(next(iter(RecordingReader([path]))), Manifest)


def test_the_room_is_that_of_all_servers_together_and_of_nobody_else_s_files(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_bytes(bytes(100_000))
    for id in "abcd":
        into = segments(tmp_path, max_file_bytes=20_000, max_bytes=50_000)
        for _ in range(15):
            write(into, id, text="x" * 500)
        into.close()
    assert (tmp_path / "notes.jsonl").exists()
    assert total(tmp_path) <= 150_000
    assert {one.id for one in recorded_in(tmp_path)} <= {"b", "c", "d"}


def test_records_are_gone_before_they_are_too_old(tmp_path: Path) -> None:
    now = [1_700_000_000.0]
    into = segments(tmp_path, max_age=800.0, clock=lambda: now[0])
    written = {}
    for number in range(60):
        write(into, str(number))
        written[str(number)] = now[0]
        now[0] += 30
        into.tidy()
        ages = [now[0] - written[one.id] for one in recorded_in(tmp_path)]
        assert max(ages, default=0) <= 800
        assert len(ages) >= min(number + 1, 600 // 30)
    now[0] += 700
    into.tidy()
    assert not recorded_in(tmp_path)


def test_a_file_that_cannot_be_written_is_left_as_it_was_and_another_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = segments(tmp_path)
    write(into, "a")
    real, calls = os.write, []

    def full_after_ten_bytes(descriptor: int, data: Any) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[:10])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full_after_ten_bytes)
        with pytest.raises(OSError, match="No space"):
            write(into, "b")
        with pytest.raises(OSError, match="No space"):
            write(into, "c")
    assert len(list(tmp_path.iterdir())) == 1  # none is left that has nothing in it
    write(into, "d")
    reader = RecordingReader([tmp_path])
    assert [one.id for one in reader if not isinstance(one, Manifest)] == ["a", "d"]
    assert not reader.torn


def test_a_file_that_is_deleted_takes_nothing_more(tmp_path: Path) -> None:
    into = segments(tmp_path)
    write(into, "a")
    next(tmp_path.iterdir()).unlink()
    time.sleep(CHECK_SECONDS)
    with pytest.raises(FileNotFoundError):
        write(into, "b")
    write(into, "c")
    assert [one.id for one in recorded_in(tmp_path)] == ["c"]


@pytest.mark.parametrize("damage", ["change", "swap", "remove"])
def test_sealed_lines_open_in_their_place_alone(tmp_path: Path, damage: str) -> None:
    into = segments(tmp_path, master=KEY)
    for id in "abc":
        write(into, id)
    into.close()
    (path,) = tmp_path.iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "change":
        lines[3] = lines[3][:40] + (b"A" if lines[3][40:41] != b"A" else b"B") + lines[3][41:]
    elif damage == "swap":
        lines[2:4] = lines[3:1:-1]
    else:
        del lines[2]
    path.write_bytes(b"".join(lines))
    with pytest.raises(ConfigError, match="damaged or has another key"):
        recorded_in(tmp_path, KEY)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    into = segments(tmp_path, master=KEY)
    write(into, "a")
    into.close()
    (sealed,) = tmp_path.iterdir()
    with pytest.raises(ConfigError, match="is encrypted"):
        recorded_in(sealed)
    with pytest.raises(ConfigError, match="another key"):
        recorded_in(sealed, bytes(32))
    with pytest.raises(ConfigError, match="there is no recording"):
        recorded_in(tmp_path / "none.jsonl")
    (tmp_path / "text.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match="no recording"):
        recorded_in(tmp_path / "text.jsonl")
    line = b'{"header":{"format":"pennyweight-recording","version":99,"pennyweight":"9.0","began":1.0}}\n'
    (tmp_path / "newer.jsonl").write_bytes(line)
    with pytest.raises(ConfigError, match="newer version"):
        recorded_in(tmp_path / "newer.jsonl")


def test_names_say_when_a_file_was_begun(tmp_path: Path) -> None:
    into = segments(tmp_path, clock=lambda: 1_700_000_000.25)
    write(into, "a")
    (path,) = tmp_path.iterdir()
    assert path.name == f"recording-20231114T221320250000Z-{os.getpid()}-0000.jsonl"
    assert began_at(path) == 1_700_000_000.25
    assert began_at(Path("recording-20239914T221320250000Z-1-0000.jsonl")) is None
