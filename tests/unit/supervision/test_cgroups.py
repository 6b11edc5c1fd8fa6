"""Finding and using control groups, tried on a make-believe file system for what is not here.

`Kernel` makes directories with the files a kernel would put there, as far as they are relied on.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cnet.supervision import cgroup_group
from cnet.supervision.cgroup_setup import LEAF, base_name, hierarchies, prepare
from cnet.supervision.cgroups import Cgroups

MIB = 1024 * 1024
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /box /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
HYBRID_OWN = "9:name=systemd:/\n4:memory:/box/inner\n1:cpu,cpuacct:/user\n0::/session\n"


def test_hybrid_layouts_are_parsed_with_bind_mounts_and_joint_controllers() -> None:
    found = hierarchies(HYBRID, HYBRID_OWN)
    assert (found["cpu"].version, found["cpu"].own) == (1, "/sys/fs/cgroup/cpu,cpuacct/user")
    assert found["memory"].own == "/sys/fs/cgroup/memory/inner"
    assert (found["unified"].version, found["unified"].own) == (
        2,
        "/sys/fs/cgroup/unified/session",
    )


class Kernel:
    """A make-believe version 2 hierarchy below a folder."""

    def __init__(self, mount: Path, *, controllers: str = "cpu memory pids") -> None:
        self.mount = mount
        self.controllers = controllers
        self.moved: list[tuple[str, str]] = []
        mount.mkdir()
        self._fill(mount)

    def make(self, path: str) -> None:
        Path(path).mkdir()
        self._fill(Path(path))
        (Path(path) / "cgroup.events").write_text("populated 0\n")
        (Path(path) / "cgroup.kill").write_text("")

    def _fill(self, place: Path) -> None:
        (place / "cgroup.controllers").write_text(self.controllers + "\n")
        for name in ("cgroup.procs", "cgroup.subtree_control", "memory.max", "memory.swap.max"):
            (place / name).write_text("")
        for name in ("cpu.weight", "cpu.max", "pids.max"):
            (place / name).write_text("")

    def prepare(self, root: Path, own: str) -> Cgroups:
        return prepare(
            str(root),
            mountinfo=f"41 31 0:38 / {self.mount} rw - cgroup2 cgroup2 rw\n",
            own_groups=f"0::{own}\n",
            make_directory=self.make,
        )


def test_a_delegated_group_gets_a_leaf_for_the_agent_and_controllers(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "cgroup")
    own = kernel.mount / "service"
    kernel.make(str(own))
    (own / "cgroup.procs").write_text(f"{os.getpid()}\n")
    found = kernel.prepare(tmp_path / "root", "/service")
    base = own / base_name(str(tmp_path / "root"))
    assert found.problems == {}
    assert {purpose: path for purpose, (_, path) in found.bases.items()} == dict.fromkeys(
        ("memory", "cpu", "pids", "kill"), str(base)
    )
    assert (own / LEAF / "cgroup.procs").read_text() == str(os.getpid())
    assert (own / "cgroup.subtree_control").read_text() == "+memory +cpu +pids"
    assert (base / "cgroup.subtree_control").read_text() == "+memory +cpu +pids"
    assert "version 2" in found.describe()["memory"]


def test_an_agent_in_its_leaf_uses_the_group_above(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "cgroup")
    kernel.make(str(kernel.mount / "service"))
    kernel.make(str(kernel.mount / "service" / LEAF))
    found = kernel.prepare(tmp_path / "root", f"/service/{LEAF}")
    base = kernel.mount / "service" / base_name(str(tmp_path / "root"))
    assert found.bases["memory"] == (2, str(base))


def test_strangers_are_not_moved_and_the_top_is_used(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "cgroup")
    own = kernel.mount / "session"
    kernel.make(str(own))
    (own / "cgroup.procs").write_text(f"1\n{os.getpid()}\n")
    found = kernel.prepare(tmp_path / "root", "/session")
    assert not (own / LEAF).exists()
    assert found.bases["memory"] == (2, str(kernel.mount / base_name(str(tmp_path / "root"))))


def test_a_tree_without_controllers_still_kills_and_says_what_is_missing(tmp_path: Path) -> None:
    found = Kernel(tmp_path / "cgroup", controllers="").prepare(tmp_path / "root", "/")
    assert list(found.bases) == ["kill"]
    assert "RLIMIT_DATA instead" in found.describe()["memory"]
    assert "cpu is not passed down" in found.describe()["cpu"]


def test_no_permission_is_a_problem_with_a_reason(tmp_path: Path) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    (tmp_path / "cgroup").mkdir()
    (tmp_path / "cgroup" / "cgroup.controllers").write_text("")
    found = prepare(
        str(tmp_path / "root"),
        mountinfo=f"41 31 0:38 / {tmp_path}/cgroup rw - cgroup2 cgroup2 rw\n",
        own_groups="0::/\n",
        make_directory=refuse,
    )
    assert found.bases == {}
    assert "Permission denied" in found.describe()["memory"]


def test_one_version_2_group_takes_all_limits_and_is_born_into(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "cgroup")
    found = kernel.prepare(tmp_path / "root", "/")
    limits = {"memory_bytes": 64 * MIB, "cpu_weight_millicores": 1000, "pids": 10}
    limits["cpu_quota_millicores"] = 500
    group = cgroup_group.make(found, "run", limits, make_directory=kernel.make)
    directory = Path(found.bases["kill"][1]) / "run"
    assert group.enforced == dict.fromkeys(("memory", "cpu", "pids"), "cgroup_v2")
    assert (group.birth, group.attach) == (str(directory), [])
    written = {
        name: (directory / name).read_text()
        for name in ("memory.max", "memory.swap.max", "cpu.weight", "cpu.max", "pids.max")
    }
    assert written == {
        "memory.max": str(64 * MIB),
        "memory.swap.max": "0",
        "cpu.weight": "39",
        "cpu.max": "50000 100000",
        "pids.max": "10",
    }
    (directory / "memory.events").write_text("low 0\noom 2\noom_kill 3\n")
    assert group.oom_kills() == 3
    group.kill()
    assert (directory / "cgroup.kill").read_text() == "1"


def test_a_refused_limit_falls_back_in_words(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "cgroup")
    found = kernel.prepare(tmp_path / "root", "/")

    def make_without_memory(path: str) -> None:
        kernel.make(path)
        (Path(path) / "memory.max").unlink()

    limits = {"memory_bytes": 64 * MIB, "pids": 10}
    group = cgroup_group.make(found, "run", limits, make_directory=make_without_memory)
    assert group.enforced == {"memory": "rlimit_data", "pids": "cgroup_v2"}
    assert group.oom_kills() == 0


@pytest.mark.parametrize(
    ("millicores", "shares", "weight"),
    [
        (1, "2", "1"),
        (2, "2", "1"),
        (100, "102", "4"),
        (1000, "1024", "39"),
        (10**6, "262144", "10000"),
    ],
)
def test_cpu_weights_follow_docker_and_kubernetes(
    millicores: int, shares: str, weight: str
) -> None:
    limits = {"cpu_weight_millicores": millicores}
    assert cgroup_group.limit_settings(1, limits) == {"cpu": [("cpu.shares", shares)]}
    assert cgroup_group.limit_settings(2, limits) == {"cpu": [("cpu.weight", weight)]}


def test_the_smallest_quota_is_one_millisecond() -> None:
    limits = {"cpu_quota_millicores": 1}
    assert cgroup_group.limit_settings(1, limits)["cpu"][-1] == ("cpu.cfs_quota_us", "1000")
