"""Where a container engine may listen, and how TLS is spoken with it."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cnet.errors import ConfigError
from cnet.executors.container.connecting import UNIX, Address

_TLS_SCHEMES = frozenset({"tcp", "https"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Certificates in PEM; without `verify` the engine may be anybody."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    verify: bool = True

    def context(self, source: str) -> ssl.SSLContext:
        """Raises ConfigError that begins with `source`. Blocking."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if not self.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except OSError as error:  # ssl.SSLError is one
            files = ", ".join(str(file) for file in (self.ca, self.cert, self.key) if file)
            raise ConfigError(f"{source}: {files}: {error.strerror or error}") from error
        return context


def candidates(
    configured: str | None, env: Mapping[str, str] | None = None, *, tls: TlsFiles | None = None
) -> list[Address]:
    """Addresses to try, best first: the configured one, `DOCKER_HOST`, or the usual sockets.

    Only sockets that exist are named. `tls` goes with `configured`; with `DOCKER_HOST` go
    `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`. Raises ConfigError for what cannot be used.
    """
    env = os.environ if env is None else env
    if configured is not None:
        return [_checked("docker.host", configured, tls, "docker.tls")]
    if given := env.get("DOCKER_HOST"):
        return [_checked("DOCKER_HOST", given, _tls_of(env), "DOCKER_CERT_PATH")]
    return [Address(f"{UNIX}{path}") for path in usual_sockets(env) if path.is_socket()]


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


def _tls_of(env: Mapping[str, str]) -> TlsFiles | None:
    """As the clients of Docker understand it: a folder of certificates is TLS, checked or not."""
    folder, verify = env.get("DOCKER_CERT_PATH"), bool(env.get("DOCKER_TLS_VERIFY"))
    if not folder and not verify:
        return None
    place = Path(folder) if folder else Path(env.get("HOME") or "/") / ".docker"
    return TlsFiles(
        ca=place / "ca.pem", cert=place / "cert.pem", key=place / "key.pem", verify=verify
    )


def _checked(source: str, url: str, tls: TlsFiles | None, source_of_tls: str) -> Address:
    parts = urlsplit(url)
    try:
        usable = (parts.scheme == "unix" and url.removeprefix(UNIX).startswith("/")) or (
            parts.scheme in {"tcp", "http", "https"} and bool(parts.hostname and parts.port)
        )
    except ValueError:  # a port that is no number
        usable = False
    if not usable:
        raise ConfigError(f"{source}: {url!r} is neither unix:///path nor tcp://host:port")
    if parts.scheme not in _TLS_SCHEMES:
        return Address(url)
    if tls is None and parts.scheme == "https":
        tls = TlsFiles()
    return Address(url, None if tls is None else tls.context(source_of_tls))
