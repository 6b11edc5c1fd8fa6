"""What the coordinator asks of whoever embeds it: the manager, or the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from cnet.delegation.messages import Assign, Message
from cnet.model.resources import Resources
from cnet.model.workload import WorkloadSpec, WorkloadStatus


class Job(Protocol):
    """A workload as far as placing it goes."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def spec(self) -> WorkloadSpec:
        """What is wanted."""
        ...

    @property
    def status(self) -> WorkloadStatus:
        """What is the case; only `World.change` and the lifecycle change it."""
        ...

    @property
    def wanted(self) -> Resources:
        """The room it asks for."""
        ...


J = TypeVar("J", bound=Job)


class World(Protocol[J]):
    """Everything that is not pure. Changes of state are journaled in the order they are asked."""

    def now(self) -> float:
        """Seconds of a clock that never jumps back and counts while the machine sleeps."""
        ...

    def soon(self, call: Callable[[], None]) -> None:
        """Call it in a moment, after what is being done now."""
        ...

    def durably(self, then: Callable[[], None]) -> None:
        """Call `then` once every change so far is on the disk; never if the agent dies first."""
        ...

    def send(self, node_id: str, message: Message) -> bool:
        """Send at once, without any promise; False when it surely did not leave."""
        ...

    def jobs(self) -> Iterable[J]:
        """Every accepted job, own and hosted."""
        ...

    def get(self, job_id: str) -> J | None:
        """The accepted job of that id."""
        ...

    def change(self, job: J, **changes: Any) -> None:
        """Change the status."""
        ...

    def reserve(self, job: J) -> str | None:
        """Take room on this node for a pending job, which is `starting` then; or say why not."""
        ...

    def drive(self, job: J) -> None:
        """Run a job that has room, once that is durable."""
        ...

    def preemptible(self) -> Iterable[tuple[str, int, Resources, float]]:
        """(id, priority, room, started at) of what runs here and may be ended for others."""
        ...

    def node_version(self) -> tuple[int, int]:
        """Version of this node's `NodeState` with every change so far in it."""
        ...

    def admit(self, request: Assign, owner: str, decide: Callable[[J | str], None]) -> None:
        """Check a request from another agent; `decide` gets the job, or why it cannot run here."""
        ...

    def accept(self, job: J) -> None:
        """Take a hosted job into the books and the journal."""
        ...

    def wish(self, job: J, desired: str, then: Callable[[], None]) -> None:
        """Stop, restart (`running`) or delete a hosted job, as a user here would.

        `then` is called once that is durable, or void in the state the job is in.
        """
        ...

    def forget(self, job: J) -> None:
        """Erase an ended job with its traces."""
        ...

    def leased(self, job: J, until: float) -> None:
        """A hosted job may run until `until` (`now` seconds): start it, or let its run go on."""
        ...

    def preempt(self, job: J) -> None:
        """End a job that runs here so that it is queued again."""
        ...


def is_leased(job: Job) -> bool:
    """Whether its owner may start it elsewhere when its node is lost."""
    return job.spec.on_node_loss == "reschedule"
