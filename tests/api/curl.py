"""Runs a documented curl command as it is written; only the agent's address is another.

Where there is no curl, the same bytes are sent by httpx.
"""

from __future__ import annotations

import base64
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

DOCUMENTED = re.compile(r"http://localhost:80\d\d(?=[/\s\"]|$)")
"""Where the documents' agents listen: 8080 to 8083."""


@dataclass(frozen=True)
class Answer:
    """Status code and body of what a command got."""

    status: int
    text: str

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object in it."""
        found: dict[str, Any] = orjson.loads(self.text)
        return found


@dataclass
class Request:
    """What a curl command sends."""

    url: str = ""
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


def replay(command: str, *, agent: str, folder: Path, workload_id: str = "") -> Answer:
    """Run `command` in `folder` against the agent at the URL `agent`."""
    text = DOCUMENTED.sub(agent, command).replace("{workload_id}", workload_id)
    if shutil.which("curl") is None or shutil.which("bash") is None:
        return _by_httpx(parsed(_expanded(text, folder)))
    text = text.replace("curl ", "curl --noproxy '*' -sS -w '\\n%{http_code}' ", 1)
    done = subprocess.run(
        ["bash", "-eu", "-c", text], cwd=folder, capture_output=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    body, _, status = done.stdout.decode().rpartition("\n")
    return Answer(int(status), body)


def parsed(command: str) -> Request:
    """The request that a command with the options of the documents makes."""
    request = Request()
    words = iter(shlex.split(command.replace("\\\n", " "))[1:])
    for word in words:
        if word == "-X":
            request.method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            request.headers[name] = value
        elif word == "-d":
            # curl's -d drops line feeds only where it reads a file
            request.body = next(words).encode()
        else:
            request.url = word
    return request


def _expanded(command: str, folder: Path) -> str:
    """The one shell variable of the documents, filled as their command line fills it."""
    first, _, rest = command.partition("\n")
    found = re.fullmatch(r"(\w+)=\$\(base64 -i (\S+) \| tr -d '\\n'\)", first)
    if found is None:
        return command
    content = base64.b64encode((folder / found[2]).read_bytes()).decode()
    return rest.replace(f"${found[1]}", content)


def _by_httpx(request: Request) -> Answer:
    reply = httpx.request(
        request.method,
        request.url,
        headers=request.headers,
        content=request.body,
        timeout=90,
        trust_env=False,
    )
    return Answer(reply.status_code, reply.text)
