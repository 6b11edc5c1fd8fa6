"""From what an engine counts of a container to what it uses. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnet.supervision import Usage


def usage_of(stats: Mapping[str, Any]) -> Usage:
    """CPU seconds of all cores together; memory without the part of the page cache that may go.

    What an engine leaves out (a container without a network has none) is None, or 0 where every
    container has it. Control groups of both versions.
    """
    memory = stats.get("memory_stats") or {}
    kept = memory.get("stats") or {}
    cache = kept.get("total_inactive_file", kept.get("inactive_file", 0))
    networks = (stats.get("networks") or {}).values()
    blocks = (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive")
    return Usage(
        cpu_s=stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        rss_bytes=max(0, memory.get("usage", 0) - cache),
        processes=(stats.get("pids_stats") or {}).get("current", 0),
        received_bytes=sum(each["rx_bytes"] for each in networks) if networks else None,
        sent_bytes=sum(each["tx_bytes"] for each in networks) if networks else None,
        read_bytes=_moved(blocks, "read"),
        written_bytes=_moved(blocks, "write"),
    )


def _moved(blocks: list[Mapping[str, Any]] | None, which: str) -> int | None:
    """Over all devices; the versions write `Read` and `read`."""
    if blocks is None:
        return None
    moved: int = sum(each["value"] for each in blocks if each["op"].lower() == which)
    return moved
