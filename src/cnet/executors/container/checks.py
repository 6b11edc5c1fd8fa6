"""What is refused before a container is made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnet.errors import SpecError
from cnet.executors.container.config import Volume
from cnet.executors.container.creating import MIN_MEMORY_BYTES
from cnet.model.workload import WorkloadSpec

if TYPE_CHECKING:
    from aiodocker import Docker


def require_possible(spec: WorkloadSpec) -> None:
    """Raises SpecError for what beside `config` cannot be had with containers."""
    if spec.run_as is not None:
        raise SpecError("run_as: not of a container; give config.user", field="run_as")
    if 0 < spec.requirements.memory < MIN_MEMORY_BYTES:
        raise SpecError(
            f"requirements.memory: a container needs {MIN_MEMORY_BYTES} bytes at least, or 0 for "
            "no limit",
            field="requirements.memory",
        )


def resolved(volumes: Sequence[Volume], roots: Sequence[Path]) -> list[Volume]:
    """With folders themselves in the place of links to them. Blocking.

    Raises SpecError for a folder that is not below one of `roots`.
    """
    allowed = [os.path.realpath(root) for root in roots]
    found = []
    for volume in volumes:
        if volume.host_path is None:  # a volume of the engine, or stored data
            found.append(volume)
            continue
        real = Path(os.path.realpath(volume.host_path))
        # The same answer for what is outside as for what is not there: nothing is told of it.
        if not any(real.is_relative_to(root) for root in allowed) or not _is_there(real):
            raise _forbidden(volume.host_path, any_allowed=bool(allowed))
        found.append(volume.model_copy(update={"host_path": str(real)}))
    return found


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long a name, or a folder that may not be looked into
        return False


def _forbidden(path: str, *, any_allowed: bool) -> SpecError:
    field = "config.volumes"
    if any_allowed:
        sentence = f"{path!r} is not there below one of docker.volume_roots of this node"
    else:
        sentence = (
            f"{path!r}: this node gives no folders to containers; its operator may allow some with "
            "docker.volume_roots"
        )
    return SpecError(f"{field}: {sentence}", field=field)


async def require_network(network: str, client: Docker) -> None:
    """Raises SpecError unless the engine has it."""
    names = sorted(each["Name"] for each in await client.networks.list())
    if network not in names:
        raise SpecError(
            f"config.network: {network!r} is not one of {', '.join(names)}", field="config.network"
        )
