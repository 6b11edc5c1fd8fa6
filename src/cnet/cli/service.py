"""`cnet service` and `cnet scale`: replicas under one name, their versions and requests."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from cnet.cli import specs, tables
from cnet.cli.each import for_each
from cnet.cli.output import emit, emit_described, emit_json, printable
from cnet.cli.session import AgentOption, JsonOption, Session, session_of
from cnet.cli.workload_options import WorkloadOptions, takes_workload
from cnet.client import AgentClient, JsonObject
from cnet.errors import SpecError
from cnet.model.notation import pairs

app = typer.Typer(add_completion=False)
service = typer.Typer(
    add_completion=False, help="Services: replicas under one name; versions, traffic, updates."
)
app.add_typer(service, name="service")

Name = Annotated[str, typer.Argument(metavar="SERVICE", help="Name of the service.")]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Return only once it has come true, or cannot.")
]
Version = Annotated[
    str | None, typer.Option("--as", help="A name for the version; default: v1, v2, …")
]


@app.command()
def scale(
    ctx: typer.Context,
    name: Name,
    replicas: Annotated[
        int | None, typer.Argument(metavar="N", help="So many replicas.", show_default=False)
    ] = None,
    version: Annotated[str | None, typer.Option(help="Of this version alone.")] = None,
    least: Annotated[int | None, typer.Option("--min", help="By load: at least.")] = None,
    most: Annotated[int | None, typer.Option("--max", help="By load: at most.")] = None,
    target: Annotated[
        float | None, typer.Option(help="By load: requests under way per replica.")
    ] = None,
    fixed: Annotated[bool, typer.Option("--fixed", help="No longer by load.")] = False,
    wait: Wait = True,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set the number of replicas of a service: `cnet scale NAME 3`, or --min and --max by load."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    wish: JsonObject = {"replicas": replicas, "version": version}
    if fixed:
        wish["autoscale"] = None
    elif most is not None:
        bounds = {"min": least, "max": most, "target": target}
        wish["autoscale"] = specs.without_blanks(bounds)
    elif least is not None or target is not None:
        raise SpecError("--min and --target need --max", field="--max")
    elif replicas is None:
        raise SpecError("give a number of replicas, or --max to scale by load", field="N")
    given = {key: value for key, value in wish.items() if value is not None or key == "autoscale"}
    with session.connect() as client:
        _tell(session, client.services.scale(name, given, wait=wait))


@service.command(context_settings={"allow_interspersed_args": False})
@takes_workload
def create(
    ctx: typer.Context,
    workload: WorkloadOptions,
    replicas: Annotated[int, typer.Option(help="How many.")] = 1,
    most: Annotated[int | None, typer.Option("--max", help="By load: at most.")] = None,
    least: Annotated[int | None, typer.Option("--min", help="By load: at least.")] = None,
    target: Annotated[
        float | None, typer.Option(help="By load: requests under way per replica.")
    ] = None,
    version: Version = None,
    wait: Wait = True,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a service of replicas that `cnet run` with the same options would run.

    `--file` takes either such a workload, or a whole service (with `template`).
    """
    session = session_of(ctx, agent=agent, as_json=as_json)
    (spec,) = _only(workload.specs())
    if "template" not in spec:
        spec = {"name": spec["name"], "template": _template(spec)}
        autoscale = specs.without_blanks({"min": least, "max": most, "target": target})
        spec |= {"replicas": replicas, "version": version}
        spec |= {"autoscale": autoscale} if autoscale else {}
    with session.connect() as client:
        _tell(session, client.services.create(spec, wait=wait))


