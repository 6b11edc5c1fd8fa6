"""An agent with readers who may only look: `python -m tests.web.viewers agent …`.

There are no roles yet; when there are, the guard says in the scope who may write. Here those may
not who send the header `x-viewer`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from cnet.agent.main import serve
from cnet.web import Pages

HEADER = "x-viewer"


class ViewedPages(Pages):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if HEADER.encode() in dict(scope.get("headers", ())):
            scope = {**scope, "cnet.may_write": False}
        await super().__call__(scope, receive, send)


def main() -> int:
    """Serve, with the options of `cnet agent` that tests give."""
    parser = argparse.ArgumentParser()
    parser.add_argument("agent")
    for name in ("--config", "--data-dir", "--url-file"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    overrides = {"agent.data_dir": options.data_dir, "agent.port": options.port}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnet.agent.main.Pages", ViewedPages)
        return serve(overrides, options.config, url_file=options.url_file)


if __name__ == "__main__":
    sys.exit(main())
