"""A node that means harm cannot make `cnet data get` write outside the folder it was given."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from cnet.cli.main import main
from tests.hostile.ground import Ground
from tests.unit.client.stub_server import StubServer, json_answer, serve

pytestmark = pytest.mark.timeout(600)

PART = re.compile(r"\.[0-9a-f]{16}\.part$")
"""What is left for the next try."""
CONTENT = b"bytes that the node chose"


def announce(stub: StubServer, file: Any, *, single: bool, content: bytes = CONTENT) -> None:
    """Let the node say it has one file, whatever it is called."""
    path = file.get("path") if isinstance(file, dict) else None
    about = {
        "data_key": "k",
        "file_path": f"data://k/{path}" if single else None,
        "file_list": [file],
        "next_cursor": None,
    }

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    stub.scripts["/api/data/k"] = [json_answer(json.dumps(about))]
    if isinstance(path, str):
        stub.scripts[f"/api/data/k/{quote(path.encode('utf-8', 'replace'))}"] = [send]


@pytest.fixture
def stub() -> Iterator[StubServer]:
    with serve({}) as stub:
        yield stub


def file_called(path: Any, **more: Any) -> dict[str, Any]:
    return {
        "path": path,
        "size": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "hash": hashlib.md5(CONTENT).hexdigest(),
        "content_type": "text/plain",
        "last_modified": "2026-11-21T00:00:00Z",
        **more,
    }


@pytest.fixture
def here(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, two folders below what may be changed."""
    folder = ground.site / "a" / "here"
    folder.mkdir(parents=True, exist_ok=True)
    empty(folder)
    monkeypatch.chdir(folder)
    for name in list(os.environ):
        if name.startswith("CNET_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(ground.site / "xdg"))
    return folder


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def beside(ground: Ground, folder: Path) -> set[Path]:
    return {path for path in ground.site.rglob("*") if not path.is_relative_to(folder)}


def empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize(("single", "dest"), [(True, ()), (False, ("there",))], ids=["one", "tree"])
def test_names_of_files(
    ground: Ground,
    names: list[str],
    here: Path,
    stub: StubServer,
    single: bool,
    dest: tuple[str, ...],
) -> None:
    before = beside(ground, here)
    written = 0
    for name in [*names, "a\ud800b", "\udcff"]:
        empty(here)
        announce(stub, file_called(name), single=single)
        code = main(["data", "get", "k", *dest, "--agent", stub.url])
        assert code in {0, 1, 2}, name
        found = {path for path in below(here) if not PART.search(path)}
        assert len(found) == (code == 0), (name, found)
        written += code == 0
        for path in found:
            expected = f"there/{name}"
            if single:
                expected = Path(name).name
            assert path == expected
            assert (here / path).read_bytes() == CONTENT
        assert beside(ground, here) == before, name
    ground.require_untouched()
    assert 50 < written < len(names)


@pytest.mark.parametrize(
    "file",
    [
        file_called(7),
        file_called(None),
        file_called(["../x"]),
        file_called("f", size="1"),
        file_called("f", size=-1),
        file_called("f", sha256="../../../outside/canary.txt"),
        file_called("f", sha256="x/y"),
        file_called("f", sha256=None),
        file_called("f", sha256="A" * 64),
        file_called("f", hash='"\r\nX-Injected: yes'),
        file_called("f", hash=1),
        {},
        "f",
        None,
    ],
)
def test_what_no_agent_says(
    here: Path, stub: StubServer, file: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    announce(stub, file, single=False)
    assert main(["data", "get", "k", "there", "--agent", stub.url]) == 1
    assert "is this a CNET agent?" in capfd.readouterr().err
    assert below(here) == set()


@pytest.mark.parametrize("content", [CONTENT + b"more", b"x" * 1_000_000, CONTENT[:-1], b"y" * 25])
def test_other_bytes_than_announced(here: Path, stub: StubServer, content: bytes) -> None:
    announce(stub, file_called("f"), single=True, content=content)
    assert main(["data", "get", "k", "--agent", stub.url]) != 0
    assert "f" not in below(here)
    assert sum(path.stat().st_size for path in here.rglob("*") if path.is_file()) <= len(CONTENT)
