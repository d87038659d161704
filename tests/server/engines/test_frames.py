from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.engines.frames import FrameBuffer, pack_frame


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(0, 3000), max_size=12))
def test_frames_come_out_whole_however_they_are_cut(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(pack_frame, bodies))
    places = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    buffer = FrameBuffer()
    found = [body for begin, end in pairwise(places) for body in buffer.add(stream[begin:end])]
    assert found == bodies


def test_a_torn_frame_is_kept_until_its_end_comes() -> None:
    buffer, packed = FrameBuffer(), pack_frame(b"whole")
    assert buffer.add(pack_frame(b"before") + packed[:-1]) == [b"before"]
    assert buffer.add(packed[-1:]) == [b"whole"]
