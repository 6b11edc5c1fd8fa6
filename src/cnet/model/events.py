"""What the event stream tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEvent:
    """One line of the event stream; `seq` only grows: by one, and by more over a restart."""

    seq: int
    time: float
    """Unix seconds"""
    event: str
    """`workload` or `resources`"""
    workload_id: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
