"""Stored data in workloads: models, inputs and variables that name them, on whichever node."""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from cnet.cli.main import main
from tests.api.node import Json, Node, process_spec, refused
from tests.support.agents import wait_until
from tests.tree.trees import Tree

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL = EXAMPLES / "ml_models/shapes_yolo.onnx"
PICTURE = {"image": base64.b64encode((EXAMPLES / "assets/astronaut.jpg").read_bytes()).decode()}
SMALL = {"cpu": 0.1}


def put(node: Node, key: str, *files: tuple[str, bytes], tree: bool = False) -> Json:
    """Store files at a node."""
    name = "files" if tree else "file"
    reply = node.http.post(
        "/api/workloads",
        data={"config": f'{{"data_key": "{key}"}}'},
        files=[(name, (path, content)) for path, content in files],
    )
    assert reply.status_code == 201, reply.text
    return Node.json(reply)


def ended(node: Node, body: Json) -> Json:
    """A workload once it is over."""
    return node.wait(body["id"], lambda it: it["status"] in {"completed", "failed", "stopped"})


def cached(tree: Tree, name: str) -> list[str]:
    """Names of what the cache of a node holds."""
    return sorted(path.name for path in (tree.agents[name].data_dir / "data" / "cache").iterdir())


def fetched(tree: Tree, name: str, key: str) -> int:
    """How often a node has got bytes of a key from another one."""
    lines = tree.agents[name].log().splitlines()
    return sum("data_fetched" in line and key in line for line in lines)


def test_five_services_over_one_model_from_afar(tree: Tree) -> None:
    url = tree.agents["jiangsu"].url
    assert main(["--agent", url, "data", "put", str(MODEL), "--key", "shapes"]) == 0
    spec = {
        "type": "mlmodel",
        "node": "suqian",
        "requirements": SMALL,
        "config": {"model_type": "yolo", "model_path": f"data://shapes/{MODEL.name}"},
    }
    with ThreadPoolExecutor(5) as pool:
        names = [f"shapes-{number}" for number in range(5)]
        bodies = list(pool.map(lambda name: tree["jiangsu"].submit({**spec, "name": name}), names))
    local = tree["suqian"].submit(
        {**spec, "name": "local", "config": {"model_type": "yolo", "model_path": str(MODEL)}}
    )
    tree["suqian"].wait_status(local["id"], "running")
    predicted = httpx.post(f"{local['endpoint']}/predict", json=PICTURE, timeout=30).json()
    for body in bodies:
        ready = tree["jiangsu"].wait_status(body["id"], "running")
        assert ready["node_id"] == "suqian"
        reply = httpx.post(f"{ready['direct_endpoint']}/predict", json=PICTURE, timeout=30)
        assert reply.json()["detections"] == predicted["detections"], reply.text
    assert fetched(tree, "suqian", "shapes") == 1
    assert len(cached(tree, "suqian")) == 1


def test_inputs_are_files_and_trees(tree: Tree) -> None:
    put(tree["jiangsu"], "one", ("f.txt", b"file"))
    put(tree["nanjing"], "many", ("a/x", b"ax"), ("a/y", b"ay"), ("b", b"b"), tree=True)
    script = (
        "find . -type f | sort; cat given in/f.txt all/b sub/x $ONE $A/y; pwd; echo $CNET_INPUTS"
    )
    config = {
        "inputs": {
            "data://one": "given",
            "data://one/f.txt": "in/",
            "data://many": "all",
            "data://many/a": "sub",
        },
        "env": {"ONE": "data://one", "A": "data://many/a", "B": "no://data"},
    }
    for where in ("nanjing", "jiangsu", "suqian"):
        spec = process_spec("sh", "-c", script, config=config, node=where, requirements=SMALL)
        done = ended(tree["jiangsu"], tree["jiangsu"].submit(spec))
        assert done["status"] == "completed", done
        *files, content, inputs = tree["jiangsu"].logs(done["id"])
        assert files == [
            f"./{each}"
            for each in ("all/a/x", "all/a/y", "all/b", "given", "in/f.txt", "sub/x", "sub/y")
        ]
        assert content == f"filefilebaxfileay{inputs}"  # no newline in between, then `pwd`
        runs = tree.agents[where].data_dir / "runs" / done["id"]
        wait_until(lambda runs=runs: not (runs / "inputs").exists())  # type: ignore[misc]


