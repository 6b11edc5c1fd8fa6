"""Links between agents: connections that carry frames late, twice, out of order or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cnet.cluster.frames import Frame
from cnet.register.view import LinkRole
from cnet.simulator.machine import Machine
from cnet.simulator.timeline import Timeline

if TYPE_CHECKING:
    from cnet.simulator.agent import Agent

SILENCE_S = (1.6, 3.3)
"""After how many silent seconds pings show that a link is lost."""
REDIAL_S = (0.1, 2.0)


@dataclass(frozen=True, slots=True)
class Weather:
    """How frames fare on all links."""

    least_delay_s: float = 0.0002
    most_delay_s: float = 0.005
    loss: float = 0.0
    doubling: float = 0.0
    reordering: float = 0.0


@dataclass(slots=True, eq=False)
class Connection:
    """One opening of a link; each end learns at its own time that it is up, or lost."""

    up: set[str] = field(default_factory=set)
    arrives: dict[str, float] = field(default_factory=dict)
    """by receiving end: when the last frame under way arrives"""


@dataclass(slots=True, eq=False)
class Link:
    """A pair of machines whose agents keep a connection; `dialler` opens it."""

    dialler: Machine
    answerer: Machine
    parental: bool
    """the answerer is the dialler's parent; else they are peers"""
    connection: Connection | None = None
    blocked: set[str] = field(default_factory=set)
    """receiving ends that nothing reaches"""
    blocks: int = 0

    def other(self, machine: Machine) -> Machine:
        """The far end."""
        return self.answerer if machine is self.dialler else self.dialler

    def role_seen_by(self, machine: Machine) -> LinkRole:
        """What the far end is to a machine's agent."""
        if not self.parental:
            return "peer"
        return "parent" if machine is self.dialler else "child"


