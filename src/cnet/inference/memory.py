"""What a service asks of the C library's allocator. Without glibc nothing happens.

Inference takes and frees some tens of megabytes with each request, in several threads. By default
glibc keeps one heap a thread, trims them while work goes on (a fifth of the CPU time of a run), and
never returns the rest. One heap for all, returned when the service is idle, is faster and leaves
an idle service at a third of its peak.
"""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8  # malloc.h


def share_one_heap() -> None:
    """Let all threads allocate from one heap; to be called before there is a second thread."""
    mallopt = _function("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def return_free_memory() -> None:
    """Give what is allocated no more back to the system; takes some milliseconds."""
    malloc_trim = _function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _function(name: str) -> ctypes._FuncPointer | None:
    return getattr(ctypes.CDLL(None), name, None)