def test_a_tree_of_several_pages(tree: Tree) -> None:
    paths = [f"{folder}/{number} %é?.txt" for folder in ("a", "a b", "c") for number in range(340)]
    put(tree["jiangsu"], "wide %é", *[(path, path.encode()) for path in paths], tree=True)
    script = "find all -type f | wc -l; find part -type f | wc -l; cat 'part/339 %é?.txt'"
    inputs = {"data://wide %é": "all", "data://wide %é/a": "part"}
    spec = process_spec("sh", "-c", script, config={"inputs": inputs}, node="nanjing")
    done = ended(tree["jiangsu"], tree["jiangsu"].submit({**spec, "requirements": SMALL}))
    assert done["status"] == "completed", done
    assert tree["jiangsu"].logs(done["id"]) == ["1020", "340", "a/339 %é?.txt"]
    assert fetched(tree, "nanjing", "wide") == 1020


def test_a_run_cannot_change_what_is_stored(tree: Tree) -> None:
    put(tree["jiangsu"], "kept", ("f", b"original"))
    for where in ("jiangsu", "nanjing"):
        spec = process_spec(
            "sh", "-c", "chmod u+w f && echo changed > f && cat f",
            config={"inputs": {"data://kept": "f"}}, node=where, requirements=SMALL,
        )  # fmt: skip
        for _ in range(2):
            done = ended(tree["jiangsu"], tree["jiangsu"].submit(spec))
            assert done["status"] == "completed", done
            assert tree["jiangsu"].logs(done["id"]) == ["changed"]
    assert tree["jiangsu"].http.get("/api/data/kept/f").content == b"original"
    (name,) = cached(tree, "nanjing")[-1:]
    stored = tree.agents["nanjing"].data_dir / "data" / "cache" / name
    assert all(each.read_bytes() != b"changed\n" for each in stored.parent.iterdir())


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"inputs": {"data://k": target}}, "config.inputs")
        for target in ("../x", "/x", "", "a/../../x", "a//b", "a\\b", "a\0b", ".", "x//")
    ]
    + [
        ({"inputs": {ref: "x"}}, "config.inputs")
        for ref in ("k", "file:///etc/passwd", "data://", "data:///x", "data://k/", "data://k/../x")
    ]
    + [
        ({"inputs": {"data://k": "x", "data://j": "x"}}, "config.inputs"),
        ({"env": {"A": "data://k/../x"}}, "config.env"),
    ],
)
def test_what_is_no_input(tree: Tree, config: Json, field: str) -> None:
    reply = tree["jiangsu"].http.post("/api/workloads", json=process_spec("true", config=config))
    assert refused(reply, 422, "invalid_field")["field"].startswith(field)


def first_choice(tree: Tree, name: str, spec: Json) -> str:
    """Where a workload would go if it were submitted there."""
    reply = tree[name].http.post("/api/plan", json=spec)
    return str(Node.json(reply)["node"])


def test_work_goes_where_its_data_are(tree: Tree) -> None:
    put(tree["suqian"], "near", ("f", b"near"))
    spec = process_spec("cat", "f", config={"inputs": {"data://near": "f"}}, requirements=SMALL)
    wait_until(lambda: first_choice(tree, "jiangsu", spec) == "suqian")
    done = ended(tree["jiangsu"], tree["jiangsu"].submit(spec))
    assert (done["status"], done["node_id"]) == ("completed", "suqian")
    elsewhere = process_spec("true", requirements=SMALL)
    assert first_choice(tree, "jiangsu", elsewhere) == "jiangsu"


