"""From the settings to the object store that holds the bytes of data."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cnet.config import StorageSettings
from cnet.errors import ConfigError
from cnet.storage.place import Keys, Place, read_credentials

_ID = "AWS_ACCESS_KEY_ID"
_SECRET = "AWS_SECRET_ACCESS_KEY"  # noqa: S105  the name of a variable
_TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105


def place_of(settings: StorageSettings, env: Mapping[str, str] | None = None) -> Place | None:
    """Where bytes go; None: to this node's disk. Blocking. Raises ConfigError."""
    s3 = settings.s3
    if settings.type != "s3" or s3.bucket is None:
        return None
    file = None if s3.credentials_file is None else s3.credentials_file.expanduser().absolute()
    if file is not None:
        read_credentials(file)
    return Place(
        bucket=s3.bucket,
        prefix=s3.prefix or "",
        endpoint=s3.endpoint,
        region=s3.region,
        path_style=s3.path_style,
        allow_http=s3.allow_http,
        credentials_file=None if file is None else str(file),
        keys=_keys(os.environ if env is None else env) if file is None else None,
    )


def _keys(env: Mapping[str, str]) -> Keys | None:
    key_id, secret = env.get(_ID), env.get(_SECRET)
    if not key_id and not secret:
        return None
    if not (key_id and secret):
        raise ConfigError(
            f"storage.s3: of {_ID} and {_SECRET} the environment has only one; give both, or "
            "storage.s3.credentials_file"
        )
    return Keys(
        access_key_id=key_id, secret_access_key=secret, session_token=env.get(_TOKEN) or None
    )
