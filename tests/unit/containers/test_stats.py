"""What an engine counts, in both versions of control groups."""

from __future__ import annotations

from typing import Any

import pytest

from cnet.executors.container.stats import usage_of
from cnet.supervision import Usage

CPU = {"cpu_usage": {"total_usage": 3_500_000_000, "percpu_usage": [2_000_000_000, 1_500_000_000]}}
NETWORKS = {"eth0": {"rx_bytes": 10, "tx_bytes": 1}, "eth1": {"rx_bytes": 20, "tx_bytes": 2}}


@pytest.mark.parametrize(
    ("memory", "words"),
    [
        (
            {"usage": 100, "stats": {"total_inactive_file": 30, "inactive_file": 1}},
            ("Read", "Write"),
        ),
        ({"usage": 100, "stats": {"inactive_file": 30}}, ("read", "write")),
    ],
)
def test_all_is_summed(memory: dict[str, Any], words: tuple[str, str]) -> None:
    blocks = [
        {"major": major, "op": op, "value": value}
        for major in (8, 9)
        for op, value in zip((*words, "Total"), (5, 7, 12), strict=True)
    ]
    stats = {
        "cpu_stats": CPU,
        "memory_stats": memory,
        "pids_stats": {"current": 4},
        "networks": NETWORKS,
        "blkio_stats": {"io_service_bytes_recursive": blocks},
    }
    assert usage_of(stats) == Usage(
        cpu_s=3.5,
        rss_bytes=70,
        processes=4,
        received_bytes=30,
        sent_bytes=3,
        read_bytes=10,
        written_bytes=14,
    )


def test_what_is_not_counted_is_unknown() -> None:
    stats = {"cpu_stats": CPU, "blkio_stats": {"io_service_bytes_recursive": None}}
    assert usage_of(stats) == Usage(cpu_s=3.5, rss_bytes=0, processes=0)
