"""`cnet exec`: output, exit code, input, and a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cnet
from tests.support.agents import AgentProcess, wait_until


@pytest.fixture
def running(agent: AgentProcess) -> Iterator[dict[str, Any]]:
    spec = {"name": "inside", "type": "process", "config": {"command": "sleep", "args": ["600"]}}
    made = agent.client.submit({**spec, "stop_grace_s": 0})
    yield made
    agent.client.delete(made["id"])


@pytest.mark.usefixtures("running")
def test_output_and_exit_code_are_passed_on(cnet: Cnet) -> None:
    done = cnet("exec", "-e", "A=b", "-w", "/", "inside", "--", "sh", "-c", "echo $A; pwd; nope")
    assert (done.code, done.out) == (127, "b\n/\n") and "nope" in done.err
    reply = cnet("exec", "--json", "inside", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert reply.code == 3
    assert reply.json == {"exit_code": 3, "stdout": "out\n", "stderr": "err\n", "cut_off": False}


@pytest.mark.usefixtures("running")
def test_what_is_wrong_is_told(cnet: Cnet) -> None:
    absent = cnet("exec", "inside", "--", "no-such-program")
    assert absent.code == 2 and "no-such-program" in absent.err
    assert cnet("exec", "nobody", "--", "ls").code == 3
    assert "no terminal" in cnet("exec", "-t", "inside", "--", "ls").err
    assert cnet("exec", "-e", "A", "inside", "--", "ls").code == 2
    assert cnet("exec", "-i", "--json", "inside", "--", "ls").code == 2
    assert cnet("exec", "inside").code == 2


@pytest.mark.usefixtures("running")
def test_input_is_handed_on_to_its_end(agent: AgentProcess, tmp_path: Path) -> None:
    given = os.urandom(300_000)
    done = subprocess.run(
        [sys.executable, "-m", "cnet", "exec", "-i", "inside", "--", "cat"],
        env=os.environ | {"CNET_AGENT": agent.url, "XDG_CONFIG_HOME": str(tmp_path)},
        input=given,
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == given


@pytest.mark.usefixtures("running")
def test_a_terminal_of_the_same_size(agent: AgentProcess, tmp_path: Path) -> None:
    mine, its = pty.openpty()
    _set_size(its, rows=33, columns=99)
    process = subprocess.Popen(
        [sys.executable, "-m", "cnet", "exec", "-it", "-e", "PS1=now: ", "inside", "--", "sh"],
        env=os.environ | {"CNET_AGENT": agent.url, "XDG_CONFIG_HOME": str(tmp_path)},
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    os.set_blocking(mine, False)
    said = bytearray()

    def has(text: bytes) -> bool:
        try:
            said.extend(os.read(mine, 65_536))
        except BlockingIOError:
            assert process.poll() is None, bytes(said)
        return text in said

    try:
        wait_until(lambda: has(b"now: "), timeout_s=60)
        os.write(mine, b"stty size\n")
        wait_until(lambda: has(b"33 99"), timeout_s=60, what=lambda: str(bytes(said)))
        _set_size(mine, rows=44, columns=111)
        process.send_signal(signal.SIGWINCH)
        os.write(mine, b"sleep 1; stty size; tr a-z A-Z\nover\n")
        wait_until(lambda: has(b"44 111"), timeout_s=60, what=lambda: str(bytes(said)))
        wait_until(lambda: has(b"OVER"), timeout_s=60)
        del said[:]
        os.write(mine, b"\x03")  # what is sent along may be read by who is about to die of it
        wait_until(lambda: has(b"now: "), timeout_s=60)
        os.write(mine, b"exit 7\n")
        assert process.wait(timeout=60) == 7
    finally:
        process.kill()
        process.wait()
        os.close(mine)


def _set_size(terminal: int, *, rows: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("=4H", rows, columns, 0, 0))
