"""Data on another node, by way of the agent that took the request."""

from __future__ import annotations

import os

from tests.api.node import Json, Node, refused
from tests.support.agents import wait_until
from tests.tree.trees import Tree

SIZE = 3_000_000


def _stored(tree: Tree, where: str, **config: object) -> Json:
    """Data on a node, given to jiangsu; the workload as jiangsu tells of it once it is there."""
    spec = {
        "name": "far",
        "type": "data",
        "node": where,
        "config": {"upload_method": "file", "content": "far data", "filename": "f.txt", **config},
    }
    body = tree["jiangsu"].submit(spec)
    done = tree["jiangsu"].wait(body["id"], lambda it: it["status"] in {"completed", "failed"})
    assert (done["status"], done["node_id"], done["owner"]) == ("completed", where, "jiangsu")
    return done


def test_it_is_read_from_afar(tree: Tree) -> None:
    done = _stored(tree, "nanjing", data_key="far-key")
    assert (done["size"], done["file_path"]) == (8, "data://far-key/f.txt")
    for name in ("far-key", done["id"]):
        for at in ("jiangsu", "nanjing"):
            reply = tree[at].http.get(f"/api/data/{name}/f.txt", headers={"range": "bytes=4-"})
            assert (reply.status_code, reply.text) == (206, "data")
            about = Node.json(tree[at].http.get(f"/api/data/{name}"))
            assert (about["node_id"], about["workload_id"]) == ("nanjing", done["id"])
    assert Node.json(tree["jiangsu"].http.get("/api/data"))["data"] == []
    assert tree["nanjing"].used()["storage"] == 8


def test_it_is_written_from_afar(tree: Tree) -> None:
    done = _stored(tree, "nanjing", access_mode="readwrite")
    content = os.urandom(SIZE)
    url = f"/api/data/{done['id']}/new.bin"
    reply = tree["jiangsu"].http.put(url, content=content)
    assert reply.status_code == 200, reply.text
    assert tree["nanjing"].http.get(url).content == content
    assert tree["jiangsu"].http.get(url).content == content
    assert tree["jiangsu"].http.delete(url).status_code == 200
    refused(tree["nanjing"].http.get(url), 404, "no_such_file")


def test_it_is_deleted_from_either_side(tree: Tree) -> None:
    for at, how in (
        ("jiangsu", "stop"),
        ("nanjing", "stop"),
        ("jiangsu", "data"),
        ("nanjing", "data"),
    ):
        done = _stored(tree, "nanjing", data_key=f"{at}-{how}")
        if how == "stop":
            reply = tree[at].http.post(f"/api/workloads/{done['id']}/stop")
        else:
            reply = tree[at].http.delete(f"/api/data/{done['data_key']}")
        assert reply.status_code == 200, reply.text
        assert tree["nanjing"].used()["storage"] == 0
        for each in ("jiangsu", "nanjing"):
            wait_until(
                lambda each=each, done=done: (  # type: ignore[misc]
                    tree[each].get(done["id"])["status_reason"] == "result_deleted"
                )
            )


def test_a_key_that_is_taken_there(tree: Tree) -> None:
    first = _stored(tree, "nanjing", data_key="k")
    spec = {
        "name": "second",
        "type": "data",
        "node": "nanjing",
        "config": {"upload_method": "file", "content": "x", "data_key": "k"},
    }
    body = tree["jiangsu"].submit(spec, wait="false")
    seen = tree["jiangsu"].wait(body["id"], lambda it: "belongs to" in (it["status_detail"] or ""))
    assert seen["status"] == "pending" and first["id"] in seen["status_detail"]
