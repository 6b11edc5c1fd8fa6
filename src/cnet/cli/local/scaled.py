"""Services that `down` scales to none, and `up` scales back: how, is written down in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from cnet._support.files import write_atomic
from cnet.client import AgentClient, JsonObject
from cnet.errors import CnetError, ConfigError

Told = Callable[[str], None]


def scale_down(folder: Path, node_id: str, client: AgentClient, told: Told) -> None:
    """Scale what an agent owns to none: it would replace replicas that are stopped."""
    for service in client.services.list():
        name = service["name"]
        if service["owner"] != node_id or not any(each["replicas"] for each in service["versions"]):
            continue
        known = _read(folder)
        known.setdefault(node_id, {})[name] = {"id": service["id"], "wishes": _wishes(service)}
        _write(folder, known)
        told(f"scaling {name} to 0")
        if service["autoscale"]:
            # In one: a second `down` after one that was killed finds nothing to write down anew.
            client.services.scale(name, {"autoscale": None, "replicas": 0}, wait=False)
        client.services.scale(name, {"replicas": 0}, wait=False)


def scale_back(folder: Path, node_id: str, client: AgentClient, told: Told) -> None:
    """As it was before; what was deleted or scaled in the meantime is left as it is."""
    known = _read(folder)
    for name, before in known.pop(node_id, {}).items():
        try:
            service = client.services.get(name)
            count = before["wishes"][0]["replicas"]
            # The number may be back already, by an `up` that was killed before the rest.
            is_left = service["replicas"] in (0, count) and not service["autoscale"]
            if service["id"] != before["id"] or not is_left:
                continue
            told(f"scaling {name} to {count} again")
            for wish in before["wishes"]:
                client.services.scale(name, wish, wait=False)
        except CnetError as error:
            told(f"{name} is not scaled as before: {error.message}")
    _write(folder, known)


def _wishes(service: JsonObject) -> list[JsonObject]:
    """What to ask for, one after the other, for the same numbers again."""
    wishes: list[JsonObject] = [{"replicas": service["replicas"]}]
    if service["autoscale"]:
        return [*wishes, {"autoscale": service["autoscale"]}]
    own = [
        {"replicas": version["replicas"], "version": version["version"]}
        for version in service["versions"]
        if version["weight"] is not None and version["replicas"] != service["replicas"]
    ]
    return wishes + own


def _file(folder: Path) -> Path:
    return folder / "scaled.json"


def _read(folder: Path) -> dict[str, JsonObject]:
    """Node → service → its id, and the wishes."""
    try:
        found: dict[str, JsonObject] = json.loads(_file(folder).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigError(f"{_file(folder)}: is not as it was written ({error})") from error
    return found


def _write(folder: Path, known: dict[str, JsonObject]) -> None:
    if known:
        write_atomic(_file(folder), json.dumps(known).encode())
    else:
        _file(folder).unlink(missing_ok=True)
