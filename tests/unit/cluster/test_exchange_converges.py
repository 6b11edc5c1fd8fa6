"""Whatever happens to links and frames, in the end every view is what the policy says."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.unit.cluster.network import Edge, Network
from tests.unit.cluster.policy import hops_of, type_of

NAMES = tuple("abcdef")


@st.composite
def topologies(draw: st.DrawFn) -> Network:
    """Trees with peers: a parent stands earlier in the alphabet; a pair has one link."""
    names = NAMES[: draw(st.integers(2, len(NAMES)))]
    edges = []
    for index, name in enumerate(names):
        parent = draw(st.none() | st.sampled_from(names[:index])) if index else None
        if parent is not None:
            edges.append(Edge(name, parent))
        others = draw(st.frozensets(st.sampled_from(names[:index]))) if index else frozenset()
        edges.extend(Edge(name, other, peers=True) for other in sorted(others - {parent}))
    chosen = st.frozensets(st.sampled_from(names))
    return Network(
        edges,
        nodes=names,
        escalate=draw(chosen),
        share=draw(chosen),
        seed=draw(st.integers(0, 2**16)),
    )


class Convergence(RuleBasedStateMachine):
    """Breaks what can break, then lets it heal and compares."""

    network: Network
    restarted = False

    @initialize(network=topologies())
    def start(self, network: Network) -> None:
        self.network = network
        network.connect_all()
        network.settle()
        self.compare()

    @precondition(lambda self: self.network.edges)
    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        self.network.connect(data.draw(st.sampled_from(self.network.edges)))

    @precondition(lambda self: self.network.edges)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        self.network.disconnect(data.draw(st.sampled_from(self.network.edges)))

    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        self.network.change(data.draw(st.sampled_from(sorted(self.network.sites))))

    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        self.network.restart(data.draw(st.sampled_from(sorted(self.network.sites))))
        self.restarted = True

    @rule(most=st.integers(1, 8), loss=st.sampled_from([0.0, 0.3]), swap=st.booleans())
    def deliver_badly(self, most: int, loss: float, swap: bool) -> None:
        self.network.flush()
        self.network.deliver(most=most, loss=loss, double=0.2, swap=swap)

    @rule(seconds=st.floats(0.1, 6))
    def tick(self, seconds: float) -> None:
        self.network.now += seconds
        for site in self.network.sites.values():
            site.exchange.tick()

    @rule()
    def heal_frames(self) -> None:
        """Frames arrive again; the links are as they are."""
        self.network.heal()
        self.compare()

    def teardown(self) -> None:
        if not hasattr(self, "network"):
            return
        self.network.connect_all()
        self.network.heal()
        self.restarted = False
        self.compare()
        self.messages_arrive()

    def compare(self) -> None:
        """Every view against the permitted ways over the links that are up.

        An agent that has restarted has forgotten what lost links told, which others may need to
        know what is below: then only a network with all links up has one right answer.
        """
        network = self.network
        whole = network.up == set(network.edges)
        if self.restarted and not whole:
            return
        right = hops_of(network, network.up)
        once = hops_of(network, network.edges)
        for name, site in network.sites.items():
            view = site.exchange.view
            known = {node.node_id: node for node in view.nodes()}
            assert set(known) == {node for agent, node in once if agent == name}
            for node_id, node in known.items():
                hops = right.get((name, node_id))
                assert node.reachable == (hops is not None), (name, node_id, node, hops)
                if hops is None:
                    assert view.route(node_id) is None
                    continue
                other = network.sites[node_id]
                assert node.hops == hops, (name, node)
                assert node.state.version == (other.incarnation, other.seq), (name, node)
                if whole:
                    assert node.node_type == type_of(network, name, node_id) or (
                        node.node_type in {"peer", "parent"}
                        and type_of(network, name, node_id) == "other"
                    )

    def messages_arrive(self) -> None:
        """Along the ways of the views, and back the way they came."""
        network = self.network
        for name, site in network.sites.items():
            for node in list(site.exchange.view.nodes()):
                other = network.sites[node.node_id]
                assert site.exchange.post(node.node_id, "there")
                network.settle()
                assert other.received[-1] == (name, "there")
                assert other.exchange.post(name, "back")
                network.settle()
                assert site.received[-1] == (node.node_id, "back")


TestConvergence = Convergence.TestCase
TestConvergence.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
