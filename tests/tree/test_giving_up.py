"""`parent.escalate`: what a leaf cannot hold goes up and across, and without it never."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.node import process_spec, refused
from tests.support.agents import alive
from tests.tree.trees import Tree, room


@pytest.fixture(scope="module")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """jiangsu (2 cores) over nanjing (1, may give up work), suqian (1) and changzhou (4)."""
    with Tree(tmp_path_factory.mktemp("leaves")) as tree:
        tree.launch("jiangsu", resources=room(2))
        tree.launch("nanjing", parent="jiangsu", escalate=True, resources=room(1))
        tree.launch("suqian", parent="jiangsu", resources=room(1))
        tree.launch("changzhou", parent="jiangsu", resources=room(4))
        tree.wait_healthy()
        tree.linked("jiangsu", "nanjing", "suqian", "changzhou")
        tree.linked("nanjing", "jiangsu", "suqian", "changzhou")
        tree.linked("suqian", "jiangsu")
        yield tree
        tree.shut_down()


@pytest.fixture
def clean(leaves: Tree) -> Iterator[Tree]:
    yield leaves
    leaves.clean()


@pytest.mark.parametrize(("cores", "where"), [(2, "jiangsu"), (3, "changzhou")])
def test_up_to_the_parent_and_across_to_a_sibling(clean: Tree, cores: float, where: str) -> None:
    leaf = clean["nanjing"]
    body = leaf.process("sleep", "600", requirements={"cpu": cores})
    assert (body["status"], body["node_id"], body["owner"]) == ("running", where, "nanjing")
    assert clean[where].get(body["id"])["owner"] == "nanjing"
    # The parent in between carries the messages and keeps no record of a sibling's work.
    known = clean["jiangsu"].http.get(f"/api/workloads/{body['id']}").status_code
    assert known == (200 if where == "jiangsu" else 404)
    assert leaf.stop(body["id"])["status"] == "stopped"
    assert not alive(body["pid"])
    assert leaf.http.delete(f"/api/workloads/{body['id']}").status_code == 200
    clean.wait_bare(where)


def test_what_fits_at_home_stays_at_home(clean: Tree) -> None:
    body = clean["nanjing"].process("sleep", "600", requirements={"cpu": 1})
    assert body["node_id"] == "nanjing"


def test_without_the_setting_nothing_is_given_up(clean: Tree) -> None:
    leaf = clean["suqian"]
    spec = process_spec("true", requirements={"cpu": 2}, queue=False)
    body = refused(leaf.http.post("/api/workloads", json=spec), 409, "no_capacity", says="suqian")
    assert "jiangsu: not a candidate from here" in body["reasons"]
    leaf.process("sleep", "600", requirements={"cpu": 1})
    waiting = leaf.process("sleep", "600", requirements={"cpu": 1})
    assert waiting["status"] == "pending"
    assert clean.seen("suqian", "changzhou") is None
    spec = process_spec("true", node="jiangsu")
    body = refused(leaf.http.post("/api/workloads", json=spec), 409, "no_capacity", says="jiangsu")
    assert "jiangsu: not a candidate from here" in body["reasons"]
