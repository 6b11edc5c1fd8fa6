"""Hostile words at every door of an agent: no way out, no fault, and names exact or not at all."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest

from tests.api.node import Json, Node
from tests.hostile import words
from tests.hostile.ground import Ground

pytestmark = pytest.mark.timeout(600)

NOWHERE = {"affinity": [{"node_labels": {"there-is": "none-such"}}]}
"""What is accepted is not begun: a program for each would take minutes."""


def test_there_are_enough_words(names: list[str], ground: Ground) -> None:
    assert len(set(names)) >= 200
    assert len(set(words.urls(80))) >= 80
    assert len(set(words.targets(ground.canary))) >= 60


class Answer(NamedTuple):
    """A reply as far as it matters here."""

    status: int
    body: bytes


def exactly(node: Node, ground: Ground, method: str, target: str, body: bytes = b"") -> Answer:
    """Send a target as it stands: httpx would tidy it up. No fault, and nothing of the canary."""
    url = node.http.base_url
    connection = http.client.HTTPConnection(url.host, url.port, timeout=30)
    try:
        connection.request(method, target, body or None)
        reply = connection.getresponse()
        answer = Answer(reply.status, reply.read())
        assert reply.headers["x-injected"] is None
    finally:
        connection.close()
    ground.check_answer(answer.status, answer.body, target)
    return answer


def raw_form(part: str, filename: str, content: bytes, config: Json) -> dict[str, Any]:
    """Keywords for httpx; the name is on the wire as it is, but for what must be escaped."""
    name = filename.replace("\\", "\\\\").replace('"', '\\"').encode("utf-8", "surrogatepass")
    body = (
        b'--b\r\nContent-Disposition: form-data; name="config"\r\n\r\n%b\r\n'
        b'--b\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\n\r\n%b\r\n--b--\r\n'
    ) % (json.dumps(config).encode(), part.encode(), name, content)
    return {"content": body, "headers": {"content-type": "multipart/form-data; boundary=b"}}


def paths_of(node: Node, key: str) -> list[str]:
    return [file["path"] for file in node.agent.client.data.files(key)]


def read(node: Node, key: str, path: str) -> httpx.Response:
    return node.http.get(f"/api/data/{quote(key, safe='')}/{quote(path)}")


# --- names of what is uploaded -----------------------------------------------------------------


@pytest.mark.parametrize("part", ["file", "files"])
def test_names_of_uploaded_files(node: Node, ground: Ground, names: list[str], part: str) -> None:
    taken = 0
    for number, name in enumerate(names):
        key, content = f"{part}-{number}", f"content {number}".encode()
        form = raw_form(part, name, content, {"data_key": key})
        reply = ground.check(node.http.post("/api/workloads", **form))
        if reply.status_code != 201:
            assert reply.status_code in {400, 422}, reply.text
            assert node.http.get(f"/api/data/{key}").status_code == 404
            continue
        taken += 1
        assert paths_of(node, key) == [name]
        assert read(node, key, name).content == content
    assert 50 < taken < len(names) - 50


def test_data_keys(node: Node, ground: Ground, names: list[str]) -> None:
    taken = []
    for number, name in enumerate(names):
        content = f"content {number}".encode()
        form = raw_form("file", "f", content, {"data_key": name})
        reply = ground.check(node.http.post("/api/workloads", **form))
        if reply.status_code != 201:
            assert reply.status_code in {400, 422}, reply.text
            continue
        taken.append(name)
        assert reply.json()["data_key"] == name
        assert read(node, name, "f").content == content
    assert sorted(taken) == sorted(item["data_key"] for item in node.agent.client.data.list())
    assert 50 < len(taken) < len(names) - 50


@pytest.mark.parametrize("field", ["data_key", "filename"])
def test_names_in_json(node: Node, ground: Ground, names: list[str], field: str) -> None:
    taken = 0
    for name in names:
        config = {"upload_method": "file", "content": "x", field: name}
        spec = {"name": "x", "type": "data", "config": config, **NOWHERE}
        reply = ground.check(node.http.post("/api/workloads?wait=false", json=spec))
        if reply.status_code == 201:
            taken += 1
            assert reply.json()["config"][field] == name
        else:
            assert reply.status_code == 422, reply.text
            assert reply.json()["field"] == f"config.{field}"
    assert 50 < taken < len(names) - 50


# --- files of an object ------------------------------------------------------------------------


@pytest.fixture
def door(node: Node) -> str:
    """The key of an object that may be changed."""
    form = raw_form("file", "f", b"first", {"data_key": "door", "access_mode": "readwrite"})
    assert node.http.post("/api/workloads", **form).status_code == 201
    return "door"


def spellings(name: str) -> set[str]:
    """How a client may put a name into a URL."""
    text = name.encode("utf-8", "surrogatepass")
    return {quote(text), quote(text, safe=""), "".join(f"%{byte:02X}" for byte in text)}


def test_files_of_an_object(node: Node, ground: Ground, names: list[str], door: str) -> None:
    taken: list[str] = []
    for number, name in enumerate(names):
        content = f"content {number}".encode()
        for spelled in sorted(spellings(name) - {""}):  # without a path it is the object itself
            target = f"/api/data/{door}/{spelled}"
            answer = exactly(node, ground, "PUT", target, content)
            if answer.status != 200:
                assert answer.status in {307, 404, 405, 422}, (answer, target)
                assert exactly(node, ground, "GET", target).status >= 300
                assert exactly(node, ground, "DELETE", target).status >= 300
                continue
            assert json.loads(answer.body)["path"] == name, target
            assert exactly(node, ground, "GET", target).body == content
            taken.append(name)
    assert sorted({"f", *taken}) == sorted(paths_of(node, door))
    for name in set(taken) - {"f"}:
        assert exactly(node, ground, "DELETE", f"/api/data/{door}/{quote(name)}").status == 200
    assert paths_of(node, door) == ["f"]
    assert 50 < len(set(taken)) < len(names) - 50


def test_keys_and_ids_in_urls(node: Node, ground: Ground, names: list[str], door: str) -> None:
    for name in names:
        for spelled in sorted(spellings(name)):
            for method, path in (
                ("GET", "/api/data/{}"),
                ("GET", "/api/data/{}/f"),
                ("HEAD", "/api/data/{}/f"),
                ("PUT", "/api/data/{}/f"),
                ("DELETE", "/api/data/{}/f"),
                ("GET", "/api/data?cursor={}"),
                ("GET", "/api/workloads/{}/logs"),
            ):
                exactly(node, ground, method, path.format(spelled))
    assert paths_of(node, door) == ["f"]
    assert read(node, door, "f").content == b"first"


def test_targets_on_the_wire(node: Node, ground: Ground, door: str) -> None:
    """What no client library would send; the sentence is read as it comes."""
    host = node.http.base_url.host
    port = node.http.base_url.port or 80
    for prefix in (b"/", b"/api/data/", b"/api/data/door/", b"/api/data/../", b"/services/", b""):
        for word in words.targets(ground.canary):
            with socket.create_connection((host, port), timeout=20) as connection:
                connection.sendall(
                    b"GET %b HTTP/1.1\r\nHost: %b:%d\r\nConnection: close\r\n\r\n"
                    % (prefix + word, host.encode(), port)
                )
                answer = b"".join(iter(lambda: connection.recv(65_536), b""))
            found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
            ground.check_answer(int(found[1]) if found else 400, answer, prefix + word)
            assert b"\nx-injected" not in answer.lower()


# --- where data come from ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["path", "directory"])
def test_source_paths(
    node: Node, ground: Ground, names: list[str], roots: Path, method: str
) -> None:
    ways = [*names, *(f"{roots}/{name}" for name in names), f"{roots}/way-out.txt"]
    ways += [f"{roots}/way-out", f"{roots}/way-out/canary.txt", f"{roots}/way-out/folder/link"]
    begun = []
    for way in ways:
        config = {"upload_method": method, "source_path": way}
        spec = {"name": "x", "type": "data", "config": config}
        if workload_id := submitted(node, ground, spec, field="config.source_path"):
            begun.append((way, workload_id))
    require_no_canary(node, ground, begun)
    assert node.http.get("/api/data").json()["count"] <= len(begun) < 10


def submitted(node: Node, ground: Ground, spec: Json, *, field: str) -> str | None:
    """The id of a workload, or None where it was refused for that field or one in it."""
    reply = ground.check(node.http.post("/api/workloads?wait=false", json=spec))
    if reply.status_code == 201:
        return str(reply.json()["id"])
    assert reply.status_code == 422, reply.text
    assert f"{reply.json()['field']}.".startswith(f"{field}."), reply.text
    return None


def require_no_canary(node: Node, ground: Ground, begun: list[tuple[str, str]]) -> None:
    """Whatever was fetched, it is not what stands outside."""
    for what, workload_id in begun:
        done = node.wait(workload_id, lambda it: it["status"] in {"completed", "failed"})
        ground.check_answer(200, json.dumps(done).encode(), what)
        for file in done.get("file_list") or []:
            ground.check(read(node, done["data_key"], file["path"]))


class _Canary(BaseHTTPRequestHandler):
    asked: list[str]
    token: str

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.token)))
        self.end_headers()
        self.wfile.write(self.token.encode())

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


class _Everywhere(ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


@pytest.fixture
def inside(ground: Ground) -> Iterator[tuple[int, list[str]]]:
    """A server on every address of this machine: its port, and what it is asked for."""
    asked: list[str] = []
    handler = type("Handler", (_Canary,), {"asked": asked, "token": ground.token})
    server = _Everywhere(("::", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port, asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_source_urls(node: Node, ground: Ground, inside: tuple[int, list[str]]) -> None:
    port, asked = inside
    assert httpx.get(f"http://127.0.0.1:{port}/there", trust_env=False).text == ground.token
    begun = []
    for url in words.urls(port):
        config = {"upload_method": "url", "source_url": url}
        spec = {"name": "x", "type": "data", "config": config}
        if workload_id := submitted(node, ground, spec, field="config"):
            begun.append((url, workload_id))
    require_no_canary(node, ground, begun)
    assert asked == ["/there"]
    assert node.http.get("/api/data").json()["count"] == 0
    assert 5 < len(begun) < 60


# --- where data go -----------------------------------------------------------------------------


def test_references(node: Node, ground: Ground, names: list[str], door: str) -> None:
    for name in names:
        ref = f"data://{door}/{name}"
        for kind, config in (
            ("process", {"command": "true", "inputs": {name: "x"}}),
            ("process", {"command": "true", "inputs": {f"data://{name}": "x"}}),
            ("process", {"command": "true", "inputs": {ref: "x"}, "env": {"A": ref}}),
            ("mlmodel", {"model_type": "yolo", "model_path": ref}),
            ("opencv", {"cascade_type": "face", "cascade_path": ref}),
        ):
            spec = {"name": "x", "type": kind, "config": config, **NOWHERE}
            reply = ground.check(node.http.post("/api/workloads?wait=false", json=spec))
            assert reply.status_code in {201, 422}, reply.text


def test_targets_of_inputs(node: Node, ground: Ground, names: list[str], door: str) -> None:
    begun = []
    for name in names:
        config = {
            "command": "find",
            "args": [".", "-type", "f", "-print0"],
            "inputs": {f"data://{door}": name},
        }
        spec = {"name": "x", "type": "process", "config": config}
        if workload_id := submitted(node, ground, spec, field="config.inputs"):
            begun.append((name, workload_id))
    for name, workload_id in begun:
        done = node.wait(workload_id, lambda it: it["status"] in {"completed", "failed"})
        said = "".join(node.logs(workload_id))
        assert ground.token not in said
        assert (done["status"] == "completed") == (f"./{name}" in said), (name, done, said)
    assert 50 < len(begun) < len(names) - 50


def test_stores_of_gateways(node: Node, ground: Ground, names: list[str], roots: Path) -> None:
    for name in [*names, *(f"{roots}/{name}" for name in names)]:
        config = {"base_path": name, "service_port": 0}
        spec = {"name": "x", "type": "datagateway", "config": config}
        reply = ground.check(node.http.post("/api/workloads?wait=false", json=spec))
        assert reply.status_code == 422, (name, reply.text)
