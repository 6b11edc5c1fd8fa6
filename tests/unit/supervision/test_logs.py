"""Reading logs back, and writing them bounded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cnet.supervision.log_pump import LogPump
from cnet.supervision.logs import CUT_MARK, MAX_LINE_BYTES, tail


def test_tail_joins_pieces_where_a_line_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    (tmp_path / "output.log.2").write_bytes(b"one\ntw")
    (tmp_path / "output.log.1").write_bytes(b"o\nthree\nfo")
    path.write_bytes(b"ur\nfive\n")
    assert tail(path, 0) == ["one", "two", "three", "four", "five"]
    assert tail(path, 2) == ["four", "five"]
    assert tail(path, 4) == ["two", "three", "four", "five"]
    assert tail(path, 99) == ["one", "two", "three", "four", "five"]


def test_tail_of_nothing_is_nothing(tmp_path: Path) -> None:
    assert tail(tmp_path / "absent", 10) == []
    (tmp_path / "empty").write_bytes(b"")
    assert tail(tmp_path / "empty", 10) == []


def test_an_unfinished_last_line_counts_as_a_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"a\nb\nc")
    assert tail(tmp_path / "log", 2) == ["b", "c"]


def test_undecodable_bytes_and_endless_lines_are_marked(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\xff\xfe\n" + b"x" * (MAX_LINE_BYTES + 1) + b"\n")
    first, second = tail(tmp_path / "log", 2)
    assert first == "\ufffd\ufffd"
    assert second == "x" * MAX_LINE_BYTES + CUT_MARK


def test_tail_keeps_to_its_budget(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"0123456789\n" * 100_000)
    lines = tail(tmp_path / "log", 0, 100)
    assert 9 <= len(lines) <= 10
    assert sum(map(len, lines)) <= 100


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


@pytest.mark.parametrize("splices", [True, False], ids=["splice", "copy"])
def test_rotation_keeps_the_newest_bytes_in_order(
    tmp_path: Path, pipe: tuple[int, int], splices: bool
) -> None:
    read_end, write_end = pipe
    pump = LogPump(read_end, str(tmp_path / "log"), max_bytes=5000, files=3)
    pump._splices = splices
    sent = b""
    for number in range(100):
        chunk = f"{number:04d}".encode() * 64
        os.write(write_end, chunk)
        sent += chunk
        pump.drain()
    os.close(write_end)
    assert not pump.pump()
    pump.close()
    os.close(read_end)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    kept = b"".join((tmp_path / name).read_bytes() for name in ("log.2", "log.1", "log"))
    assert len(kept) > 10_000
    assert sent.endswith(kept)
    assert pump.dropped_bytes == 0


def test_a_single_file_starts_over(tmp_path: Path, pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    pump = LogPump(read_end, str(tmp_path / "log"), max_bytes=4096, files=1)
    for _ in range(5):
        os.write(write_end, b"y" * 2000)
        pump.drain()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert (tmp_path / "log").stat().st_size <= 4096
    pump.close()
    os.close(read_end)
    os.close(write_end)


def test_what_cannot_be_written_is_counted_and_the_pipe_emptied(
    tmp_path: Path, pipe: tuple[int, int]
) -> None:
    read_end, write_end = pipe
    pump = LogPump(read_end, str(tmp_path / "absent" / "log"), max_bytes=4096, files=1)
    os.write(write_end, b"z" * 60_000)
    pump.drain()
    assert pump.dropped_bytes == 60_000
    with pytest.raises(BlockingIOError):
        os.read(read_end, 1)
    os.close(read_end)
    os.close(write_end)
