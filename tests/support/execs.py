"""Commands inside workloads, as tests ask for them: by a POST, and over a WebSocket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

import httpx
import psutil
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.agents import AgentProcess

Said = tuple[dict[str, Any], bytes, bytes]


def ask(agent: AgentProcess, workload: dict[str, Any], **request: Any) -> httpx.Response:
    path = f"{agent.url}/api/workloads/{workload['id']}/exec"
    return httpx.post(path, json=request, timeout=60)


def answer(agent: AgentProcess, workload: dict[str, Any], **request: Any) -> dict[str, Any]:
    reply = ask(agent, workload, **request)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


@contextmanager
def opened(agent: AgentProcess, workload_id: str, **request: Any) -> Iterator[ClientConnection]:
    url = agent.url.replace("http", "ws", 1)
    with connect(f"{url}/api/workloads/{workload_id}/exec", proxy=None) as socket:
        with suppress(ConnectionClosed):  # what is refused unheard
            socket.send(json.dumps(request))
        yield socket


def fed(socket: ClientConnection, data: bytes) -> Said:
    """As `heard`, while all that is sent, to its end; who only sends would wait for ever."""

    def feed() -> None:
        for at in range(0, len(data), 100_000):
            socket.send(data[at : at + 100_000])
        socket.send(json.dumps({"end_of_stdin": True}))

    feeder = Thread(target=feed)
    feeder.start()
    said = heard(socket)
    feeder.join()
    return said


def heard(socket: ClientConnection, until: bytes | None = None) -> Said:
    """The last words, and both outputs; `until` ends it when that has been said."""
    outputs = {1: b"", 2: b""}
    words: dict[str, Any] = {}
    for message in socket:
        if isinstance(message, str):
            words |= json.loads(message)
        else:
            outputs[message[0]] += message[1:]
        if until is not None and until in outputs[1]:
            break
    return words, outputs[1], outputs[2]


def converse(agent: AgentProcess, workload: dict[str, Any]) -> None:
    """Talk with a command that says what it is told, and check the answers."""
    with opened(agent, workload["id"], command=["cat"], stdin=True) as socket:
        socket.send(b"one ")
        assert heard(socket, until=b"one ") == ({"started": True}, b"one ", b"")
        words, stdout, _ = fed(socket, b"x" * 2_000_000)
    assert words == {"exit_code": 0} and stdout == b"x" * 2_000_000


def use_terminal(agent: AgentProcess, workload: dict[str, Any]) -> None:
    """Do in a shell at a terminal what people do there, and check what is to be seen."""
    shell = {
        "command": ["sh"],
        "tty": True,
        "stdin": True,
        "size": {"columns": 90, "rows": 30},
        "env": {"PS1": "now: "},
    }
    with opened(agent, workload["id"], **shell) as socket:
        socket.send(b"stty size\n")
        heard(socket, until=b"30 90")
        socket.send(json.dumps({"size": {"columns": 120, "rows": 40}}))
        socket.send(b"sleep 0.2; stty size\n")
        heard(socket, until=b"40 120")
        socket.send(b"tr a-z A-Z\nover\n")  # shells that are about to fork lose a ^C
        heard(socket, until=b"OVER")
        socket.send(b"\x03")  # what is sent along may be read by who is about to die of it
        heard(socket, until=b"now: ")
        socket.send(b"exit 7\n")
        words, _, _ = heard(socket)
    assert words["exit_code"] == 7


def living(mark: str) -> list[int]:
    return [each.pid for each in psutil.process_iter() if mark in " ".join(_words(each))]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
