"""`cnet data` against a real agent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cnet
from tests.support.agents import AgentProcess

MIB = 1024**2


@pytest.fixture(autouse=True)
def _clean(agent: AgentProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    yield
    for workload in agent.client.list():
        agent.client.delete(workload["id"])
    assert agent.client.resources()["used"]["storage"] == 0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "deep er").mkdir(parents=True)
    (folder / "t").mkdir()
    (folder / "t/a.txt").write_text("a")
    (folder / 'deep er/ü"b.bin').write_bytes(os.urandom(3 * MIB))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_a_file_goes_and_comes_back(cnet: Cnet, tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(os.urandom(5 * MIB))
    options = ("--key", "m", "--type", "model", "--tag", "x", "--meta", "a=b")
    done = cnet("data", "put", str(file), *options)
    assert done.code == 0, done.err
    assert done.out == "data://m  5 MiB\n"
    (listed,) = cnet("data", "ls", "--json").json
    assert (listed["name"], listed["data_type"], listed["tags"]) == ("model.bin", "model", ["x"])
    assert listed["metadata"] == {"a": "b"}
    assert "model.bin" in cnet("data", "ls").out
    assert cnet("data", "get", "m").code == 0
    assert Path("model.bin").read_bytes() == file.read_bytes()
    assert cnet("data", "get", "data://m/model.bin", "other").code == 0
    assert Path("other").read_bytes() == file.read_bytes()
    Path("folder").mkdir()
    assert cnet("data", "cp", "data://m", "folder").out == "folder/model.bin  5 MiB\n"
    assert cnet("data", "rm", "m").code == 0
    assert cnet("data", "ls", "--json").json == []
    assert cnet("ps", "-a", "--json").json["count"] == 0


def test_a_tree_goes_and_comes_back(cnet: Cnet, tree: Path) -> None:
    assert cnet("data", "put", str(tree), "--key", "t").code == 0
    paths = [file["path"] for file in cnet("data", "ls", "t", "--json").json]
    assert paths == ['deep er/ü"b.bin', "t/a.txt"]
    assert "deep er" in cnet("data", "ls", "t").out
    assert cnet("data", "get", "t").code == 0
    assert contents(Path("t")) == contents(tree)
    assert cnet("data", "get", "t/deep er", "part", "--json").json["files"] == 1
    assert list(contents(Path("part"))) == ['ü"b.bin']
    assert cnet("data", "get", "t/deep er").out.startswith("deep er ")
    assert list(contents(Path("deep er"))) == ['ü"b.bin']


def test_a_download_is_resumed(cnet: Cnet, tmp_path: Path) -> None:
    """What was there already is not asked for again: a false beginning is noticed at the end."""
    data = os.urandom(2 * MIB)
    (tmp_path / "f").write_bytes(data)
    cnet("data", "put", str(tmp_path / "f"), "--key", "k")
    sha256 = cnet("data", "ls", "k", "--json").json[0]["sha256"]
    part = Path(f"f.{sha256[:16]}.part")
    part.write_bytes(b"x" * MIB)
    wrong = cnet("data", "get", "k", "--json")
    assert wrong.code == 1 and "digest_mismatch" in wrong.err
    assert not part.exists() and not Path("f").exists()
    for whole in (data[:MIB], data, b""):
        part.write_bytes(whole)
        assert cnet("data", "get", "k").code == 0
        assert Path("f").read_bytes() == data
        assert not part.exists()
        Path("f").unlink()


def test_what_is_there_is_left_alone(cnet: Cnet, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("same")
    cnet("data", "put", str(tmp_path / "f"), "--key", "k")
    Path("f").write_text("same")
    inode = Path("f").stat().st_ino
    assert cnet("data", "get", "k").code == 0
    assert Path("f").stat().st_ino == inode
    Path("f").write_text("else")
    assert cnet("data", "get", "k").code == 0
    assert Path("f").read_text() == "same"


def test_an_update_sends_what_is_not_there(cnet: Cnet, agent: AgentProcess, tree: Path) -> None:
    update = ("data", "put", str(tree), "--key", "t", "--update")
    first = cnet(*update)
    assert (first.code, first.out) == (0, "data://t  2 sent (3 MiB), 0 as before\n"), first.err
    assert cnet("data", "ls", "--json").json[0]["access_mode"] == "readwrite"
    (tree / "t/a.txt").write_text("b")  # as long as before
    (tree / "new.txt").write_text("new")
    again = cnet(*update, "--json")
    assert again.json == {"data_key": "t", "sent": 2, "unchanged": 1, "size": 4}
    assert cnet("data", "get", "t").code == 0
    assert contents(Path("t")) == contents(tree)
    assert len(agent.client.list()) == 1


def test_an_update_goes_on_where_it_was_cut_off(cnet: Cnet, tree: Path) -> None:
    """As if the first one had been interrupted after its first file."""
    (only,) = [path for path in tree.rglob("*") if path.name.startswith("ü")]
    held = (tree / "t/a.txt").rename(tree.parent / "held")
    assert cnet("data", "put", str(tree), "--key", "t", "--update").code == 0
    held.rename(tree / "t/a.txt")
    again = cnet("data", "put", str(tree), "--key", "t", "--update", "--json")
    assert again.json == {"data_key": "t", "sent": 1, "unchanged": 1, "size": 1}
    assert only.stat().st_size == 3 * MIB
    assert cnet("data", "get", "t").code == 0
    assert contents(Path("t")) == contents(tree)


def test_an_update_of_readonly_data_is_refused(cnet: Cnet, tree: Path) -> None:
    assert cnet("data", "put", str(tree), "--key", "t").code == 0
    (tree / "t/a.txt").write_text("b")
    assert cnet("data", "put", str(tree), "--key", "t", "--update").code == 5
    said = cnet("data", "put", str(tree), "--key", "t", "--update", "--access", "readonly")
    assert (said.code, "--access" in said.err) == (2, True)
    assert "--key" in cnet("data", "put", str(tree), "--update").err


def test_a_changed_file_starts_anew(cnet: Cnet, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(os.urandom(2 * MIB))
    cnet("data", "put", str(tmp_path / "f"), "--key", "k", "--access", "readwrite")
    sha256 = cnet("data", "ls", "k", "--json").json[0]["sha256"]
    part = Path(f"f.{sha256[:16]}.part")
    part.write_bytes((tmp_path / "f").read_bytes()[:MIB])
    mine = Path("g.0123456789abcdef.part")
    mine.write_text("of another file")
    (tmp_path / "f").write_bytes(new := os.urandom(MIB))
    assert cnet("data", "cp", str(tmp_path / "f"), "data://k/f").code == 0
    assert cnet("data", "get", "k").code == 0
    assert Path("f").read_bytes() == new
    assert not part.exists() and mine.exists()


def test_copies_into_data(cnet: Cnet, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("one")
    cnet("data", "put", str(tmp_path / "f"), "--key", "rw", "--access", "readwrite")
    assert cnet("data", "cp", str(tmp_path / "f"), "data://rw/sub/g").code == 0
    assert cnet("data", "cp", "data://rw/sub/g", "data://rw/h").out == "data://rw/h  3 bytes\n"
    assert cnet("data", "cp", str(tmp_path / "f"), "data://new").code == 0
    assert [file["path"] for file in cnet("data", "ls", "rw", "--json").json] == ["f", "h", "sub/g"]
    refused = cnet("data", "cp", str(tmp_path / "f"), "data://new/x")
    assert refused.code == 5 and "readonly" in refused.err
    assert cnet("data", "rm", "data://rw/h").code == 0
    assert [file["path"] for file in cnet("data", "ls", "rw", "--json").json] == ["f", "sub/g"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("put", "nowhere"), 2, "nowhere"),
        (("put", "."), 2, "holds no file"),
        (("get", "nothing"), 3, "nothing"),
        (("ls", "nothing"), 3, "nothing"),
        (("rm", "nothing"), 3, "nothing"),
        (("cp", "a", "b"), 2, "data://"),
        (("cp", "data://a", "data://b"), 2, "KEY/PATH"),
        (("get", "data://"), 2, "names no data"),
    ],
)
def test_what_cannot_be_done(cnet: Cnet, arguments: tuple[str, ...], code: int, says: str) -> None:
    result = cnet("data", *arguments)
    assert (result.code, result.out) == (code, ""), result.err
    assert says in result.err and result.err.startswith("error: ")


def test_gone_is_forgiven(cnet: Cnet) -> None:
    assert cnet("data", "rm", "-f", "nothing").code == 0
