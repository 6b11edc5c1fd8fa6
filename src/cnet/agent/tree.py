"""Manager, exchange and links of one agent, each told what it needs of the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnet._support import clock
from cnet.agent.directory import ServiceDirectory
from cnet.cluster.exchange import Exchange
from cnet.cluster.hello import Identity
from cnet.cluster.links import Links
from cnet.config import Settings
from cnet.errors import ConfigError
from cnet.executors.base import Executor
from cnet.manager import Journal, Manager
from cnet.register import Ledger


class Tree:
    """This agent's place among others. Call `manager` once; then everything is connected."""

    def __init__(self, settings: Settings, identity: Identity) -> None:
        self._settings = settings
        self._identity = identity
        self._manager: Manager | None = None
        self._directory: ServiceDirectory | None = None
        self.links = Links(
            identity=identity,
            settings=settings,
            parent_token=_token(settings, settings.parent.token_file, "parent"),
            peer_token=_token(settings, settings.peers.token_file, "peers"),
            address_seen=self._address_seen,
        )
        self.exchange = Exchange(
            identity.node_id,
            escalate=settings.parent.escalate,
            share=settings.peers.share,
            transmit=self.links.transmit,
            deliver=self._deliver,
            route_changed=self._route_changed,
            dirty=self.links.dirty,
            now=clock.boottime,
            links_changed=self._links_changed,
        )
        self.exchange.view.on_change = self._node_changed

    def manager(
        self, *, ledger: Ledger, journal: Journal, executors: Mapping[str, Executor]
    ) -> Manager:
        """The manager, with the labels and the drain mark that this node was given last."""
        settings = self._settings
        manager = Manager(
            node_id=self._identity.node_id,
            ledger=ledger,
            journal=journal,
            executors=executors,
            keep_ended=settings.agent.keep_ended,
            network=self.exchange,
            incarnation=self._identity.incarnation,
            strategy=settings.scheduler.strategy,
            lease_s=settings.scheduler.lease_s,
        )
        manager.prepare(settings.agent.labels)
        manager.own_node.address = self.links.address
        self._manager = manager
        self._directory = ServiceDirectory(manager)
        return manager

    @property
    def directory(self) -> ServiceDirectory:
        """Services of all nodes."""
        if self._directory is None:
            raise RuntimeError("manager() comes first")
        return self._directory

    @property
    def _known_manager(self) -> Manager:
        if self._manager is None:
            raise RuntimeError("manager() comes first")
        return self._manager

    # --- what the parts tell each other --------------------------------------------------------

    def _deliver(self, source: str, body: Any) -> None:
        self._known_manager.receive(source, body)

    def _node_changed(self, node_id: str) -> None:
        manager = self._known_manager
        if node_id == manager.node_id:
            self.directory.changed()
        else:
            node = self.exchange.view.get(node_id)
            self.directory.node_changed(node_id, node)
            manager.node_changed(node_id, node)

    def _route_changed(self, node_id: str, up: bool) -> None:
        self._known_manager.route_changed(node_id, up)

    def _links_changed(self) -> None:
        manager = self._known_manager
        roles = self.exchange.links()
        own = manager.own_node
        parent = next((peer for peer, role in roles.items() if role == "parent"), own.parent_id)
        peers = tuple(sorted(peer for peer, role in roles.items() if role == "peer"))
        if (parent, peers) != (own.parent_id, own.peers):
            own.parent_id, own.peers = parent, peers
            manager.self_changed()

    def _address_seen(self, address: str) -> None:
        manager = self._known_manager
        manager.own_node.address = address
        manager.self_changed()


def _token(settings: Settings, file: Path | None, section: str) -> str | None:
    """The token to show to agents that this one dials; None where there is none."""
    path = file or settings.token_file
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        if file is None:
            return None  # agents on loopback ask for none
        raise ConfigError(f"{section}.token_file: {file} does not exist") from None
    except OSError as error:
        raise ConfigError(f"{section}.token_file: {path}: {error.strerror}") from error
