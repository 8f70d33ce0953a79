"""The frames of an attached container's output, cut in every way."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_containers.framing import STDERR, STDOUT, FrameDecoder, FramingError

OUT, ERR = b"the reply\n", b"a line of the log\n"


def frame(stream: int, payload: bytes) -> bytes:
    return struct.pack(">BxxxI", stream, len(payload)) + payload


def streams(pieces: Iterable[tuple[int, bytes]]) -> dict[int, bytes]:
    """Return what each stream has got."""
    got = {STDOUT: b"", STDERR: b""}
    for stream, piece in pieces:
        assert piece, "an empty piece"
        got[stream] += piece
    return got


def fed(decoder: FrameDecoder, cuts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Feed as the attachment does: `whole` first."""
    for data in cuts:
        payload = decoder.whole(data)
        if payload is None:
            yield from decoder.feed(data)
        else:
            yield STDOUT, payload


SEVERAL = frame(STDOUT, OUT) + frame(STDERR, ERR) + frame(STDOUT, b"") + frame(STDOUT, OUT * 3) + frame(STDERR, b"")
WANTED = {STDOUT: OUT * 4, STDERR: ERR}


def test_frames_that_come_at_once() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(SEVERAL) == [(STDOUT, OUT), (STDERR, ERR), (STDOUT, OUT * 3)]
    assert decoder.clean


def test_byte_by_byte() -> None:
    decoder = FrameDecoder()
    assert streams(fed(decoder, (bytes([one]) for one in SEVERAL))) == WANTED
    assert decoder.clean


def test_every_cut_in_two_and_in_three() -> None:
    for first in range(len(SEVERAL) + 1):
        for second in range(first, len(SEVERAL) + 1):
            decoder = FrameDecoder()
            cuts = [SEVERAL[:first], SEVERAL[first:second], SEVERAL[second:]]
            assert streams(fed(decoder, cuts)) == WANTED
            assert decoder.clean


@given(
    frames=st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=40)), max_size=8),
    sizes=st.lists(st.integers(1, 50), min_size=1),
)
def test_however_they_are_cut(frames: list[tuple[int, bytes]], sizes: list[int]) -> None:
    data = b"".join(frame(*one) for one in frames)
    cuts: list[bytes] = []
    at = 0
    while at < len(data):
        size = sizes[len(cuts) % len(sizes)]
        cuts.append(data[at : at + size])
        at += size
    decoder = FrameDecoder()
    assert streams(fed(decoder, cuts)) == streams((stream, payload) for stream, payload in frames if payload)
    assert decoder.clean


@given(cuts=st.lists(st.binary(min_size=1, max_size=30), max_size=6))
def test_any_bytes_are_frames_or_a_framing_error(cuts: list[bytes]) -> None:
    decoder = FrameDecoder()
    try:
        got = list(fed(decoder, cuts))
    except FramingError:
        return
    assert len(b"".join(piece for _, piece in got)) <= len(b"".join(cuts))


def test_whole_takes_one_frame_of_stdout() -> None:
    assert FrameDecoder().whole(frame(STDOUT, OUT)) == OUT


@pytest.mark.parametrize(
    "data",
    [
        frame(STDERR, ERR),
        frame(STDOUT, b""),
        frame(STDOUT, OUT)[:-1],
        frame(STDOUT, OUT) + b"\x01",
        frame(STDOUT, OUT)[:7],
        b"\x01\x00\x00\x01" + frame(STDOUT, OUT)[4:],
        b"",
    ],
)
def test_whole_leaves_the_rest_to_feed(data: bytes) -> None:
    decoder = FrameDecoder()
    assert decoder.whole(data) is None
    assert decoder.clean


def test_whole_leaves_what_looks_like_a_frame_within_a_frame() -> None:
    decoder = FrameDecoder()
    inner = frame(STDOUT, OUT)
    assert decoder.feed(frame(STDOUT, inner)[:8]) == []
    assert decoder.whole(inner) is None
    assert decoder.feed(inner) == [(STDOUT, inner)]


@pytest.mark.parametrize(
    "header", [b"\x00\x00\x00\x00", b"\x04\x00\x00\x00", b"\x01\x01\x00\x00", b"HTTP", b"\x02\x00\x00\x01"]
)
def test_what_is_no_frame_is_an_error_that_shows_it(header: bytes) -> None:
    with pytest.raises(FramingError, match="not a frame") as caught:
        FrameDecoder().feed(header + b"\x00\x00\x00\x05 and more")
    assert repr(header)[2:-1] in str(caught.value)


def test_garbage_behind_a_frame_is_an_error() -> None:
    with pytest.raises(FramingError):
        FrameDecoder().feed(frame(STDOUT, OUT) + b"garbage!")


def test_garbage_that_comes_byte_by_byte_is_an_error() -> None:
    decoder = FrameDecoder()
    with pytest.raises(FramingError, match="connecti"):
        list(fed(decoder, (bytes([one]) for one in b"connection reset")))


def test_an_error_that_the_engine_reports_is_told_as_text() -> None:
    with pytest.raises(FramingError, match="^the engine reports: no such exec$"):
        FrameDecoder().feed(frame(3, b"no such exec\n"))


def test_an_error_shows_a_bounded_part() -> None:
    with pytest.raises(FramingError) as caught:
        FrameDecoder().feed(b"x" * 1_000_000)
    assert len(str(caught.value)) < 1_000


def test_a_frame_of_four_gigabytes_takes_no_memory_before_it_is_there() -> None:
    decoder = FrameDecoder()
    tracemalloc.start()
    try:
        assert decoder.feed(b"\x01\x00\x00\x00\xff\xff\xff\xff") == []
        assert decoder.feed(b"begins") == [(STDOUT, b"begins")]
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()
    assert not decoder.clean


def test_a_long_frame_is_passed_on_and_not_kept() -> None:
    chunk, count = b"x" * 65536, 256
    decoder = FrameDecoder()
    decoder.feed(struct.pack(">BxxxI", STDOUT, len(chunk) * count))
    tracemalloc.start()
    try:
        for _ in range(count):
            assert decoder.feed(chunk) == [(STDOUT, chunk)]
        assert tracemalloc.get_traced_memory()[1] < 3 * len(chunk)
    finally:
        tracemalloc.stop()
    assert decoder.clean


@pytest.mark.parametrize("size", range(1, 8 + len(OUT)))
def test_a_frame_that_has_begun_is_not_the_end(size: int) -> None:
    decoder = FrameDecoder()
    decoder.feed(frame(STDOUT, OUT)[:size])
    assert not decoder.clean
    decoder.feed(frame(STDOUT, OUT)[size:])
    assert decoder.clean


def test_empty_frames_are_no_pieces() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(frame(STDOUT, b"") * 1000) == []
    assert decoder.clean


def test_nothing_changes_nothing() -> None:
    decoder = FrameDecoder()
    decoder.feed(frame(STDOUT, OUT)[:5])
    assert decoder.feed(b"") == []
    assert not decoder.clean
    assert decoder.feed(frame(STDOUT, OUT)[5:]) == [(STDOUT, OUT)]
