"""`cnet data …`: store files and folders, bring them back, see and remove what there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cnet.cli import access_keys, tables, uploads
from cnet.cli.downloads import Downloads, targets_of
from cnet.cli.each import for_each
from cnet.cli.output import emit, emit_json, note, printable
from cnet.cli.progress import Progress
from cnet.cli.session import AgentOption, JsonOption, Session, session_of
from cnet.cli.sizes import format_age, format_size
from cnet.client import AgentClient, JsonObject
from cnet.client.data import chunks
from cnet.errors import CnetError, NotFoundError, SpecError
from cnet.model.notation import pairs

app = typer.Typer(add_completion=False)
group = typer.Typer(add_completion=False, no_args_is_help=True)
app.add_typer(
    group, name="data", help="Data: files and folders under keys, on the agent's own node."
)
group.add_typer(access_keys.group, name="keys", help="Access keys of the node's data gateways.")

SCHEME = "data://"
_Key = Annotated[str, typer.Argument(metavar="KEY", help="KEY, KEY/PATH, or these behind data://.")]


@app.callback()
def _several() -> None:
    """Keep `data` a group, though it is alone in this module."""


@group.command()
def put(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file or a folder.")],
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Default: a new one.")] = None,
    name: Annotated[str | None, typer.Option(help="Default: the last part of PATH.")] = None,
    access: Annotated[
        str | None,
        typer.Option(
            metavar="MODE",
            help="readonly, readwrite or exclusive. Default: readonly, with --update readwrite.",
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--type", metavar="TYPE", help="file, dataset, model, …: what it is for."),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="TAG", help="May be repeated.")] = None,
    meta: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="Metadata; may be repeated.")
    ] = None,
    update: Annotated[
        bool,
        typer.Option("--update", help="Send only what KEY does not have with the same content."),
    ] = False,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store a file, or a folder with all below it, on the agent's own node.

    With --update files go one by one into data that are readwrite, made if they are not there;
    what was cut off is gone on with by the same command.
    """
    session = session_of(ctx, agent=agent, as_json=as_json)
    access = access or ("readwrite" if update else "readonly")
    config: JsonObject = {"access_mode": access, "tags": tag or []}
    config["metadata"] = pairs(meta or (), option="--meta")
    config |= {"data_key": key} if key else {}
    config |= {"data_type": kind} if kind else {}
    name = name or path.resolve().name
    if not update:
        _put(session, path, name=name, config=config)
    elif key is None:
        raise SpecError("--key: must be given with --update", field="--key")
    else:
        _update(session, path, name=name, config=config)


def _put(session: Session, path: Path, *, name: str, config: JsonObject) -> None:
    sources = uploads.sources_of(path)
    with session.connect() as client, Progress("storing", quiet=session.as_json) as progress:
        progress.expect(sum(uploads.size_of(source.file) for source in sources))
        done = client.data.upload(
            sources, tree=path.is_dir(), name=name, config=config, sent=progress.advance
        )
    if session.as_json:
        emit_json(done)
    else:
        emit(f"{SCHEME}{done['data_key']}  {format_size(done['size'])}")


def _update(session: Session, path: Path, *, name: str, config: JsonObject) -> None:
    sources = uploads.sources_of(path)
    with session.connect() as client, Progress("storing", quiet=session.as_json) as progress:
        progress.expect(sum(uploads.size_of(source.file) for source in sources))
        done = uploads.update(
            client, sources, tree=path.is_dir(), name=name, config=config, passed=progress.advance
        )
    key = config["data_key"]
    if session.as_json:
        emit_json({"data_key": key, **asdict(done)})
    else:
        sent = f"{done.sent} sent ({format_size(done.size)})"
        emit(f"{SCHEME}{key}  {sent}, {done.unchanged} as before")


@group.command()
def get(
    ctx: typer.Context,
    key: _Key,
    dest: Annotated[
        Path | None, typer.Argument(metavar="DEST", help="Default: its name, here.")
    ] = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring data here; what was cut off is resumed, and everything is checked."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    _get(session, key, dest)


def _get(session: Session, key: str, dest: Path | None) -> None:
    data_key, path = _parsed(key)
    with session.connect() as client:
        found = client.data.get(data_key)
        wanted = list(_wanted(client, data_key, path))
        paths = [file["path"] for file in wanted]
        single = paths == [path] or (path is None and found["file_path"] is not None)
        name = data_key if path is None else path
        targets = targets_of(
            paths,
            dest,
            name=name,
            below="" if path is None else f"{path}/",
            single=single and len(paths) == 1,
        )
        with Progress("fetching", quiet=session.as_json) as progress:
            progress.expect(sum(file["size"] for file in wanted))
            bring = Downloads(client.data, data_key, progress.advance, targets=targets)
            with _what_is_kept(bring, quiet=session.as_json):
                for file, target in zip(wanted, targets, strict=True):
                    bring.fetch(file, target)
    size = sum(file["size"] for file in wanted)
    where = str(targets[0] if single else dest or Path(name).name)
    if session.as_json:
        emit_json({"data_key": data_key, "files": len(wanted), "size": size, "path": where})
    else:
        emit(f"{printable(where)}  {format_size(size)}")


@contextmanager
def _what_is_kept(bring: Downloads, *, quiet: bool) -> Iterator[None]:
    """Say how to go on after whatever ends the block early."""
    try:
        yield
    except (CnetError, KeyboardInterrupt):
        if bring.kept and not quiet:
            note(
                f"{format_size(bring.kept)} are kept in {bring.part}; the same command goes on "
                "from there"
            )
        raise


@group.command()
def ls(
    ctx: typer.Context,
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="Show the files of this one.")
    ] = None,
    everywhere: Annotated[
        bool, typer.Option("--all", "-a", help="Those of all nodes that the agent knows.")
    ] = False,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the data of the agent's own node, or the files of one of them."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    with session.connect() as client:
        if key is None:
            found, silent = (
                client.data.list_tree() if everywhere else (list(client.data.list()), set[str]())
            )
            _list_objects(found, as_json=session.as_json)
            if silent:
                note(f"no answer from {', '.join(sorted(silent))}")
        else:
            data_key, path = _parsed(key)
            _list_files(list(_wanted(client, data_key, path)), as_json=session.as_json)