class Network:
    """All links."""

    def __init__(self, timeline: Timeline) -> None:
        self.links: list[Link] = []
        self.weather = Weather()
        self._timeline = timeline
        self._of: dict[str, dict[str, Link]] = {}

    def join(self, dialler: Machine, answerer: Machine, *, parental: bool) -> Link:
        """Configure a link."""
        link = Link(dialler, answerer, parental)
        self.links.append(link)
        self._of.setdefault(dialler.node_id, {})[answerer.node_id] = link
        self._of.setdefault(answerer.node_id, {})[dialler.node_id] = link
        return link

    def links_of(self, machine: Machine) -> list[Link]:
        """Those of one machine, in a fixed order."""
        return list(self._of.get(machine.node_id, {}).values())

    # --- what agents do ------------------------------------------------------------------------

    def agent_starts(self, agent: Agent) -> None:
        """Dial, and be dialled."""
        for link in self.links_of(agent.machine):
            if link.dialler is agent.machine:
                self._redial(link, agent)

    def agent_dies(self, machine: Machine, *, silently: bool) -> None:
        """Connections break: at once when the system closes them, by silence when it is gone."""
        for link in self.links_of(machine):
            connection = link.connection
            if connection is None:
                continue
            connection.up.discard(machine.node_id)
            other = link.other(machine)
            if silently or other.node_id in link.blocked:
                self._notice_silence(link, connection, other)
            else:
                self._timeline.after(self._delay(), self._lose, link, connection, other)

    def agent_freezes(self, machine: Machine) -> None:
        """Nothing is said any more; the far ends notice."""
        for link in self.links_of(machine):
            if link.connection is not None:
                self._notice_silence(link, link.connection, link.other(machine))

    def transmit(self, sender: Machine, to: str, frame: Frame) -> None:
        """Send over a link that is up at this end."""
        link = self._of[sender.node_id][to]
        connection = link.connection
        if connection is None or sender.node_id not in connection.up or to in link.blocked:
            return
        weather = self.weather
        if self._timeline.happens(weather.loss):
            return
        self._deliver_later(link, connection, to, frame)
        if self._timeline.happens(weather.doubling):
            self._deliver_later(link, connection, to, frame)

    def _deliver_later(self, link: Link, connection: Connection, to: str, frame: Frame) -> None:
        moment = self._timeline.now + self._delay()
        if self._timeline.happens(self.weather.reordering):
            moment += self._timeline.between(0, 2)
        else:
            moment = max(moment, connection.arrives.get(to, 0.0))
            connection.arrives[to] = moment
        self._timeline.after(moment - self._timeline.now, self._arrive, link, connection, to, frame)

    def _arrive(self, link: Link, connection: Connection, to: str, frame: Frame) -> None:
        receiver = link.dialler if link.dialler.node_id == to else link.answerer
        if to in link.blocked or receiver.agent is None:
            return
        receiver.agent.handle(self._receive, link, connection, receiver, frame)

    def _receive(
        self, link: Link, connection: Connection, receiver: Machine, frame: Frame
    ) -> None:
        if receiver.agent is not None and receiver.node_id in connection.up:
            receiver.agent.exchange.receive(link.other(receiver).node_id, frame)

    # --- connections ---------------------------------------------------------------------------

    def _redial(self, link: Link, agent: Agent) -> None:
        agent.after(self._timeline.between(*REDIAL_S), self._dial, link, agent)

    def _dial(self, link: Link, agent: Agent) -> None:
        connection = link.connection
        if connection is not None and link.dialler.node_id in connection.up:
            return
        far = link.answerer.agent
        if far is None or far.frozen or link.blocked:
            self._redial(link, agent)
            return
        connection = link.connection = Connection()
        there = self._delay()
        back = there + self._delay()
        # Whatever the far end says next arrives behind its greeting.
        connection.arrives = {
            link.answerer.node_id: self._timeline.now + there,
            link.dialler.node_id: self._timeline.now + back,
        }
        self._timeline.after(there, self._greet, link, connection, link.answerer)
        self._timeline.after(back, self._greet, link, connection, link.dialler)
        agent.after(back + 3.0, self._check_dialled, link, connection, agent)

    def _check_dialled(self, link: Link, connection: Connection, agent: Agent) -> None:
        if link.connection is connection and len(connection.up) < 2:
            for machine in (link.dialler, link.answerer):
                self._lose(link, connection, machine)
            self._redial(link, agent)

    def _greet(self, link: Link, connection: Connection, machine: Machine) -> None:
        if link.connection is connection and machine.agent is not None and not link.blocked:
            machine.agent.handle(self._open, link, connection, machine)

    def _open(self, link: Link, connection: Connection, machine: Machine) -> None:
        agent = machine.agent
        if link.connection is not connection or agent is None:
            return
        other = link.other(machine)
        connection.up.add(machine.node_id)
        wants_all = link.parental and machine is link.answerer and other.escalates
        agent.exchange.link_up(other.node_id, link.role_seen_by(machine), wants_all=wants_all)

    def _lose(self, link: Link, connection: Connection, machine: Machine) -> None:
        """One end gives a connection up, and the other end sees it closed, or silent."""
        agent = machine.agent
        if agent is not None:
            agent.handle(self._close, link, connection, machine)

    def _close(self, link: Link, connection: Connection, machine: Machine) -> None:
        agent = machine.agent
        if agent is None or machine.node_id not in connection.up:
            return
        connection.up.discard(machine.node_id)
        other = link.other(machine)
        if link.connection is connection or other.node_id not in agent.exchange.links():
            agent.exchange.link_down(other.node_id)
        if other.node_id in connection.up:
            if other.node_id in link.blocked:
                self._notice_silence(link, connection, other)
            else:
                self._timeline.after(self._delay(), self._lose, link, connection, other)
        if machine is link.dialler:
            self._redial(link, agent)

    def _notice_silence(self, link: Link, connection: Connection, machine: Machine) -> None:
        blocks = link.blocks
        self._timeline.after(
            self._timeline.between(*SILENCE_S), self._silent, link, connection, machine, blocks
        )

    def _silent(self, link: Link, connection: Connection, machine: Machine, blocks: int) -> None:
        other = link.other(machine)
        talks = other.agent is not None and not other.agent.frozen
        if (
            talks
            and other.node_id in connection.up
            and machine.node_id not in link.blocked
            and link.blocks == blocks
        ):
            return  # it was heard again in time
        self._lose(link, connection, machine)

    # --- faults --------------------------------------------------------------------------------

    def cut(self, link: Link, ends: tuple[Machine, ...]) -> None:
        """Nothing reaches these ends any more."""
        link.blocks += 1
        for machine in ends:
            link.blocked.add(machine.node_id)
            if link.connection is not None:
                self._notice_silence(link, link.connection, machine)

    def heal(self, link: Link) -> None:
        """Frames pass again; a connection that nobody has given up goes on."""
        link.blocked.clear()

    def flap(self, link: Link) -> None:
        """The connection breaks."""
        if link.connection is not None:
            for machine in (link.dialler, link.answerer):
                self._timeline.after(self._delay(), self._lose, link, link.connection, machine)

    def _delay(self) -> float:
        return self._timeline.between(self.weather.least_delay_s, self.weather.most_delay_s)