def test_work_goes_where_its_data_are_cached(own_cities: Tree) -> None:
    tree = own_cities
    put(tree["jiangsu"], "model", ("f", b"m" * 1000), ("g", b"g"), tree=True)
    spec = process_spec("cat", "f/f", config={"inputs": {"data://model": "f"}}, requirements=SMALL)
    done = ended(tree["jiangsu"], tree["jiangsu"].submit({**spec, "node": "suqian"}))
    assert done["status"] == "completed", done
    assert tree["jiangsu"].http.post("/api/nodes/jiangsu/drain").status_code == 200
    wait_until(lambda: first_choice(tree, "jiangsu", spec) == "suqian")
    tree.agents["suqian"].kill()
    tree.agents["suqian"].restart()
    tree.linked("nanjing", "suqian")
    wait_until(lambda: first_choice(tree, "jiangsu", spec) == "suqian")


def test_data_of_any_node_by_key(grown: Tree) -> None:
    tree = grown
    tree.start("root")
    for name in ("left", "right"):
        tree.launch(name, parent="root")
    tree.wait_healthy()
    tree.linked("root", "left", "right")
    config = '{"data_key": "notes", "access_mode": "readwrite"}'
    reply = tree["right"].http.post(
        "/api/workloads", data={"config": config}, files=[("files", ("a/x", b"ax"))]
    )
    assert reply.status_code == 201, reply.text
    # The one knows the holder, the other asks upwards; neither has heard of the workload.
    for name in ("root", "left"):
        http = tree[name].http
        found = http.get("/api/data/notes")
        assert (name, found.json().get("node_id")) == (name, "right"), found.text
        assert http.get("/api/data/notes/a/x", headers={"Range": "bytes=1-"}).content == b"x"
        assert http.put(f"/api/data/notes/of/{name}", content=b"new").status_code == 200
        assert http.get(f"/api/data/notes/of/{name}").content == b"new"
        assert http.delete(f"/api/data/notes/of/{name}").status_code == 200
        refused(http.get(f"/api/data/notes/of/{name}"), 404, "no_such_file")
        refused(http.get("/api/data/nothing"), 404, "no_such_data")
        refused(http.put("/api/data/nothing/x", content=b"x"), 404, "no_such_data")
    assert tree["left"].http.delete("/api/data/notes").status_code == 200
    refused(tree["right"].http.get("/api/data/notes"), 404, "no_such_data")


