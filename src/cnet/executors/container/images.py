"""Bringing images to the engine."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from cnet.errors import ExecutionError
from cnet.executors.container.config import ContainerConfig
from cnet.executors.container.engine import Engine, EngineError
from cnet.model.resources import MIB

if TYPE_CHECKING:
    from aiodocker import Docker

NOT_FOUND = 404
DOCKER_HUB = "https://index.docker.io/v1/"
"""Under which credentials for names without a registry are kept."""


class Images:
    """The images of one engine; `auth_file` is in the format of `docker login`."""

    def __init__(self, engine: Engine, auth_file: Path | None) -> None:
        self._engine = engine
        self._auth_file = auth_file

    async def has(self, image: str) -> bool:
        """Whether it is there. Raises EngineAwayError, EngineError."""
        try:
            await self._engine.ask(lambda client: client.images.inspect(image))
        except EngineError as error:
            if error.status == NOT_FOUND:
                return False
            raise
        return True

    async def user_of(self, image: str) -> str:
        """As whom it runs unless it is told otherwise. Raises EngineAwayError, EngineError."""
        found = await self._engine.ask(lambda client: client.images.inspect(image))
        return str((found.get("Config") or {}).get("User") or "")

    async def bring(
        self, config: ContainerConfig, *, again: bool, tell: Callable[[str], None]
    ) -> None:
        """See that it is there, as `pull` says; `again`: for a run that was there before.

        `tell` is given a sentence about how far a pull is. Raises EngineAwayError; ExecutionError
        with `image_missing` or `image_pull_failed`.
        """
        if (config.pull != "always" or again) and await self.has(config.image):
            return
        if config.pull == "never":
            raise ExecutionError(missing(config.image), code="image_missing")
        auth = await anyio.to_thread.run_sync(self.credentials, config.image)
        try:
            await self._engine.ask(partial(_pull, config.image, auth, tell), within_s=None)
        except EngineError as error:
            raise ExecutionError(
                f"config.image: {config.image!r} could not be pulled: {error.message}",
                code="image_pull_failed",
            ) from error

    def credentials(self, image: str) -> dict[str, str] | None:
        """What `docker login` has put down for the registry of the image. Blocking.

        Raises ExecutionError (`image_pull_failed`).
        """
        if self._auth_file is None:
            return None
        try:
            known: dict[str, Any] = json.loads(self._auth_file.read_bytes())["auths"]
            entry: dict[str, str] = known.get(registry_of(image)) or {}
            if token := entry.get("identitytoken"):
                return {"identitytoken": token}
            if (packed := entry.get("auth")) is None:
                return None
            user, _, password = base64.b64decode(packed, validate=True).decode().partition(":")
        except OSError as error:
            raise _unusable(f"{self._auth_file}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unusable(f"{self._auth_file} is not as `docker login` writes it") from error
        return {"username": user, "password": password}


async def _pull(
    image: str, auth: dict[str, str] | None, tell: Callable[[str], None], client: Docker
) -> None:
    layers: dict[str, tuple[int, int]] = {}
    steps = client.images.pull(with_registry(image), auth=auth, stream=True)
    async for step in steps:  # raises what the engine says is wrong
        if step.get("status") == "Downloading":
            detail = step["progressDetail"]
            layers[step["id"]] = detail.get("current", 0), detail.get("total", 0)
        came, size = (
            (sum(part) for part in zip(*layers.values(), strict=True)) if layers else (0, 0)
        )
        tell(f"{image}: {came / MIB:.1f} of {size / MIB:.1f} MiB")


def missing(image: str) -> str:
    """A sentence."""
    return f'config.image: {image!r} is not on this node, and "pull" is "never"'


def registry_of(image: str) -> str:
    """The key of its credentials; a first part with a dot, a colon or `localhost` is a host."""
    host = _host(image)
    return DOCKER_HUB if host in {None, "docker.io"} else str(host)


def with_registry(image: str) -> str:
    """The same name with its registry, which the client library wants where it logs in."""
    if _host(image) is not None:
        return image
    return f"docker.io/{image}" if "/" in image else f"docker.io/library/{image}"


def _host(image: str) -> str | None:
    first, slash, _ = image.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return first if is_host else None


def _unusable(sentence: str) -> ExecutionError:
    return ExecutionError(f"docker.registry_auth_file: {sentence}", code="image_pull_failed")
