"""A download that is cut off: what stays, what is asked for again, and what is said."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from cnet.cli.downloads import TRIES, Downloads
from cnet.client.data import DataClient
from cnet.client.transport import Transport
from cnet.errors import TransientError, UnreachableError
from tests.support.agents import wait_until
from tests.unit.client.stub_server import Answer, StubServer, json_answer, serve

OLD, NEW = os.urandom(1_000_000), os.urandom(700_000)
PATH = "/api/data/k/f"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def entry(data: bytes) -> dict[str, object]:
    """As an agent's list has it."""
    return {"path": "f", "size": len(data), "sha256": sha256(data), "hash": sha256(data)[:32]}


def sends(
    data: bytes, *, up_to: int | None = None, then: Callable[[], object] = lambda: None
) -> Answer:
    """The file as an agent sends it, with its ranges; broken off behind `up_to`."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        etag = f'"{sha256(data)[:32]}"'
        start = 0
        if "Range" in handler.headers and handler.headers["If-Range"] == etag:
            start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
        handler.send_response(206 if start else 200)
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        handler.send_header("Repr-Digest", f"sha-256=:{digest}:")
        handler.send_header("ETag", etag)
        handler.send_header("Content-Length", str(len(data) - start))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.end_headers()
        handler.wfile.write(data[start:up_to])
        handler.wfile.flush()
        then()
        handler.close_connection = True

    return answer


class Getting:
    """A `Downloads` over a stub, and what it has told of."""

    def __init__(self, http: Transport, folder: Path) -> None:
        self.passed = 0
        self.target = folder / "f"
        self.downloads = Downloads(DataClient(http), "k", self._count, pause_s=0)

    def _count(self, size: int) -> None:
        self.passed += size

    def fetch(self, data: bytes) -> None:
        self.downloads.fetch(entry(data), self.target)


@contextmanager
def getting(folder: Path, *answers: Answer) -> Iterator[tuple[Getting, StubServer]]:
    """From a server that answers so."""
    with (
        serve({PATH: list(answers)}) as stub,
        Transport(stub.url, token=None, timeout_s=10, hint="") as http,
    ):
        yield Getting(http, folder), stub


def asked(stub: StubServer) -> list[str | None]:
    return [headers.get("Range") for headers in stub.headers_of(PATH)]


def test_it_goes_on_where_the_connection_broke(tmp_path: Path) -> None:
    with getting(tmp_path, sends(OLD, up_to=400_000), sends(OLD, up_to=900_000), sends(OLD)) as (
        get,
        stub,
    ):
        get.fetch(OLD)
    assert get.target.read_bytes() == OLD
    assert asked(stub) == [None, "bytes=400000-", "bytes=900000-"]
    assert get.passed == len(OLD)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_it_gives_up_when_nothing_comes_and_keeps_what_came(tmp_path: Path) -> None:
    with getting(tmp_path, sends(OLD, up_to=400_000), sends(OLD, up_to=0)) as (get, stub):
        with pytest.raises(UnreachableError):
            get.fetch(OLD)
        assert len(asked(stub)) == 1 + TRIES
        assert get.downloads.kept == 400_000
    with getting(tmp_path, sends(OLD)) as (get, stub):
        get.fetch(OLD)
        assert asked(stub) == ["bytes=400000-"]
    assert get.target.read_bytes() == OLD


@pytest.mark.parametrize("begun", [0, 400_000])
def test_a_file_that_changed_meanwhile_starts_anew(tmp_path: Path, begun: int) -> None:
    """The list told of the old one; what is sent is the new one, and is checked as such."""
    part = tmp_path / f"f.{sha256(OLD)[:16]}.part"
    part.write_bytes(OLD[:begun])
    with getting(tmp_path, sends(NEW, up_to=300_000), sends(NEW)) as (get, stub):
        get.fetch(OLD)
        assert asked(stub) == [f"bytes={begun}-" if begun else None, "bytes=300000-"]
    assert get.target.read_bytes() == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_other_bytes_are_not_taken(tmp_path: Path) -> None:
    part = tmp_path / f"f.{sha256(OLD)[:16]}.part"
    part.write_bytes(bytes(400_000))
    with getting(tmp_path, sends(OLD)) as (get, _):
        with pytest.raises(TransientError) as damaged:
            get.fetch(OLD)
        assert damaged.value.code == "digest_mismatch"
    assert not list(tmp_path.iterdir())


def test_long_names_have_parts(tmp_path: Path) -> None:
    with getting(tmp_path, sends(OLD)) as (get, _):
        get.target = tmp_path / ("数" * 85)  # 255 bytes
        get.fetch(OLD)
    assert get.target.read_bytes() == OLD


@pytest.fixture
def held() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_an_interrupted_get_says_how_to_go_on(tmp_path: Path, held: threading.Event) -> None:
    found = {"data_key": "k", "file_path": "data://k/f", "file_list": [entry(OLD)]}
    scripts = {
        "/api/data/k": [json_answer(json.dumps(found | {"next_cursor": None}))],
        PATH: [sends(OLD, up_to=600_000, then=lambda: held.wait(30)), sends(OLD)],
    }
    part = tmp_path / f"f.{sha256(OLD)[:16]}.part"
    with serve(scripts) as stub:
        command = [sys.executable, "-m", "cnet", "--agent", stub.url, "data", "get", "k"]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: part.exists() and part.stat().st_size > 0, timeout_s=30)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        held.set()
        assert process.returncode == 130, said
        assert part.name in said and "the same command goes on" in said
        assert "Traceback" not in said
        kept = part.stat().st_size
        again = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, timeout=30)
        assert again.returncode == 0, again.stderr
        assert asked(stub) == [None, f"bytes={kept}-"]
    assert (tmp_path / "f").read_bytes() == OLD
