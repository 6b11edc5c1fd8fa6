"""Output is taken apart, written once, rotated, and taken up where it was left."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.executors.commands import LogLimits
from cnet.executors.container.logs import NS_PER_S, Frames, LogFile, nanoseconds
from cnet.supervision import tail

T0 = 1_795_000_000 * NS_PER_S


def stamp(time_ns: int) -> str:
    whole = datetime.fromtimestamp(time_ns // NS_PER_S, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{time_ns % NS_PER_S:09}Z"


def frame(time_ns: int, piece: bytes, kind: int = 1) -> bytes:
    content = stamp(time_ns).encode() + b" " + piece
    return struct.pack(">BxxxL", kind, len(content)) + content


Pieces = list[tuple[int, bytes]]


@given(
    pieces=st.lists(st.tuples(st.integers(0, 10**18), st.binary(max_size=50)), max_size=20),
    cuts=st.lists(st.integers(1, 40), max_size=60),
)
def test_pieces_come_out_however_they_are_cut(pieces: Pieces, cuts: list[int]) -> None:
    data = b"".join(frame(T0 + at, piece, kind=1 + at % 2) for at, piece in pieces)
    frames = Frames()
    found: Pieces = []
    for size in [*cuts, len(data)]:
        found += frames.feed(data[:size])
        data = data[size:]
    assert found == [(T0 + at, piece) for at, piece in pieces]


def test_words_of_the_engine_are_an_error() -> None:
    words = b"Error grabbing logs: gone"
    with pytest.raises(ValueError, match="grabbing logs"):
        Frames().feed(struct.pack(">BxxxL", 3, len(words)) + words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", NS_PER_S),
        ("1970-01-01T00:00:01.000000001Z", NS_PER_S + 1),
        ("1970-01-01T01:00:01.5+01:00", NS_PER_S + 500_000_000),
        (stamp(T0 + 123_456_789), T0 + 123_456_789),
    ],
)
def test_times_are_exact(text: str, expected: int) -> None:
    assert nanoseconds(text) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "1970-01-01", "1970-13-01T00:00:00Z"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        nanoseconds(text)


def log_file(folder: Path, *, max_bytes: int = 1000, files: int = 2) -> LogFile:
    limits = LogLimits(max_bytes=max_bytes, files=files)
    return LogFile(folder / "output.log", folder / "position", limits)


def engine_tells(pieces: Pieces, since_ns: int) -> Pieces:
    """As an engine does: what is of that time is told again."""
    return [(at, piece) for at, piece in pieces if at >= since_ns]


@given(data=st.data())
def test_every_piece_is_written_once_whenever_it_is_cut_off(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("log")
    times = sorted(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=25)))
    said = [(T0 + at, b"%d\n" % number) for number, at in enumerate(times)]
    written = 0
    while written < len(said):
        file = log_file(folder, max_bytes=data.draw(st.sampled_from([7, 20, 1000])), files=100)
        file.open()
        left = file.take(engine_tells(said, file.time_ns))
        assert left == said[written:]
        step = data.draw(st.integers(1, 6))
        file.write(left[:step])
        written += min(step, len(left))
        if data.draw(st.booleans()):  # killed after a write that was not noted
            note = (folder / "position").read_bytes()
            file.write(left[step : step + 9])
            (folder / "position").write_bytes(note)
        file.close()
    log_file(folder).open()  # cuts off the last of those
    numbers = [int(line) for line in tail(folder / "output.log", 0)]
    assert numbers == list(range(len(said)))


def test_a_second_run_appends(tmp_path: Path) -> None:
    first, second = log_file(tmp_path), log_file(tmp_path)
    first.open()
    first.write([(T0, b"one\n")])
    first.close()
    (tmp_path / "position").unlink()  # each run has its own
    second.open()
    assert second.time_ns == 0
    second.write([(T0, b"two\n")])
    second.close()
    assert tail(tmp_path / "output.log", 0) == ["one", "two"]


def test_only_so_many_files_are_kept(tmp_path: Path) -> None:
    file = log_file(tmp_path, max_bytes=4, files=2)
    file.open()
    file.write([(T0, b"abcdefghijkl")])
    file.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "output.log",
        "output.log.1",
        "position",
    ]
    assert (tmp_path / "output.log.1").read_bytes() == b"efgh"
    assert (tmp_path / "output.log").read_bytes() == b"ijkl"
