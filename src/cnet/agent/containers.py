"""Containers of this node: what their executor is told, and when it may clear up."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import anyio

from cnet.config import DockerSettings, Settings
from cnet.executors.container.discovery import TlsFiles
from cnet.executors.container.executor import ContainerSettings
from cnet.manager import Manager

FOLDER = "containers"
"""In the data directory."""


class KnownWorkloads:
    """Ids of all that may have containers here, once there is a manager that has taken them up."""

    def __init__(self) -> None:
        self._manager: Manager | None = None
        self._followed = anyio.Event()

    def follow(self, manager: Manager) -> None:
        """From now on it knows them."""
        self._manager = manager
        self._followed.set()

    async def __call__(self) -> Collection[str]:
        while self._manager is None:
            await self._followed.wait()
        return {it.id for it in self._manager.workloads() if it.status.holds_room}


def _tls(docker: DockerSettings) -> TlsFiles | None:
    if not docker.tls.enabled:
        return None
    files = (docker.tls.ca_file, docker.tls.cert_file, docker.tls.key_file)
    ca, cert, key = (file and file.expanduser() for file in files)
    return TlsFiles(ca=ca, cert=cert, key=key, verify=docker.tls.verify)


def container_settings(
    settings: Settings, data_dir: Path, *, instance: str, known: KnownWorkloads
) -> ContainerSettings | None:
    """None where no containers are to be run."""
    docker = settings.docker
    if not docker.enabled:
        return None
    return ContainerSettings(
        root=data_dir / FOLDER,
        instance=instance,
        host=docker.host,
        tls=_tls(docker),
        volume_roots=tuple(map(Path, docker.volume_roots)),
        registry_auth_file=docker.registry_auth_file and docker.registry_auth_file.expanduser(),
        known=known,
    )
