"""`cnet agent`: run an agent in the foreground. The agent itself is `cnet.agent`.

This process becomes the agent, without the command line's own modules.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

app = typer.Typer(add_completion=False)


@app.command()
def agent(
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Configuration file (YAML).")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="State, logs and runs of this node.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Address to listen on; beyond loopback needs `cnet init`.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = None,
    node_id: Annotated[str | None, typer.Option(help="Name of this node.")] = None,
    log_level: Annotated[
        Literal["debug", "info", "warn", "error"] | None, typer.Option(help="Least level logged.")
    ] = None,
    log_format: Annotated[
        Literal["json", "text"] | None, typer.Option(help="Form of logs.")
    ] = None,
    url_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the URL here once healthy.")
    ] = None,
    stop_workloads_on_exit: Annotated[
        bool,
        typer.Option(
            "--stop-workloads-on-exit",
            help="Stop all workloads before ending; else they run on and are taken up again.",
        ),
    ] = False,
) -> None:
    """Run an agent here until it is told to end (Ctrl-C or SIGTERM).

    Its workloads run on without it, and the next agent with the same data directory takes them up
    again. Options win over environment variables (CNET_AGENT__PORT), and these over the file.
    """
    given: dict[str, object | None] = {
        "agent.data_dir": data_dir,
        "agent.address": address,
        "agent.port": port,
        "agent.node_id": node_id,
        "agent.stop_workloads_on_exit": stop_workloads_on_exit or None,
        "logging.level": log_level,
        "logging.format": log_format,
    }
    overrides: dict[str, object] = {key: value for key, value in given.items() if value is not None}
    become_agent(overrides, config, url_file)


def become_agent(
    overrides: dict[str, object], config: Path | None, url_file: Path | None
) -> NoReturn:
    """Turn this process into `python -m cnet.agent`.

    An agent runs for months; the command line's libraries (8 MB) need not stay with it.
    """
    files = {"config": config, "url-file": url_file}
    options = [f"--{name}={path}" for name, path in files.items() if path is not None]
    settings = [f"{key}={json.dumps(value, default=str)}" for key, value in overrides.items()]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "cnet.agent", *options, *settings])  # noqa: S606
