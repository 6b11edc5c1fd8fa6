"""Which control groups this agent may use, as found once at its start (`cgroup_setup`).

A value with a little reading around it, known to the agent and to the supervising processes, which
receive it as JSON. Groups of single runs are `cgroup_group`'s. Standard library only.
"""

# pathlib would cost every shim memory:
# ruff: noqa: PTH106, PTH112

from __future__ import annotations

import os

CONTROLLERS = ("memory", "cpu", "pids")


class Cgroups:
    """The base group per purpose (`memory`, `cpu`, `pids`, `freezer`, `kill`), or why none.

    `bases` maps a purpose to (version, directory); `problems` the others to a sentence.
    """

    __slots__ = ("bases", "problems")

    def __init__(self, bases: dict[str, tuple[int, str]], problems: dict[str, str]) -> None:
        self.bases = bases
        self.problems = problems

    @classmethod
    def none(cls, why: str) -> Cgroups:
        """No groups at all: limits fall back to `prlimit`, trees are walked to be killed."""
        return cls({}, dict.fromkeys((*CONTROLLERS, "kill"), why))

    def describe(self) -> dict[str, str]:
        """One sentence per limit, for people: how it is enforced here, or why it is not."""
        words = {}
        for purpose in (*CONTROLLERS, "kill"):
            if purpose in self.bases:
                version, path = self.bases[purpose]
                words[purpose] = f"control group version {version} at {path}"
            else:
                fallback = "RLIMIT_DATA instead: " if purpose == "memory" else "not enforced: "
                words[purpose] = fallback + self.problems.get(purpose, "no control groups")
        return words

    def run_directories(self) -> dict[str, list[str]]:
        """The groups that exist now: run id → directories."""
        found: dict[str, list[str]] = {}
        for _, base in set(self.bases.values()):
            for entry in os.scandir(base) if os.path.isdir(base) else ():
                if entry.is_dir(follow_symlinks=False):
                    found.setdefault(entry.name, []).append(entry.path)
        return found

    def remove_bases(self) -> None:
        """Remove the base groups where they are empty; a group in use stays."""
        for _, base in set(self.bases.values()):
            try:
                os.rmdir(base)
            except OSError:
                continue  # still holds a run, or is gone


def write(path: str, text: str) -> None:
    """Write a control file in one call: buffered writes would hide the kernel's refusal."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