def _list_objects(found: list[JsonObject], *, as_json: bool) -> None:
    if as_json:
        emit_json(found)
        return
    columns = ("KEY", "NODE", "NAME", "TYPE", "ACCESS", "FILES", "SIZE", "AGE")
    table = tables.plain_table(*columns, right=("FILES", "SIZE", "AGE"))
    for each in found:
        table.add_row(
            tables.cell(each["data_key"]),
            tables.cell(each["node_id"]),
            tables.cell(each["name"]),
            tables.cell(each["data_type"]),
            tables.cell(each["access_mode"]),
            tables.cell(each["file_count"]),
            tables.cell(format_size(each["size"])),
            tables.cell(format_age(each["created_at"])),
        )
    tables.console().print(table)


def _list_files(files: list[JsonObject], *, as_json: bool) -> None:
    if as_json:
        emit_json(files)
        return
    table = tables.plain_table("PATH", "SIZE", "AGE", right=("SIZE", "AGE"))
    for each in files:
        table.add_row(
            tables.cell(each["path"]),
            tables.cell(format_size(each["size"])),
            tables.cell(format_age(each["last_modified"])),
        )
    tables.console().print(table)


@group.command()
def rm(
    ctx: typer.Context,
    keys: Annotated[list[str], typer.Argument(metavar="KEY…", help="Keys, or data://KEY/PATH.")],
    force: Annotated[
        bool, typer.Option("--force", "-f", help="One that is gone is no error.")
    ] = False,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> int:
    """Remove data together with their workloads; of data://KEY/PATH only that file."""
    session = session_of(ctx, agent=agent, as_json=as_json)

    def remove(client: AgentClient, key: str) -> None:
        _remove(client, *_parsed(key))

    return for_each(session, keys, remove, done="removed", missing_ok=force)


def _remove(client: AgentClient, data_key: str, path: str | None) -> None:
    if path is not None:
        client.data.delete_file(data_key, path)
    else:
        client.delete(client.data.get(data_key)["workload_id"])


@group.command()
def cp(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="A path, data://KEY or data://KEY/PATH.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="DST", help="A path, data://KEY or data://KEY/PATH.")
    ],
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy to data, from data, or between data.

    To data://KEY new data are made; to data://KEY/PATH a file is put into data that are there and
    not readonly.
    """
    session = session_of(ctx, agent=agent, as_json=as_json)
    if not target.startswith(SCHEME):
        if not source.startswith(SCHEME):
            raise SpecError(f"SRC, DST: one of them must begin with {SCHEME}", field="SRC")
        _get(session, source, Path(target))
        return
    data_key, path = _parsed(target)
    if source.startswith(SCHEME):
        _copy(session, _parsed(source), data_key, path)
    elif path is None:
        _put(session, Path(source), name=Path(source).resolve().name, config={"data_key": data_key})
    else:
        file = Path(source)
        with session.connect() as client, Progress("storing", quiet=session.as_json) as progress:
            progress.expect(uploads.size_of(file))
            done = client.data.write(data_key, path, chunks(file, progress.advance))
        _tell_written(session, data_key, done)


def _copy(
    session: Session, source: tuple[str, str | None], data_key: str, path: str | None
) -> None:
    from_key, from_path = source
    if from_path is None or path is None:
        raise SpecError(
            f"SRC, DST: between data one file is copied: give both as {SCHEME}KEY/PATH", field="SRC"
        )
    with session.connect() as client, client.data.open(from_key, from_path) as content:
        done = client.data.write(data_key, path, content.pieces)
    _tell_written(session, data_key, done)


def _tell_written(session: Session, data_key: str, done: JsonObject) -> None:
    if session.as_json:
        emit_json(done)
    else:
        emit(f"{SCHEME}{data_key}/{printable(done['path'])}  {format_size(done['size'])}")


def _parsed(text: str) -> tuple[str, str | None]:
    """Key and path in `KEY`, `KEY/PATH`, `data://KEY[/PATH]`."""
    key, _, path = text.removeprefix(SCHEME).partition("/")
    if not key:
        raise SpecError(f"KEY: {text!r} names no data", field="KEY")
    return key, path or None


def _wanted(client: AgentClient, data_key: str, path: str | None) -> Iterator[JsonObject]:
    """The files of an object, or the one of that path, or those below it."""
    found = False
    for file in client.data.files(data_key):
        if path is None or file["path"] == path or file["path"].startswith(f"{path}/"):
            found = True
            yield file
    if not found and path is not None:
        raise NotFoundError(f"{SCHEME}{data_key} has no file {path!r}", code="no_such_file")
