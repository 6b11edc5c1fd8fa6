"""Our own gateway as the object store of another store."""

from __future__ import annotations

from typing import Any

from cnet.storage.place import Keys, Place
from tests.gateway.gateways import KEY, SECRET, Gateway


def place_at(gateway: Gateway, prefix: str = "", **changes: Any) -> Place:
    """A prefix of its bucket `cnet`."""
    key_id, secret = changes.pop("keys", (KEY, SECRET))
    fields: dict[str, Any] = {
        "bucket": "cnet",
        "prefix": prefix,
        "endpoint": gateway.endpoint,
        "region": "us-east-1",
        "path_style": True,
        "allow_http": True,
        "credentials_file": None,
        "keys": Keys(access_key_id=key_id, secret_access_key=secret),
    }
    return Place(**fields | changes)
