"""Where a container engine may listen."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from cnet.errors import ConfigError

UNIX = "unix://"


def candidates(configured: str | None, env: Mapping[str, str] | None = None) -> list[str]:
    """Addresses to try, best first: the configured one, `DOCKER_HOST`, or the usual sockets.

    Only sockets that exist are named. Raises ConfigError for an address that cannot be used.
    """
    env = os.environ if env is None else env
    if configured is not None:
        return [_checked("docker.host", configured)]
    if given := env.get("DOCKER_HOST"):
        return [_checked("DOCKER_HOST", given)]
    return [f"{UNIX}{path}" for path in usual_sockets(env) if path.is_socket()]


def usual_sockets(env: Mapping[str, str]) -> list[Path]:
    """Those of a rootful and a rootless Docker, of Docker Desktop and of Podman."""
    home = Path(env.get("HOME") or "/")
    runtime = Path(env.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    return [
        Path("/var/run/docker.sock"),
        runtime / "docker.sock",
        home / ".docker/run/docker.sock",
        home / ".docker/desktop/docker.sock",
        Path("/run/podman/podman.sock"),
        runtime / "podman/podman.sock",
    ]


def _checked(source: str, address: str) -> str:
    parts = urlsplit(address)
    try:
        usable = (parts.scheme == "unix" and address.removeprefix(UNIX).startswith("/")) or (
            parts.scheme in {"tcp", "http"} and bool(parts.hostname and parts.port)
        )
    except ValueError:  # a port that is no number
        usable = False
    if not usable:
        raise ConfigError(f"{source}: {address!r} is neither unix:///path nor tcp://host:port")
    return address
