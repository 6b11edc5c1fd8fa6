"""Data workloads over HTTP: every way in, what comes out, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api import seed_data
from tests.api.curl import replay
from tests.api.node import Json, Node
from tests.support.agents import AgentProcess, start_agent, wait_until

GIB = 1024**3
MIB = 1024**2


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the agent may take files from."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "one.txt").write_text("one")
    (folder / "tree" / "deep" / "er").mkdir(parents=True)
    (folder / "tree" / "a.txt").write_text("A")
    (folder / "tree" / "deep" / "er" / "ü b.bin").write_bytes(os.urandom(3 * MIB))
    return folder


@pytest.fixture(scope="module")
def shared_agent(tmp_path_factory: pytest.TempPathFactory, sources: Path) -> Iterator[AgentProcess]:
    agent = start_agent(
        tmp_path_factory.mktemp("agent"),
        resources={"cpu": 4, "gpu": 0, "memory": 8 * GIB, "storage": 1 * GIB},
        agent={"node_id": "nanjing"},
        storage={"roots": [str(sources)], "allow_private_urls": True, "max_files": 50},
    )
    yield agent
    agent.stop()


def upload(node: Node, **parts: Any) -> Json:
    """Send a form that must be taken; the answer."""
    reply = node.http.post("/api/workloads", **form(**parts))
    assert reply.status_code == 201, reply.text
    return node.json(reply)


def form(
    *,
    files: list[tuple[str, tuple[str, bytes] | tuple[str, bytes, str]]] | None = None,
    config: Json | None = None,
    **fields: str,
) -> dict[str, Any]:
    """Keywords for httpx; what is given as `files` comes first in the body when it is empty."""
    if config is not None:
        fields["config"] = json.dumps(config)
    return {"data": fields, "files": files or [("file", ("f.txt", b"content"))]}


def fetch(node: Node, **config: Any) -> Json:
    """Submit data in JSON and wait for its end; the workload."""
    workload = node.submit({"name": "fetched", "type": "data", "config": config})
    return node.wait(workload["id"], lambda it: it["status"] in {"completed", "failed"})


def refused(reply: httpx.Response, status: int, *, field: str | None = None) -> Json:
    """Check an error against contract 0; its body."""
    assert reply.status_code == status, reply.text
    body = Node.json(reply)
    assert body["error"] and body["details"], body
    assert field is None or body.get("field") == field, body
    return body


def content(node: Node, key: str, path: str, **headers: str) -> httpx.Response:
    return node.http.get(f"/api/data/{key}/{path}", headers=headers)


# --- uploads -----------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_documents_upload(node: Node) -> None:
    (node.agent.folder / "gw_test.txt").write_text("gateway test\n")
    answer = replay(seed_data.UPLOAD.strip(), agent=node.agent.url, folder=node.agent.folder)
    assert answer.status == 201
    body = answer.body
    assert body["status"] == "uploaded"
    assert body["hash"] == hashlib.md5(b"gateway test\n").hexdigest()
    assert body["size"] == 13
    workload = body["workload"]
    assert (workload["name"], workload["type"]) == ("test-file", "data")
    assert (workload["status"], workload["data_key"]) == ("completed", body["data_key"])
    assert node.get(workload["id"]) == workload
    assert content(node, body["data_key"], "gw_test.txt").content == b"gateway test\n"


def test_an_upload_has_the_fields_of_the_contract(node: Node) -> None:
    config = {"data_key": "k", "tags": ["a", "b"], "metadata": {"m": "1"}, "data_type": "model"}
    body = upload(
        node,
        files=[("file", ("m.json", b"{}", "application/json"))],
        name="n",
        requirements='{"cpu": 0.5}',
        config=config,
    )
    workload = body["workload"]
    expected = {
        "data_key": "k",
        "data_type": "model",
        "content_type": "application/json",
        "size": 2,
        "hash": hashlib.md5(b"{}").hexdigest(),
        "sha256": hashlib.sha256(b"{}").hexdigest(),
        "access_mode": "readonly",
        "upload_method": "path",
        "tags": ["a", "b"],
        "metadata": {"m": "1"},
        "file_path": "data://k/m.json",
        "directory_path": None,
        "file_count": 1,
        "storage_type": "sqlite",
    }
    assert {name: workload[name] for name in expected} == expected
    assert workload["requirements"]["cpu"] == 0.5
    assert node.used() == {"cpu": 0, "gpu": 0, "memory": 0, "storage": 2}


def test_a_tree_keeps_its_paths(node: Node) -> None:
    tree = {"a.txt": b"1", "b/c.txt": b"22", "b/d/é e.txt": b"333", "A.txt": b"4444"}
    body = upload(node, files=[("files", (path, data)) for path, data in tree.items()], config={})
    assert "hash" not in body and body["size"] == 10
    workload = body["workload"]
    assert (workload["file_count"], workload["upload_method"]) == (4, "directory")
    assert (workload["data_type"], workload["file_path"]) == ("dataset", None)
    assert workload["directory_path"] == body["path"]
    for path, data in tree.items():
        assert content(node, body["data_key"], path).content == data
    assert {file["path"] for file in workload["file_list"]} == tree.keys()


def test_the_parts_may_come_in_any_order(node: Node) -> None:
    fields = [
        (None, 'name="config"', b'{"data_key": "ordered"}'),
        (None, 'name="name"', b"later"),
        (None, 'name="file"; filename="x.bin"', os.urandom(200_000)),
    ]
    for order in ([2, 0, 1], [0, 2, 1], [1, 0, 2]):
        body = b"".join(
            b"--b\r\nContent-Disposition: form-data; "
            + head.encode()
            + b"\r\n\r\n"
            + data
            + b"\r\n"
            for _, head, data in (fields[number] for number in order)
        )
        reply = node.http.post(
            "/api/workloads",
            content=body + b"--b--\r\n",
            headers={"content-type": "multipart/form-data; boundary=b"},
        )
        assert reply.status_code == 201, reply.text
        answer = node.json(reply)
        assert (answer["data_key"], answer["workload"]["name"]) == ("ordered", "later")
        assert content(node, "ordered", "x.bin").content == fields[2][2]
        node.delete_all()


@pytest.mark.parametrize(
    ("parts", "status", "field"),
    [
        ({"files": [("file", ("../x", b""))]}, 422, "files"),
        ({"files": [("files", ("/etc/x", b""))]}, 422, "files"),
        ({"files": [("files", ("a/../b", b""))]}, 422, "files"),
        ({"files": [("files", ("a//b", b""))]}, 422, "files"),
        ({"files": [("files", ("a\\b", b""))]}, 422, "files"),
        ({"files": [("files", ("x" * 970, b""))]}, 422, "path"),
        ({"files": [("files", ("a", b"")), ("files", ("a", b""))]}, 422, "files"),
        ({"files": [("files", ("a", b"")), ("files", ("a/b", b""))]}, 422, "files"),
        ({"files": [("files", ("a/b", b"")), ("files", ("a", b""))]}, 422, "files"),
        ({"files": [("file", ("a", b"")), ("file", ("b", b""))]}, 422, "file"),
        ({"files": [("file", ("a", b"")), ("files", ("b", b""))]}, 422, "files"),
        ({"files": [("other", ("a", b""))]}, 422, "other"),
        ({"config": {"data_key": "a/b"}}, 422, "config.data_key"),
        ({"config": {"data_key": ".."}}, 422, "config.data_key"),
        ({"config": {"data_key": "x" * 256}}, 422, "config.data_key"),
        ({"config": {"data_key": "a\0b"}}, 422, "config.data_key"),
        ({"config": {"access_mode": "public"}}, 422, "config.access_mode"),
        ({"config": {"source_path": "/etc/passwd"}}, 422, "config"),
        ({"config": {"no_such_field": 1}}, 422, "config.no_such_field"),
        ({"name": "a/b"}, 422, "name"),
        ({"type": "process"}, 422, "type"),
        ({"requirements": "[]"}, 422, "requirements"),
        ({"requirements": "{"}, 400, None),
        ({"requirements": '{"cpu": -1}'}, 422, "requirements.cpu"),
        ({"files": [("files", (f"{n}", b"")) for n in range(51)]}, 413, None),
    ],
)
def test_what_is_wrong_is_named_and_leaves_nothing(
    node: Node, parts: Json, status: int, field: str | None
) -> None:
    reply = node.http.post("/api/workloads", **form(**parts))
    body = refused(reply, status)
    assert body.get("field") == field or field is None, body
    assert node.json(node.http.get("/api/data"))["data"] == []
    assert node.used()["storage"] == 0
    assert node.json(node.http.get("/api/workloads"))["count"] == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b\r\n",
        b"no form at all",
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nhalf a fi',
        b"--b\r\n\r\nno head\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="\xff"\r\n\r\n\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n\xff\r\n--b--\r\n',
    ],
)
def test_a_broken_form_leaves_nothing(node: Node, body: bytes) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    reply = node.http.post("/api/workloads", content=body, headers=headers)
    assert reply.status_code in {400, 422}, reply.text
    assert node.used()["storage"] == 0


def test_a_form_without_boundary(node: Node) -> None:
    headers = {"content-type": "multipart/form-data"}
    refused(node.http.post("/api/workloads", content=b"x", headers=headers), 400)


def _streamed_form(name: str, size: int, piece: bytes) -> Iterator[bytes]:
    yield f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    for _ in range(size // len(piece)):
        yield piece
    yield b"\r\n--b--\r\n"


def test_a_client_that_hangs_up_leaves_nothing(node: Node) -> None:
    def half() -> Iterator[bytes]:
        yield from _streamed_form("x", 8 * MIB, os.urandom(MIB))
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        node.http.post(
            "/api/workloads",
            content=half(),
            headers={"content-type": "multipart/form-data; boundary=c"},
        )
    wait_until(lambda: node.used()["storage"] == 0)
    assert node.json(node.http.get("/api/workloads"))["count"] == 0


def test_a_key_is_taken_once(node: Node) -> None:
    first = upload(node, config={"data_key": "mine"})["workload"]
    body = refused(node.http.post("/api/workloads", **form(config={"data_key": "mine"})), 409)
    assert body["error"] == "data_key_taken" and first["id"] in body["details"]
    spec = {"name": "x", "type": "data", "config": {"upload_method": "file", "content": "x"}}
    spec["config"]["data_key"] = "mine"  # type: ignore[index]
    assert node.http.post("/api/workloads", json=spec).status_code == 409
    assert content(node, "mine", "f.txt").content == b"content"
    node.delete_all()
    upload(node, config={"data_key": "mine"})


def test_more_than_there_is_room_for(node: Node) -> None:
    held = node.submit(
        {
            "name": "holder",
            "type": "process",
            "requirements": {"storage": 1 * GIB - 3 * MIB},
            "config": {"command": "sleep", "args": ["600"]},
        }
    )

    def over_quota() -> bool:
        reply = node.http.post(
            "/api/workloads",
            content=_streamed_form("x", 6 * MIB, bytes(MIB)),
            headers={"content-type": "multipart/form-data; boundary=b"},
        )
        if reply.status_code == 201:  # the quota follows a moment after the promise
            node.http.delete(f"/api/workloads/{node.json(reply)['workload']['id']}")
            return False
        assert refused(reply, 507)["error"] in {"quota_exceeded", "storage_full"}
        return True

    wait_until(over_quota)
    assert node.used()["storage"] == 1 * GIB - 3 * MIB
    upload(node, files=[("file", ("x", bytes(MIB)))])
    spec = {
        "name": "more",
        "type": "process",
        "queue": False,
        "requirements": {"storage": 2 * MIB + 1},
        "config": {"command": "true"},
    }
    assert refused(node.http.post("/api/workloads", json=spec), 409)["error"] == "no_capacity"
    node.stop(held["id"])
    assert node.http.post("/api/workloads", json=spec).status_code == 201


# --- sources -----------------------------------------------------------------------------------


def test_a_file_of_the_disk(node: Node, sources: Path) -> None:
    done = fetch(node, upload_method="path", source_path=str(sources / "one.txt"), data_key="p")
    assert (done["status"], done["size"]) == ("completed", 3)
    assert done["hash"] == hashlib.md5(b"one").hexdigest()
    assert done["source_path"] == str(sources / "one.txt")
    assert content(node, "p", "one.txt").text == "one"
    assert done["exit_code"] == 0


def test_a_folder_of_the_disk(node: Node, sources: Path) -> None:
    done = fetch(node, upload_method="directory", source_path=str(sources / "tree"))
    assert (done["status"], done["file_count"]) == ("completed", 2)
    name = "deep/er/ü b.bin"
    assert content(node, done["id"], name).content == (sources / "tree" / name).read_bytes()
    assert done["directory_path"] == f"data://{done['id']}"


@pytest.mark.parametrize("text", ["", "plain ü", "x" * 100_000])
def test_content_in_the_request(node: Node, text: str) -> None:
    done = fetch(node, upload_method="file", content=text, filename="a/b.txt", data_key="c")
    assert (done["status"], done["size"]) == ("completed", len(text.encode()))
    assert "content" not in done and "content" not in done["config"]
    reply = content(node, "c", "a/b.txt")
    assert reply.text == text
    assert reply.headers["content-type"] == "text/plain"


def test_bytes_in_the_request(node: Node) -> None:
    data = os.urandom(5000)
    encoded = base64.b64encode(data).decode()
    done = fetch(node, upload_method="file", content_base64=encoded, content_type="x/y")
    reply = content(node, done["data_key"], "content")
    assert reply.content == data
    assert reply.headers["content-type"] == "x/y"


def test_a_digest_is_checked(node: Node) -> None:
    right = hashlib.sha256(b"abc").hexdigest()
    config = {"upload_method": "file", "content": "abc"}
    assert fetch(node, **config, sha256=right.upper())["status"] == "completed"
    wrong = fetch(node, **config, sha256="0" * 64)
    assert (wrong["status"], wrong["status_reason"]) == ("failed", "digest_mismatch")
    node.delete_all()
    assert node.used()["storage"] == 0


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({}, "config.upload_method"),
        ({"upload_method": "magic"}, "config.upload_method"),
        ({"upload_method": "file"}, "config.content"),
        ({"upload_method": "file", "content": "a", "content_base64": "YQ=="}, "config"),
        ({"upload_method": "file", "content_base64": "???"}, "config.content_base64"),
        ({"upload_method": "url"}, "config.source_url"),
        ({"upload_method": "url", "source_url": "ftp://a/b"}, "config.source_url"),
        ({"upload_method": "url", "source_url": "file:///etc/passwd"}, "config.source_url"),
        ({"upload_method": "url", "source_url": "http://u:p@h/x"}, "config.source_url"),
        ({"upload_method": "url", "source_url": "http://[::1/"}, "config.source_url"),
        ({"upload_method": "url", "source_url": "http://h:99999/"}, "config.source_url"),
        ({"upload_method": "url", "source_url": "http://h/\r\nX: y"}, "config.source_url"),
        ({"upload_method": "path"}, "config.source_path"),
        ({"upload_method": "path", "source_path": "/etc/passwd"}, "config.source_path"),
        ({"upload_method": "path", "source_path": "one.txt"}, "config.source_path"),
        ({"upload_method": "path", "source_path": "a\0b"}, "config.source_path"),
        ({"upload_method": "path", "source_path": "/" + "x" * 4000}, "config.source_path"),
        ({"upload_method": "directory", "source_path": "/"}, "config.source_path"),
        ({"upload_method": "file", "content": "a", "filename": "../x"}, "config.filename"),
        ({"upload_method": "file", "content": "a", "filename": "/x"}, "config.filename"),
        ({"upload_method": "file", "content": "a", "sha256": "abc"}, "config.sha256"),
        ({"upload_method": "file", "content": "a", "data_key": "a\nb"}, "config.data_key"),
        ({"upload_method": "file", "content": "a", "tags": "x"}, "config.tags"),
    ],
)
def test_a_source_that_is_not_taken(node: Node, config: Json, field: str) -> None:
    reply = node.http.post("/api/workloads", json={"name": "x", "type": "data", "config": config})
    assert refused(reply, 422)["field"] == field


def test_the_roots_are_not_left(node: Node, sources: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret.txt"
    outside.write_text("secret")
    for number, (name, target) in enumerate(
        {"link.txt": outside, "dir": tmp_path, "up": Path("../..")}.items()
    ):
        folder = sources / f"escape{number}"
        folder.mkdir()
        (folder / name).symlink_to(target)
        done = fetch(node, upload_method="directory", source_path=str(folder))
        assert (done["status"], done["status_reason"]) == ("failed", "invalid_field"), done
        assert name in done["status_detail"]
        inner = str(folder / name) if name != "dir" else f"{folder}/dir/secret.txt"
        spec = {"upload_method": "path", "source_path": inner}
        reply = node.http.post("/api/workloads", json={"name": "x", "type": "data", "config": spec})
        refused(reply, 422, field="config.source_path")
    spec = {"upload_method": "path", "source_path": f"{sources}/tree/../../{tmp_path.name}"}
    reply = node.http.post("/api/workloads", json={"name": "x", "type": "data", "config": spec})
    refused(reply, 422, field="config.source_path")
    node.delete_all()
    assert node.used()["storage"] == 0


def test_what_is_no_file_is_no_data(node: Node, sources: Path) -> None:
    folder = sources / "odd"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    done = fetch(node, upload_method="directory", source_path=str(folder))
    assert done["status"] == "failed" and "pipe" in done["status_detail"]
    (folder / "pipe").unlink()
    empty = fetch(node, upload_method="directory", source_path=str(folder))
    assert empty["status"] == "failed" and "no file" in empty["status_detail"]
    (folder / "inner.txt").symlink_to(sources / "one.txt")
    followed = fetch(node, upload_method="directory", source_path=str(folder))
    assert (followed["status"], followed["size"]) == ("completed", 3)


# --- URLs --------------------------------------------------------------------------------------


class _Source(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/hop/"):
            left = int(self.path.rpartition("/")[2])
            self.send_response(302)
            self.send_header("Location", f"/hop/{left - 1}" if left else "/file%20a.csv?q=1")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"too little")
            self.close_connection = True
        elif self.path == "/gone":
            self.send_error(404)
        elif self.path == "/elsewhere":
            self.send_response(301)
            self.send_header("Location", "file:///etc/passwd")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send_response(200)
            self.send_header("Content-Type", "text/csv")
            self.send_header("Content-Length", "7")
            self.end_headers()
            self.wfile.write(b"a,b\n1,2")

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """A web server on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Source)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_url(node: Node, web: str) -> None:
    done = fetch(node, upload_method="url", source_url=f"{web}/file%20a.csv?q=1", data_key="u")
    assert (done["status"], done["size"], done["content_type"]) == ("completed", 7, "text/csv")
    assert content(node, "u", "file a.csv").text == "a,b\n1,2"


