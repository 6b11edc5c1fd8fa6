"""Ports of containers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnet.executors.base import Task, WantedPort
from cnet.executors.container.config import ContainerConfig


class PortPublisher:
    """Implements `PublishesPorts`."""

    def wanted_ports(self, config: ContainerConfig) -> Sequence[WantedPort]:
        """See `PublishesPorts`."""
        return [
            WantedPort(
                host=each.host_ip,
                port=each.host_port,
                protocol=each.protocol,
                field="config.ports",
            )
            for each in config.ports
        ]

    def published(self, task: Task) -> Sequence[dict[str, Any]]:
        """See `PublishesPorts`."""
        config: ContainerConfig = task.config
        return [
            {**wanted.model_dump(), "host_port": port}
            for wanted, port in zip(config.ports, task.ports, strict=True)
        ]

    def endpoint(self, task: Task) -> str | None:
        """The first TCP port, as an HTTP address; see `PublishesPorts`."""
        for port in self.published(task):
            if port["protocol"] == "tcp":
                return f"http://{_in_url(port['host_ip'])}:{port['host_port']}"
        return None


def _in_url(host: str) -> str:
    host = "localhost" if host in {"0.0.0.0", "::"} else host  # noqa: S104
    return f"[{host}]" if ":" in host else host
