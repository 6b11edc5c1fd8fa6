"""Stored data as read-only volumes of containers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import anyio.to_thread

from cnet.errors import SpecError
from cnet.executors.base import Task
from cnet.executors.container.config import ContainerConfig
from cnet.executors.data_refs import Input, parse_ref
from cnet.executors.inputs import Inputs, discard

FIELD = "config.volumes"
FOLDER = "inputs"
"""In the folder of a workload; only the present run has one."""
ROOTS = frozenset({"", "0", "root"})
READABLE_FILE, READABLE_FOLDER = 0o444, 0o755


class DataVolumes:
    """Places data below the folders of workloads; `inputs` is None where the node stores none."""

    def __init__(self, root: Path, inputs: Inputs | None) -> None:
        self._root = root
        self._inputs = inputs

    async def require(self, config: ContainerConfig) -> None:
        """At a submit: raises SpecError when it is known that some of them are nowhere."""
        if wanted := _inputs_of(config):
            await self._usable().require(wanted)

    async def fetch(
        self, task: Task, *, user: str, again: bool, tell: Callable[[str], None]
    ) -> None:
        """Bring them, readable for `user` (as the engine takes it) in the container.

        `again`: those that the run before had will do, also when nobody has them any more.
        """
        wanted = _inputs_of(task.config)
        folder = self._root / task.workload_id / FOLDER
        if not wanted or (again and await anyio.Path(folder).exists()):
            return
        await anyio.Path(folder.parent).mkdir(mode=0o700, parents=True, exist_ok=True)
        # Names of the very files that are stored will do for root, who may read them and, as the
        # mounts are read-only, not write.
        is_root = user.partition(":")[0] in ROOTS
        await self._usable().place(wanted, folder, owner=task.owner, linked=is_root, tell=tell)
        if not is_root:
            await anyio.to_thread.run_sync(_let_all_read, folder)

    async def release(self, task: Task) -> None:
        """No container follows. Raises OSError."""
        if _inputs_of(task.config):
            await anyio.to_thread.run_sync(discard, self._root / task.workload_id / FOLDER)

    def places(self, task: Task) -> dict[str, str]:
        """Where each is on this node, by its path in the container."""
        config: ContainerConfig = task.config
        folder = self._root / task.workload_id / FOLDER
        return {
            volume.container_path: str(folder / str(number))
            for number, volume in enumerate(config.volumes)
            if volume.data is not None
        }

    def _usable(self) -> Inputs:
        if self._inputs is None:
            raise SpecError(f"{FIELD}: this node stores no data", field=FIELD)
        return self._inputs


def _inputs_of(config: ContainerConfig) -> Sequence[Input]:
    return [
        Input(ref=parse_ref(volume.data), target=PurePosixPath(str(number)), field=FIELD)
        for number, volume in enumerate(config.volumes)
        if volume.data is not None
    ]


def _let_all_read(folder: Path) -> None:
    for place in folder.rglob("*"):
        place.chmod(READABLE_FOLDER if place.is_dir() else READABLE_FILE)