@service.command(context_settings={"allow_interspersed_args": False})
@takes_workload
def update(
    ctx: typer.Context,
    workload: WorkloadOptions,
    version: Version = None,
    weight: Annotated[
        int | None,
        typer.Option(help="Beside the present versions, with so many percent of the requests."),
    ] = None,
    wait: Wait = True,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a new version in the place of the present ones without a failed request.

    `--name` says which service; the other options are those of `cnet run`.
    """
    session = session_of(ctx, agent=agent, as_json=as_json)
    if workload.name is None and workload.file is None:
        raise SpecError("--name: which service? `cnet service ls` lists them", field="--name")
    (spec,) = _only(workload.specs())
    if "name" not in spec:
        raise SpecError("--file: has no name, which says which service", field="file")
    template = spec.get("template") or _template(spec)
    changes = specs.without_blanks({"version": version, "weight": weight})
    with session.connect() as client:
        _tell(
            session,
            client.services.update(spec["name"], changes | {"template": template}, wait=wait),
        )


@service.command(name="ls")
def list_services(
    ctx: typer.Context, agent: AgentOption = None, as_json: JsonOption = False
) -> None:
    """List the services that the agent knows of."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        found = client.services.list()
    if session.as_json:
        emit_json({"services": found, "count": len(found)})
    else:
        tables.console().print(_table(found))


@service.command()
def describe(
    ctx: typer.Context, name: Name, agent: AgentOption = None, as_json: JsonOption = False
) -> None:
    """Show everything known about a service."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        found = client.services.get(name)
    if session.as_json:
        emit_json(found)
    else:
        emit_described(found)


@service.command()
def traffic(
    ctx: typer.Context,
    name: Name,
    weights: Annotated[
        list[str], typer.Argument(metavar="VERSION=WEIGHT…", help="As in v1=90 v2=10.")
    ],
    wait: Wait = True,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Share the requests among versions; one that is not named is drained and stopped."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    given: dict[str, int] = {}
    for version, weight in pairs(weights, option="VERSION=WEIGHT").items():
        if not weight.isdecimal():
            raise SpecError(f"{version}={weight}: a weight is a whole number", field=version)
        given[version] = int(weight)
    with session.connect() as client:
        _tell(session, client.services.traffic(name, given, wait=wait))


@service.command()
def rollback(
    ctx: typer.Context,
    name: Name,
    version: Annotated[str | None, typer.Option("--to", help="This version.")] = None,
    wait: Wait = True,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go back to the version before, or break off an update that is under way."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        _tell(session, client.services.rollback(name, version=version, wait=wait))


@service.command()
def rm(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="SERVICE…", help="Names of services.")],
    force: Annotated[
        bool, typer.Option("--force", "-f", help="One that is gone is no error.")
    ] = False,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> int:
    """Delete services with their replicas."""
    session = session_of(ctx, agent=agent, as_json=as_json)

    def remove(client: AgentClient, name: str) -> None:
        client.services.delete(name)

    return for_each(session, names, remove, done="removed", missing_ok=force)


def _only(found: list[JsonObject]) -> list[JsonObject]:
    if len(found) != 1:
        raise SpecError(
            f"--file: holds {len(found)} workloads; a service is made of one", field="file"
        )
    return found


def _template(spec: JsonObject) -> JsonObject:
    """The workload without what only a single one has."""
    if "queue" in spec or "reservation" in spec:
        raise SpecError("--no-queue and --reservation are not for services", field="--no-queue")
    return {key: value for key, value in spec.items() if key not in ("id", "name")}


def _tell(session: Session, found: JsonObject) -> None:
    if session.as_json:
        emit_json(found)
        return
    emit(printable(f"{found['name']}: {_state(found)}"))


def _state(found: JsonObject) -> str:
    detail = found.get("status_detail")
    shares = ", ".join(
        f"{each['version']} {each['ready']}"
        + (f"/{each['replicas']}" if "replicas" in each else "")
        for each in found["versions"]
        if each["ready"] or each.get("replicas")
    )
    said = f"{found['status']} ({shares})" if shares else str(found["status"])
    return f"{said}; {detail}" if detail else said


def _table(found: list[JsonObject]) -> Table:
    table = tables.plain_table("NAME", "STATUS", "READY", "VERSIONS", "OWNER", right=("READY",))
    for each in found:
        versions = [
            version["version"] + ("" if version["weight"] is None else f"={version['weight']}")
            for version in each["versions"]
            if version["ready"] or version["weight"] is not None
        ]
        wanted = sum(version.get("replicas", 0) for version in each["versions"])
        ready = f"{each['ready']}/{wanted}" if "instances" in each else str(each["ready"])
        table.add_row(
            tables.cell(each["name"]),
            tables.cell(each["status"]),
            tables.cell(ready),
            tables.cell(" ".join(versions)),
            tables.cell(each["owner"]),
        )
    return table
