"""Where the bytes of a store are when they are in an object store: a file beside the catalogue.

The agent writes it from its settings. Gateways and fetches open the same folder and find it there,
so that none of it, and no secret, stands in a command line.
"""

from __future__ import annotations

import configparser
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from cnet._support.files import write_atomic
from cnet.errors import ConfigError

FILE: Final = "s3.json"
_SECTION: Final = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What requests to the object store are signed with."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A bucket, and the way to it."""

    bucket: str
    prefix: str
    endpoint: str | None
    """None: Amazon's in the region"""
    region: str
    path_style: bool
    allow_http: bool
    credentials_file: str | None
    keys: Keys | None
    """of the agent's environment; None where there is a file, or the machine has a role"""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def write_place(root: Path, place: Place | None) -> None:
    """Tell all who open the store below `root`; None: the bytes are there. Raises OSError."""
    if place is None:
        (root / FILE).unlink(missing_ok=True)
    else:
        write_atomic(root / FILE, orjson.dumps(asdict(place)))


def read_place(root: Path) -> Place | None:
    """What was written last. Raises ConfigError."""
    path = root / FILE
    try:
        record: dict[str, Any] = orjson.loads(path.read_bytes())
        keys = record["keys"]
        return Place(**record | {"keys": None if keys is None else Keys(**keys)})
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"storage: {path}: {error.strerror}") from error
    except (orjson.JSONDecodeError, TypeError, KeyError):
        # Its content may be secret: no cause.
        raise ConfigError(f"storage: {path} is damaged; the agent's next start mends it") from None


def read_credentials(path: Path) -> Keys:
    """The section `default` of a file as AWS's tools have it. Raises ConfigError."""
    what = f"storage.s3.credentials_file: {path}"
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigError(f"{what}: others may read this file; it must have mode 0600")
        parser.read_string(path.read_text(encoding="utf-8"))
        found = dict(parser.items(_SECTION))
    except OSError as error:
        raise ConfigError(f"{what}: {error.strerror}") from error
    except (configparser.Error, UnicodeDecodeError):  # either quotes what may be secret
        raise ConfigError(f"{what}: must have a section [{_SECTION}] as AWS's tools do") from None
    missing = [
        name for name in ("aws_access_key_id", "aws_secret_access_key") if not found.get(name)
    ]
    if missing:
        raise ConfigError(f"{what}: [{_SECTION}] lacks {' and '.join(missing)}")
    return Keys(
        access_key_id=found["aws_access_key_id"],
        secret_access_key=found["aws_secret_access_key"],
        session_token=found.get("aws_session_token"),
    )