def test_a_list_of_all_nodes(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("jiangsu", "nanjing", "suqian"):
        put(tree[name], f"only-{name}", ("f", b"x"))
        put(tree[name], "everywhere", ("f", name.encode()))
    http = tree["jiangsu"].http
    assert {each["node_id"] for each in http.get("/api/data").json()["data"]} == {"jiangsu"}
    seen: list[tuple[str, str]] = []
    cursor = ""
    while cursor is not None:
        params = {"scope": "tree", "limit": "1", "cursor": cursor}
        page = http.get("/api/data", params=params).json()
        assert page["unreachable"] == []
        seen += [(each["data_key"], each["node_id"]) for each in page["data"]]
        cursor = page["next_cursor"]
    expected = [("everywhere", name) for name in ("jiangsu", "nanjing", "suqian")]
    expected += [(f"only-{name}", name) for name in ("jiangsu", "nanjing", "suqian")]
    assert [each for each in seen if each in expected] == expected
    assert main(["--agent", tree["jiangsu"].agent.url, "data", "ls", "--all"]) == 0
    assert "only-suqian" in capsys.readouterr().out
    refused(http.get("/api/data", params={"scope": "all"}), 422, "invalid_field", field="scope")


def test_a_key_that_nobody_has(tree: Tree) -> None:
    for config in ({"inputs": {"data://nope": "x"}}, {"env": {"A": "data://nope/x"}}):
        reply = tree["nanjing"].http.post(
            "/api/workloads", json=process_spec("true", config=config)
        )
        refused(reply, 422, "no_such_data", says="data://nope")
    model = {"model_type": "yolo", "model_path": "data://nope"}
    spec = {"name": "m", "type": "mlmodel", "config": model}
    reply = tree["nanjing"].http.post("/api/workloads", json=spec)
    refused(reply, 422, "no_such_data", field="config.model_path")


def test_what_is_missing_or_not_one_file(tree: Tree) -> None:
    put(tree["jiangsu"], "tree", ("a", b"a"), ("b", b"b"), tree=True)
    spec = process_spec("true", config={"inputs": {"data://tree/c": "x"}}, node="nanjing")
    done = ended(tree["jiangsu"], tree["jiangsu"].submit(spec))
    assert (done["status"], done["status_reason"]) == ("failed", "no_such_file")
    assert "data://tree/c" in done["status_detail"]
    model = {"model_type": "yolo", "model_path": "data://tree"}
    spec = {"name": "m", "type": "mlmodel", "node": "nanjing", "config": model}
    body = tree["jiangsu"].submit({**spec, "requirements": SMALL})
    done = ended(tree["jiangsu"], body)
    assert done["status"] == "failed" and "2 files" in done["status_detail"]
    spec = process_spec("true", config={"inputs": {"data://tree": "x", "data://tree/a": "x/b"}})
    done = ended(tree["jiangsu"], tree["jiangsu"].submit({**spec, "node": "nanjing"}))
    assert done["status_reason"] == "input_conflict"


def test_the_submitter_looks_for_it_where_the_run_cannot(tree: Tree) -> None:
    put(tree["changzhou"], "far", ("f", b"far"))
    assert tree.seen("suqian", "changzhou") is None
    spec = process_spec("cat", "f", config={"inputs": {"data://far": "f"}}, node="suqian")
    done = ended(tree["nanjing"], tree["nanjing"].submit(spec))
    assert done["status"] == "completed", done
    assert tree["nanjing"].logs(done["id"]) == ["far"]
    assert fetched(tree, "suqian", "far") == 1


def test_no_data_for_another_user(tree: Tree) -> None:
    put(tree["jiangsu"], "own", ("f", b"x"))
    spec = process_spec("cat", "f", config={"inputs": {"data://own": "f"}}, run_as="nobody")
    refused(
        tree["jiangsu"].http.post("/api/workloads", json=spec),
        422,
        "invalid_field",
        field="run_as",
    )


def test_a_service_comes_back_without_the_stored_model(tree: Tree) -> None:
    put(tree["jiangsu"], "model", (MODEL.name, MODEL.read_bytes()))
    config = {"model_type": "yolo", "model_path": "data://model"}
    spec = {"name": "m", "type": "mlmodel", "node": "nanjing", "config": config}
    body = tree["nanjing"].submit({**spec, "requirements": SMALL})
    first = tree["nanjing"].wait_status(body["id"], "running")
    assert tree["jiangsu"].http.delete("/api/data/model").status_code == 200
    os.kill(first["process_pid"], signal.SIGKILL)
    again = tree["nanjing"].wait(
        body["id"],
        lambda it: (
            it["status"] == "running" and it["process_pid"] not in {None, first["process_pid"]}
        ),
    )
    assert again["restarts"] == 1
    reply = httpx.post(f"{again['endpoint']}/predict", json=PICTURE, timeout=30)
    assert reply.status_code == 200, reply.text
    reply = tree["nanjing"].http.post(f"/api/workloads/{body['id']}/restart")
    done = tree["nanjing"].wait(body["id"], lambda it: it["status"] == "failed")
    assert done["status_reason"] == "no_such_data"


def test_deleted_before_the_next_run(tree: Tree) -> None:
    stored = put(tree["jiangsu"], "gone", ("f", b"x"))
    spec = process_spec("cat", "f", config={"inputs": {"data://gone": "f"}}, node="suqian")
    first = ended(tree["jiangsu"], tree["jiangsu"].submit(spec))
    assert first["status"] == "completed"
    assert tree["jiangsu"].http.delete(f"/api/data/{stored['data_key']}").status_code == 200
    reply = tree["jiangsu"].http.post(f"/api/workloads/{first['id']}/restart")
    assert reply.status_code == 200, reply.text
    done = ended(tree["jiangsu"], first)
    assert (done["status"], done["status_reason"]) == ("failed", "no_such_data")
    assert "data://gone" in done["status_detail"]


def _sizes(cache: Path) -> list[int]:
    """Of what is being fetched into the cache."""
    with suppress(FileNotFoundError):  # the last of it may come meanwhile
        return [part.stat().st_size for part in cache.glob("*.part")]
    return []


@contextmanager
def frozen_midway(tree: Tree, size: int) -> Iterator[Path]:
    """While the node that reads is in the middle of it, and the one that has it does not move."""
    cache = tree.agents["nanjing"].data_dir / "data" / "cache"
    wait_until(lambda: any(_sizes(cache)), what="a download of which something has come")
    holder = tree.agents["jiangsu"].pid
    os.kill(holder, signal.SIGSTOP)
    try:
        (part,) = cache.glob("*.part")
        assert part.stat().st_size < size, "it was too quick for this test"
        yield part
    finally:
        os.kill(holder, signal.SIGCONT)


def _large(tree: Tree) -> tuple[bytes, Json]:
    """Stored at jiangsu; a process for nanjing that needs it."""
    content = os.urandom(1024**2) * 256
    put(tree["jiangsu"], "large", ("f.bin", content))
    spec = process_spec("wc", "-c", "f", config={"inputs": {"data://large": "f"}}, node="nanjing")
    return content, spec


def _counted(tree: Tree, body: Json, content: bytes, part: Path) -> None:
    """It has run over all of it, which is in the cache under its name."""
    done = ended(tree["nanjing"], body)
    assert done["status"] == "completed", done
    assert tree["nanjing"].logs(body["id"]) == [f"{len(content)} f"]
    name = part.name.split(".")[0]
    assert cached(tree, "nanjing").count(name) == 1 and not part.exists()
    assert (part.parent / name).stat().st_size == len(content)


def test_stop_and_a_lost_link_during_a_download(tree: Tree) -> None:
    content, spec = _large(tree)
    body = tree["nanjing"].submit(spec, wait="false")
    with frozen_midway(tree, len(content)) as part:
        tree["nanjing"].stop(body["id"])
        tree["nanjing"].wait_status(body["id"], "stopped")
        assert not part.exists()
        runs = tree.agents["nanjing"].data_dir / "runs" / body["id"]
        assert not (runs / "1").exists() and not (runs / "inputs").exists()
    tree.linked("nanjing", "jiangsu")
    before = len(tree.agents["nanjing"].log())
    body = tree["nanjing"].submit(spec, wait="false")
    with frozen_midway(tree, len(content)) as part:
        tree.wait_seen("nanjing", "jiangsu", lambda it: bool(it["status"] != "active"))
        waiting = tree["nanjing"].get(body["id"])
        assert waiting["status_reason"] == "fetching"
        assert "data://large/f.bin: " in waiting["status_detail"]
        assert "of 256.0 MiB from jiangsu" in waiting["status_detail"]
    tree.linked("nanjing", "jiangsu")
    _counted(tree, body, content, part)
    log = tree.agents["nanjing"].log()[before:]
    assert "data_resumed" in log and "fetch_failed" not in log


def test_kill_9_during_a_download(own_cities: Tree) -> None:
    tree = own_cities
    content, spec = _large(tree)
    body = tree["nanjing"].submit(spec, wait="false")
    with frozen_midway(tree, len(content)) as part:
        tree.agents["nanjing"].kill()
    assert cached(tree, "nanjing") == [part.name]
    tree.agents["nanjing"].restart()
    tree.linked("nanjing", "jiangsu")
    _counted(tree, body, content, part)
    assert cached(tree, "nanjing") == [part.name.split(".")[0]]
