"""Frames: any size comes back, from any place, and whatever was harmed does not open."""

from __future__ import annotations

import io
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.framing import TAG_BYTES, FrameReader, FrameWriter

KEY, FRAME = bytes(range(32)), 64
EDGES = (0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME)


class Damaged(Exception):  # noqa: N818  as a reader words it
    """What did not open."""


def sealed(plain: bytes, about: bytes = b"a") -> bytes:
    target = io.BytesIO()
    writer = FrameWriter(target, KEY, FRAME)
    for start in range(0, len(plain), 7):
        writer.write(plain[start : start + 7])
    writer.finish(about)
    return target.getvalue()


def opened(raw: bytes, about: bytes = b"a", key: bytes = KEY) -> FrameReader:
    return FrameReader(io.BytesIO(raw), key, FRAME, about=about, damaged=Damaged)


@pytest.mark.parametrize("size", EDGES)
def test_each_size_at_the_edges_of_a_frame_comes_back(size: int) -> None:
    plain = secrets.token_bytes(size)
    raw = sealed(plain)
    assert opened(raw).readall() == plain
    assert opened(raw).size == size
    assert len(raw) == size + TAG_BYTES * max(1, -(-size // FRAME))


@given(st.binary(max_size=400), st.integers(0, 450), st.integers(1, 450))
def test_any_part_of_any_stream_can_be_read(plain: bytes, start: int, length: int) -> None:
    file = io.BufferedReader(opened(sealed(plain)), 16)
    file.seek(start)
    assert file.read(length) == plain[start : start + length]
    assert file.seek(0, io.SEEK_END) == len(plain)


@given(st.binary(min_size=1, max_size=400), st.data())
def test_a_flipped_bit_is_found_wherever_it_lies(plain: bytes, data: st.DataObject) -> None:
    raw = bytearray(sealed(plain))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Damaged):
        opened(bytes(raw)).readall()


@given(st.binary(max_size=400), st.data())
def test_a_shortened_stream_does_not_even_begin(plain: bytes, data: st.DataObject) -> None:
    raw = sealed(plain)
    with pytest.raises(Damaged):
        opened(raw[: data.draw(st.integers(0, len(raw) - 1))])


@pytest.mark.parametrize("harm", ["swapped", "doubled", "renamed", "another key"])
def test_what_was_moved_does_not_open(harm: str) -> None:
    raw, step = sealed(bytes(3 * FRAME)), FRAME + TAG_BYTES
    first, second, last = raw[:step], raw[step : 2 * step], raw[2 * step :]
    harmed = {"swapped": second + first + last, "doubled": first + first + last}.get(harm, raw)
    with pytest.raises(Damaged):
        opened(
            harmed,
            b"b" if harm == "renamed" else b"a",
            bytes(32) if harm == "another key" else KEY,
        ).readall()
