"""Conversions kept in a folder, so that the next start needs neither scikit-learn nor skl2onnx.

A conversion belongs to one content of a model file, one set of grants and one version of each
library. A folder that cannot be used costs time, never the service.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import file_digest, sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

_FORMAT = "1"
_MOST_KEPT = 64
_LIBRARIES = ("scikit-learn", "skl2onnx", "onnxruntime", "numpy")
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """An ONNX file, and what is known of it."""

    content: bytes
    about: Mapping[str, Any]


class ConversionCache:
    """The conversions below `folder`; None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def key(self, path: Path, *, trusted: Sequence[str]) -> str:
        """Names the conversion of the file at `path`."""
        parts = [_FORMAT, *(f"{name} {_version(name)}" for name in _LIBRARIES), *sorted(trusted)]
        with path.open("rb") as stream:
            parts.append(file_digest(stream, "sha256").hexdigest())
        return sha256("\n".join(parts).encode()).hexdigest()[:40]

    def find(self, key: str) -> Kept | None:
        """What was kept, if it is whole."""
        if self._folder is None:
            return None
        try:
            about = json.loads((self._folder / f"{key}.json").read_bytes())
            content = (self._folder / f"{key}.onnx").read_bytes()
            whole = isinstance(about, dict) and about.get("sha256") == sha256(content).hexdigest()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _LOGGER.warning("the kept conversion cannot be read: %s", error)
            return None
        return Kept(content, about) if whole else None

    def keep(self, key: str, content: bytes, about: Mapping[str, Any]) -> None:
        """Keep a conversion; the oldest of many go."""
        if self._folder is None:
            return
        told = json.dumps({**about, "sha256": sha256(content).hexdigest()}).encode()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _replace(self._folder / f"{key}.onnx", content)
            _replace(self._folder / f"{key}.json", told)
            self._prune()
        except OSError as error:
            _LOGGER.warning("the conversion is not kept: %s", error)

    def _prune(self) -> None:
        if self._folder is None:
            return
        kept = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for path in kept[:-_MOST_KEPT]:
            for each in (path, path.with_suffix(".onnx")):
                with suppress(FileNotFoundError):
                    each.unlink()


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all: another service may read it meanwhile."""
    with NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as stream:
        try:
            stream.write(content)
        except OSError:
            Path(stream.name).unlink()
            raise
    Path(stream.name).replace(path)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
