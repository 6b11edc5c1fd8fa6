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
DIAL_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Weather:
    """How frames fare on all links."""

    least_delay_s: float = 0.0002
    most_delay_s: float = 0.005
    loss: float = 0.0
    doubling: float = 0.0
    longest_echo_s: float = 0.0
    reordering: float = 0.0


@dataclass(slots=True, eq=False)
class Connection:
    """One opening of a link."""

    arrives: dict[str, float] = field(default_factory=dict)
    """by receiving end: when the last frame under way arrives"""


@dataclass(slots=True, eq=False)
class Link:
    """A pair of machines whose agents keep a connection; `dialler` opens it."""

    dialler: Machine
    answerer: Machine
    parental: bool
    """the answerer is the dialler's parent; else they are peers"""
    open_at: dict[str, Connection] = field(default_factory=dict)
    """by end: the connection it believes in; each end learns of a change at its own time"""
    blocked: set[str] = field(default_factory=set)
    """receiving ends that nothing reaches"""
    blocks: int = 0
    dials: int = 0

    @property
    def is_up(self) -> bool:
        """Whether both ends believe in the same connection."""
        here = self.open_at.get(self.dialler.node_id)
        return here is not None and here is self.open_at.get(self.answerer.node_id)

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
            link.open_at.pop(machine.node_id, None)
            other = link.other(machine)
            connection = link.open_at.get(other.node_id)
            if connection is None:
                continue
            if silently or other.node_id in link.blocked:
                self._notice_silence(link, connection, other)
            else:
                self._timeline.after(self._delay(), self._lose, link, connection, other)

    def agent_freezes(self, machine: Machine) -> None:
        """Nothing is said any more; the far ends notice."""
        for link in self.links_of(machine):
            other = link.other(machine)
            if other.node_id in link.open_at:
                self._notice_silence(link, link.open_at[other.node_id], other)

    def transmit(self, sender: Machine, to: str, frame: Frame) -> None:
        """Send over a link that is up at this end."""
        link = self._of[sender.node_id][to]
        connection = link.open_at.get(sender.node_id)
        if connection is None or to in link.blocked:
            return
        weather = self.weather
        if self._timeline.happens(weather.loss):
            return
        self._deliver_later(link, connection, to, frame)
        if self._timeline.happens(weather.doubling):
            delay_s = self._timeline.between(0, weather.longest_echo_s)
            self._timeline.after(delay_s, self._arrive, link, connection, to, frame)

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

    def _receive(self, link: Link, connection: Connection, receiver: Machine, frame: Frame) -> None:
        agent = receiver.agent
        if agent is not None and link.open_at.get(receiver.node_id) is connection:
            agent.exchange.receive(link.other(receiver).node_id, frame)

    # --- connections ---------------------------------------------------------------------------

    def _redial(self, link: Link, agent: Agent) -> None:
        link.dials += 1
        agent.after(self._timeline.between(*REDIAL_S), self._dial, link, agent, link.dials)

    def _dial(self, link: Link, agent: Agent, number: int) -> None:
        if link.dials != number or link.dialler.node_id in link.open_at:
            return
        far = link.answerer.agent
        if far is None or far.frozen or link.blocked:
            self._redial(link, agent)
            return
        connection = Connection()
        there = self._delay()
        back = there + self._delay()
        # Whatever an end says next arrives behind its greeting.
        connection.arrives = {
            link.answerer.node_id: self._timeline.now + there,
            link.dialler.node_id: self._timeline.now + back,
        }
        self._timeline.after(there, self._greet, link, connection, link.answerer, far)
        self._timeline.after(back, self._greet, link, connection, link.dialler, agent)
        agent.after(back + DIAL_TIMEOUT_S, self._check_dialled, link, connection, agent)

    def _check_dialled(self, link: Link, connection: Connection, agent: Agent) -> None:
        here = link.open_at.get(link.dialler.node_id)
        there = link.open_at.get(link.answerer.node_id)
        if here is connection and there is connection:
            return
        for machine in (link.dialler, link.answerer):
            self._lose(link, connection, machine)
        if here is None:
            self._redial(link, agent)

    def _greet(self, link: Link, connection: Connection, machine: Machine, agent: Agent) -> None:
        if machine.agent is agent and not link.blocked:
            agent.handle(self._open, link, connection, machine, agent)

    def _open(self, link: Link, connection: Connection, machine: Machine, agent: Agent) -> None:
        other = link.other(machine)
        link.open_at[machine.node_id] = connection
        wants_all = link.parental and machine is link.answerer and other.escalates
        agent.exchange.link_up(other.node_id, link.role_seen_by(machine), wants_all=wants_all)

    def _lose(self, link: Link, connection: Connection, machine: Machine) -> None:
        """One end gives a connection up."""
        agent = machine.agent
        if agent is not None:
            agent.handle(self._close, link, connection, machine, agent)

    def _close(self, link: Link, connection: Connection, machine: Machine, agent: Agent) -> None:
        if link.open_at.get(machine.node_id) is not connection:
            return
        del link.open_at[machine.node_id]
        other = link.other(machine)
        agent.exchange.link_down(other.node_id)
        if link.open_at.get(other.node_id) is connection:
            if other.node_id in link.blocked:
                self._notice_silence(link, connection, other)
            else:
                self._timeline.after(self._delay(), self._lose, link, connection, other)
        if machine is link.dialler:
            self._redial(link, agent)

    def _notice_silence(self, link: Link, connection: Connection, machine: Machine) -> None:
        self._timeline.after(
            self._timeline.between(*SILENCE_S),
            self._silent,
            link,
            connection,
            machine,
            link.blocks,
        )

    def _silent(self, link: Link, connection: Connection, machine: Machine, blocks: int) -> None:
        other = link.other(machine)
        talks = other.agent is not None and not other.agent.frozen
        heard = link.open_at.get(other.node_id) is connection and link.blocks == blocks
        if talks and heard and machine.node_id not in link.blocked:
            return  # it was heard again in time
        self._lose(link, connection, machine)

    # --- faults --------------------------------------------------------------------------------

    def cut(self, link: Link, ends: tuple[Machine, ...]) -> None:
        """Nothing reaches these ends any more."""
        link.blocks += 1
        for machine in ends:
            link.blocked.add(machine.node_id)
            if machine.node_id in link.open_at:
                self._notice_silence(link, link.open_at[machine.node_id], machine)

    def heal(self, link: Link) -> None:
        """Frames pass again; a connection that nobody has given up goes on."""
        link.blocked.clear()

    def flap(self, link: Link) -> None:
        """The connection breaks."""
        for machine in (link.dialler, link.answerer):
            connection = link.open_at.get(machine.node_id)
            if connection is not None:
                self._timeline.after(self._delay(), self._lose, link, connection, machine)

    def _delay(self) -> float:
        return self._timeline.between(self.weather.least_delay_s, self.weather.most_delay_s)
