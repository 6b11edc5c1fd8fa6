"""Files of users by bucket and key: a SQLite catalogue, and a backend that holds the bytes."""

from cnet.storage.opening import open_store
from cnet.storage.store import NodeStore

__all__ = ["NodeStore", "open_store"]
