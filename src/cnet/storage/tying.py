"""Which object store a catalogue has bytes in: noted in it, so that no setting can part the two.

Each catalogue has a folder of its own there, named by an id: nodes may share bucket and prefix, and
a sweep never touches what another node stored.
"""

from __future__ import annotations

import sqlite3
import uuid
from functools import partial
from typing import Final

from cnet.errors import ConfigError
from cnet.storage.catalog import Catalog
from cnet.storage.place import Place

PLACE: Final = "place"
ID: Final = "place_id"
_ANYTHING: Final = (
    "SELECT 1 FROM files UNION ALL SELECT 1 FROM parts UNION ALL SELECT 1 FROM garbage LIMIT 1"
)


async def tie(catalog: Catalog, place: Place | None) -> str | None:
    """The id of the catalogue at the place; None where the bytes are on its own disk.

    Raises ConfigError when it has bytes somewhere else.
    """
    wanted = None if place is None else str(place)
    known = await catalog.read(_known)
    if known is None or known[0] != wanted:
        known = await catalog.write(partial(_tie, wanted=wanted)) if (known or wanted) else None
    return None if known is None else known[1]


def _known(connection: sqlite3.Connection) -> tuple[str, str] | None:
    rows = dict(
        connection.execute(
            "SELECT key, value FROM meta WHERE key IN (?, ?)", (PLACE, ID)
        ).fetchall()
    )
    return (rows[PLACE], rows[ID]) if PLACE in rows else None


def _tie(connection: sqlite3.Connection, wanted: str | None) -> tuple[str, str] | None:
    known = _known(connection)
    if known is not None and known[0] != wanted:
        if connection.execute(_ANYTHING).fetchone():
            field, where = ("type", "its own disk") if wanted is None else ("s3", wanted)
            raise ConfigError(
                f"storage.{field}: this store has files in {known[0]}, and {where} is configured; "
                "set it back, or give storage.sqlite.data_path another folder for a new store"
            )
        connection.execute("DELETE FROM meta WHERE key IN (?, ?)", (PLACE, ID))
        known = None
    if known is None and wanted is not None:
        known = wanted, f"cnet-{uuid.uuid4()}"
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)", [(PLACE, known[0]), (ID, known[1])]
        )
    return known