def test_redirects_are_followed_so_far(node: Node, web: str) -> None:
    assert fetch(node, upload_method="url", source_url=f"{web}/hop/4")["status"] == "completed"
    done = fetch(node, upload_method="url", source_url=f"{web}/hop/5")
    assert done["status"] == "failed" and "5 redirects" in done["status_detail"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/short", "source_unreachable"),
        ("/gone", "source_not_found"),
        ("/elsewhere", "invalid_field"),
    ],
)
def test_a_url_that_fails(node: Node, web: str, path: str, reason: str) -> None:
    done = fetch(node, upload_method="url", source_url=web + path)
    assert (done["status"], done["status_reason"]) == ("failed", reason), done
    node.delete_all()
    assert node.used()["storage"] == 0


# --- reading -----------------------------------------------------------------------------------


@pytest.fixture
def ten(node: Node) -> str:
    """Key of an object with a file of ten bytes."""
    config = {"data_key": "ten"}
    upload(node, files=[("file", ("d.txt", b"0123456789"))], config=config)
    return "ten"


@pytest.mark.parametrize(
    ("asked", "status", "got", "span"),
    [
        ("bytes=0-0", 206, "0", "bytes 0-0/10"),
        ("bytes=2-5", 206, "2345", "bytes 2-5/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=7-99", 206, "789", "bytes 7-9/10"),
        ("bytes=-3", 206, "789", "bytes 7-9/10"),
        ("bytes=-99", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        (f"bytes={'9' * 400}-", 416, None, "bytes */10"),
        ("bytes=5-2", 200, "0123456789", None),
        ("bytes=0-1,4-5", 200, "0123456789", None),
        ("lines=1-2", 200, "0123456789", None),
        ("bytes=-", 200, "0123456789", None),
    ],
)
def test_ranges(
    node: Node, ten: str, asked: str, status: int, got: str | None, span: str | None
) -> None:
    reply = content(node, ten, "d.txt", range=asked)
    assert reply.status_code == status
    assert reply.headers.get("content-range") == span
    assert got is None or reply.text == got
    head = node.http.head(f"/api/data/{ten}/d.txt", headers={"range": asked})
    assert (head.status_code, head.content) == (status, b"")
    if status < 400:
        assert head.headers["content-length"] == str(len(got or ""))


def test_conditions(node: Node, ten: str) -> None:
    reply = content(node, ten, "d.txt")
    etag, date = reply.headers["etag"], reply.headers["last-modified"]
    early, late = "Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"

    def status(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return content(node, ten, "d.txt", **named).status_code

    assert status(if_none_match=etag) == status(if_none_match=f'"x", W/{etag}') == 304
    assert status(if_none_match="*") == status(if_modified_since=date) == 304
    assert status(if_none_match='"x"', if_modified_since=late) == 200
    assert status(if_modified_since=early) == status(if_modified_since="yesterday") == 200
    assert status(if_match=etag) == status(if_match="*") == status(if_unmodified_since=date) == 200
    assert status(if_match='"x"') == status(if_match=f"W/{etag}") == 412
    assert status(if_unmodified_since=early) == 412
    assert status(if_range=etag, range="bytes=0-0") == status(if_range=date, range="bytes=0-0")
    assert status(if_range=etag, range="bytes=0-0") == 206
    assert status(if_range='"x"', range="bytes=0-0") == 200


def test_content_cannot_speak_for_its_reader(node: Node) -> None:
    body = upload(node, files=[("file", ("x.html", b"<script>", "text/html"))])
    headers = content(node, body["data_key"], "x.html").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("sandbox")
    assert headers["content-disposition"] == "attachment"


@pytest.mark.parametrize(
    "path",
    ["ten", "ten/", "ten/x", "ten/%2e%2e/x", "ten//d.txt", "ten/d.txt/", "nine/d.txt", "%00/%ff"],
)
def test_what_is_not_there(node: Node, ten: str, path: str) -> None:
    reply = node.http.get(f"/api/data/{path}")
    if path == "ten":
        assert reply.status_code == 200
    else:
        assert reply.status_code in {404, 422}, reply.text


def test_lists_come_in_pages(node: Node) -> None:
    for key in ("b", "a", "c"):
        files = [("files", (f"{n}.txt", b"x")) for n in range(5)]
        upload(node, files=files, config={"data_key": key})
    keys: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = node.json(node.http.get("/api/data", params={"limit": 2, "cursor": cursor}))
        keys += [item["data_key"] for item in page["data"]]
        cursor = page["next_cursor"]
    assert keys == ["a", "b", "c"]
    paths: list[str] = []
    cursor = ""
    while cursor is not None:
        params: Json = {"limit": 2, "cursor": cursor}
        page = node.json(node.http.get("/api/data/b", params=params))
        assert (page["file_count"], page["size"]) == (5, 5)
        paths += [file["path"] for file in page["file_list"]]
        cursor = page["next_cursor"]
    assert paths == [f"{n}.txt" for n in range(5)]


# --- changing and deleting ---------------------------------------------------------------------


def test_readonly_is_not_written(node: Node, ten: str) -> None:
    url = f"/api/data/{ten}/d.txt"
    for reply in (node.http.put(url, content=b"x"), node.http.delete(url)):
        assert refused(reply, 403)["error"] == "read_only"
    assert content(node, ten, "d.txt").text == "0123456789"


def test_readwrite_is_written(node: Node) -> None:
    upload(node, config={"data_key": "w", "access_mode": "readwrite"})
    reply = node.http.put("/api/data/w/new/x.json", content=b"[1]")
    assert reply.status_code == 200, reply.text
    assert reply.json()["content_type"] == "application/json"
    assert node.http.put("/api/data/w/f.txt", content=b"other").status_code == 200
    assert content(node, "w", "f.txt").text == "other"
    now = node.json(node.http.get("/api/data/w"))
    assert (now["file_count"], now["size"]) == (2, 8)
    assert node.used()["storage"] == 8
    assert node.http.delete("/api/data/w/f.txt").status_code == 200
    assert node.http.delete("/api/data/w/f.txt").status_code == 404
    assert content(node, "w", "f.txt").status_code == 404
    assert refused(node.http.put("/api/data/w/a/%2e%2e/b", content=b"x"), 422)
    assert node.used()["storage"] == 3


def test_exclusive_has_one_user_at_a_time(node: Node) -> None:
    files = [("file", ("f.bin", bytes(32 * MIB)))]
    upload(node, files=files, config={"data_key": "x", "access_mode": "exclusive"})
    with node.http.stream("GET", "/api/data/x/f.bin") as reading:
        chunks = reading.iter_raw()
        next(chunks)
        body = refused(node.http.put("/api/data/x/f.bin", content=b"x"), 409)
        assert body["error"] == "in_use"
        for _ in chunks:
            pass
    wait_until(lambda: node.http.put("/api/data/x/f.bin", content=b"x").status_code == 200)
    assert content(node, "x", "f.bin").content == b"x"


@pytest.mark.parametrize("how", ["stop", "data"])
def test_a_stop_deletes_the_data_and_keeps_the_record(node: Node, ten: str, how: str) -> None:
    workload = node.json(node.http.get("/api/workloads"))["workloads"][0]
    if how == "stop":
        node.stop(workload["id"])
    else:
        assert node.http.delete(f"/api/data/{ten}").status_code == 200
    assert node.used()["storage"] == 0
    assert content(node, ten, "d.txt").status_code == 404
    after = node.get(workload["id"])
    assert (after["status"], after["status_reason"]) == ("completed", "result_deleted")
    assert "size" not in after
    refused(node.http.post(f"/api/workloads/{workload['id']}/stop"), 409)
    upload(node, config={"data_key": ten})


def test_a_delete_deletes_both(node: Node, ten: str) -> None:
    workload = node.json(node.http.get("/api/workloads"))["workloads"][0]
    assert node.http.delete(f"/api/workloads/{workload['id']}").status_code == 200
    assert content(node, ten, "d.txt").status_code == 404
    assert node.used()["storage"] == 0


def test_a_restart_fetches_again(node: Node, sources: Path) -> None:
    source = sources / "changing.txt"
    source.write_text("first")
    done = fetch(node, upload_method="path", source_path=str(source), data_key="r")
    source.write_text("second")
    reply = node.http.post(f"/api/workloads/{done['id']}/restart")
    assert reply.status_code == 200
    again = node.wait(done["id"], lambda it: it["attempt"] == 2 and it["status"] == "completed")
    assert again["size"] == 6
    assert content(node, "r", "changing.txt").text == "second"
    source.unlink()
    node.http.post(f"/api/workloads/{done['id']}/restart")
    failed = node.wait_status(done["id"], "failed")
    assert failed["attempt"] == 3
    assert content(node, "r", "changing.txt").text == "second", "what was there must stay"
    node.stop(done["id"])
    assert node.used()["storage"] == 0


def test_a_restart_of_an_upload_changes_nothing(node: Node, ten: str) -> None:
    workload = node.json(node.http.get("/api/workloads"))["workloads"][0]
    node.http.post(f"/api/workloads/{workload['id']}/restart")
    node.wait(workload["id"], lambda it: it["attempt"] == 2 and it["status"] == "completed")
    assert content(node, ten, "d.txt").text == "0123456789"
    node.stop(workload["id"])
    node.http.post(f"/api/workloads/{workload['id']}/restart")
    failed = node.wait_status(workload["id"], "failed")
    assert failed["status_reason"] == "no_source"


def test_data_outlive_the_agent(node: Node, ten: str) -> None:
    before = node.json(node.http.get("/api/workloads"))["workloads"]
    node.agent.kill()
    node.agent.restart()
    with Node(node.agent) as again:
        assert again.json(again.http.get("/api/workloads"))["workloads"] == before
        assert content(again, ten, "d.txt").text == "0123456789"
        assert again.used()["storage"] == 10
        node.http.base_url = again.http.base_url
