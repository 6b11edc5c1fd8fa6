"""The agents that a folder of configuration files describes, and who of them is to see whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from cnet import config
from cnet.config import Settings
from cnet.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Member:
    """One agent to be: its file, and what is set beside the file."""

    config_file: Path
    settings: Settings
    overrides: Mapping[str, object]

    @property
    def node_id(self) -> str:
        """Its name; `read_members` requires one."""
        return str(self.settings.agent.node_id)

    @property
    def port(self) -> int:
        """Where it is to listen."""
        return self.settings.agent.port


def read_members(
    config_dir: Path, *, data_dir: Path | None = None, ports: Mapping[str, int] | None = None
) -> list[Member]:
    """The agents of all `*.yaml` files in `config_dir`, by port.

    The environment's settings are left out: they would be the same for all. `data_dir` gives each
    a folder below it. `ports` (node → port) moves agents, and with them the addresses by which the
    others name them. Raises ConfigError naming the file.
    """
    files = sorted(config_dir.glob("*.yaml"))
    if not files:
        raise ConfigError(f"{config_dir}: no such folder, or no configuration (*.yaml) in it")
    found = [Member(file.absolute(), _load(file, {}), {}) for file in files]
    _require_distinct(found)
    moved = {each.port: (ports or {}).get(each.node_id, each.port) for each in found}
    found = [_changed(each, moved, data_dir) for each in found]
    return sorted(found, key=lambda member: member.port)


def expected_views(members: Sequence[Member]) -> dict[str, set[str]]:
    """Which members each one sees once all links between them are up.

    Its parent, its peers (whichever side names the other), and all below it with their peers.
    Agents elsewhere that a file names are nobody's business here.
    """
    by_port = {member.port: member.node_id for member in members}
    parents: dict[str, str] = {}
    peers: dict[str, set[str]] = {member.node_id: set() for member in members}
    for member in members:
        parent = member.settings.parent
        if parent.enabled and (above := _named(parent.address, by_port)) is not None:
            parents[member.node_id] = above
        if member.settings.peers.enabled:
            for address in member.settings.peers.addresses:
                if (beside := _named(address, by_port)) is not None:
                    peers[member.node_id].add(beside)
                    peers[beside].add(member.node_id)
    views = {node: set(beside) for node, beside in peers.items()}
    for node, parent_id in parents.items():
        views[node].add(parent_id)
        above_node: str | None = parent_id
        passed: set[str] = set()
        while above_node is not None and above_node not in passed:
            views[above_node] |= {node} | peers[node]
            passed.add(above_node)
            above_node = parents.get(above_node)
    return {node: seen - {node} for node, seen in views.items()}


def _load(file: Path, overrides: Mapping[str, object]) -> Settings:
    try:
        return config.load(file, env={}, overrides=overrides)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error.message}") from error


def _require_distinct(members: Sequence[Member]) -> None:
    names: dict[str, Path] = {}
    ports: dict[int, Path] = {}
    for member in members:
        file, agent = member.config_file, member.settings.agent
        if agent.node_id is None:
            raise ConfigError(f"{file}: agent.node_id must be given in a cluster")
        if agent.port == 0:
            raise ConfigError(f"{file}: agent.port must be given, so that others find it")
        if (other := names.setdefault(agent.node_id, file)) != file:
            raise ConfigError(f"{file}: agent.node_id {agent.node_id!r} is that of {other}, too")
        if (other := ports.setdefault(agent.port, file)) != file:
            raise ConfigError(f"{file}: agent.port {agent.port} is that of {other}, too")


def _changed(member: Member, moved: Mapping[int, int], data_dir: Path | None) -> Member:
    settings = member.settings
    overrides: dict[str, object] = {}
    if data_dir is not None:
        overrides["agent.data_dir"] = str(data_dir.absolute() / member.node_id)
    if moved[member.port] != member.port:
        overrides["agent.port"] = moved[member.port]
    if settings.parent.address and (there := _moved(settings.parent.address, moved)) is not None:
        overrides["parent.address"] = there
    addresses = settings.peers.addresses
    elsewhere = [_moved(address, moved) or address for address in addresses]
    if elsewhere != addresses:
        overrides["peers.addresses"] = elsewhere
    return Member(member.config_file, _load(member.config_file, overrides), overrides)


def _moved(address: str, moved: Mapping[int, int]) -> str | None:
    """`address` with the port its agent moves to; None where nothing changes."""
    parts = _split(address)
    if not _is_here(parts) or moved.get(parts.port or 0, parts.port) == parts.port:
        return None
    return address.replace(f":{parts.port}", f":{moved[parts.port or 0]}", 1)


def _named(address: str | None, by_port: Mapping[int, str]) -> str | None:
    """The member that an address of another one's file means."""
    parts = _split(address or "")
    return by_port.get(parts.port or 0) if _is_here(parts) else None


def _split(address: str) -> SplitResult:
    return urlsplit(address if "://" in address else f"//{address}")


def _is_here(parts: SplitResult) -> bool:
    return parts.hostname is not None and config.is_loopback(parts.hostname)
