"""What a workload asks for and what a node has, in exact integers.

CPU is millicores, memory and storage are bytes, GPUs are whole devices. On the wire CPU is a float
of cores (contract 3).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

GIB = 1024**3
MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Resources:
    """A vector of the four resources; never negative."""

    cpu: int = 0
    """millicores"""
    gpu: int = 0
    """devices"""
    memory: int = 0
    """bytes"""
    storage: int = 0
    """bytes"""

    def __post_init__(self) -> None:
        if self.cpu < 0 or self.gpu < 0 or self.memory < 0 or self.storage < 0:
            raise ValueError(f"resources cannot be negative: {self}")

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.cpu + other.cpu,
            self.gpu + other.gpu,
            self.memory + other.memory,
            self.storage + other.storage,
        )

    def __sub__(self, other: Resources) -> Resources:
        """Raises ValueError when `other` does not fit: nothing goes negative unnoticed."""
        return Resources(
            self.cpu - other.cpu,
            self.gpu - other.gpu,
            self.memory - other.memory,
            self.storage - other.storage,
        )

    def minus_floor(self, other: Resources) -> Resources:
        """The difference, with zero where `other` is larger."""
        return Resources(
            max(0, self.cpu - other.cpu),
            max(0, self.gpu - other.gpu),
            max(0, self.memory - other.memory),
            max(0, self.storage - other.storage),
        )

    def fits(self, room: Resources) -> bool:
        """Whether all four fit into `room`."""
        return (
            self.cpu <= room.cpu
            and self.gpu <= room.gpu
            and self.memory <= room.memory
            and self.storage <= room.storage
        )

    def shortfalls(self, room: Resources) -> list[str]:
        """One phrase per resource that does not fit: `memory 1.5 GiB short`."""
        short = self.minus_floor(room)
        return [
            f"{field.name} {in_words(field.name, getattr(short, field.name))} short"
            for field in fields(short)
            if getattr(short, field.name)
        ]

    def to_wire(self) -> dict[str, float | int]:
        """`{cpu: cores, gpu, memory: bytes, storage: bytes}`."""
        return {
            "cpu": self.cpu / 1000,
            "gpu": self.gpu,
            "memory": self.memory,
            "storage": self.storage,
        }


def millicores(cores: float) -> int:
    """Whole millicores for a float of cores, rounded up: what was asked for always fits in it."""
    exact = cores * 1000
    nearest = round(exact)
    # 0.1 * 1000 is 100.00000000000001 for some inputs; only a real remainder rounds up.
    return nearest if abs(exact - nearest) < 1e-6 else int(exact) + 1


def in_words(resource: str, amount: int) -> str:
    """An amount with its unit, for sentences."""
    if resource == "cpu":
        return f"{amount / 1000:g} cores"
    if resource == "gpu":
        return f"{amount} device" + ("s" if amount != 1 else "")
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("KiB", 1024)):
        if amount >= size:
            return f"{amount / size:.3g} {unit}"
    return f"{amount} bytes"
