"""The files of a run directory: claimed once, written whole, read safely."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cnet.supervision import procfs, records
from cnet.supervision.values import RunExit


def test_a_claims_lock_shows_life_and_a_record_ends_claiming(tmp_path: Path) -> None:
    directory = str(tmp_path)
    assert not records.is_locked(directory)
    records.write_json(directory, records.SPEC, {"run_id": "r"})
    assert not records.is_locked(directory)
    claim = records.claim(directory)
    assert claim is not None
    assert records.is_locked(directory)
    assert records.claim(directory) is None
    os.close(claim)
    assert not records.is_locked(directory)
    again = records.claim(directory)
    assert again is not None  # its first claimer died without a record: nothing was run
    os.close(again)
    records.write_json(directory, records.SHIM, {})
    assert records.claim(directory) is None


def test_an_exit_record_is_whole_and_alone(tmp_path: Path) -> None:
    records.write_exit(str(tmp_path), {"details": "x" * 2000})
    assert records.read_json(str(tmp_path), records.EXIT) == {"details": "x" * 2000}
    assert [path.name for path in tmp_path.iterdir()] == [records.EXIT]


def test_on_a_full_disk_the_exit_record_takes_the_place_of_the_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.write_json(str(tmp_path), records.SPEC, {"argv": ["true"]})
    genuine = os.open

    def full(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(28, "No space left on device")
        return genuine(path, flags, mode)

    monkeypatch.setattr(os, "open", full)
    records.write_exit(str(tmp_path), {"exit_code": 5})
    monkeypatch.undo()
    assert records.read_json(str(tmp_path), records.EXIT) == {"exit_code": 5}
    assert [path.name for path in tmp_path.iterdir()] == [records.EXIT]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_damaged_records_read_as_absent(tmp_path: Path, content: bytes) -> None:
    (tmp_path / records.SHIM).write_bytes(content)
    assert records.read_json(str(tmp_path), records.SHIM) is None


def test_unknown_keys_of_a_newer_record_are_ignored() -> None:
    record = {
        "exit_code": 0,
        "signal": None,
        "oom_killed": False,
        "stopped": False,
        "lost": False,
        "reason": None,
        "details": None,
        "started_at": 1.0,
        "ended_at": 2.0,
        "added_later": 1,
    }
    assert RunExit.from_record(record).exit_code == 0


def test_a_zombie_is_no_process() -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    os.kill(process.pid, 0)
    assert procfs.start_time(process.pid) is None
    process.wait()


def test_descendants_are_found_with_and_without_the_kernels_lists() -> None:
    script = "sleep 60 & sh -c 'sleep 60 & echo up; wait' & wait"
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    found = procfs.descendants(process.pid)
    scanned = procfs._descendants_by_scan(process.pid)
    for pid in (*found, process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert len(found) == 3
    assert sorted(scanned) == sorted(found)
