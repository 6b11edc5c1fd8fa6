"""`python -m cnet.agent [--config=FILE] [--url-file=FILE] [key=JSON …]`: the lean agent process.

`cnet agent` and `cnet-agent` turn into this one; people use those.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from pathlib import Path

# Nothing that is imported goes again: to look for garbage in it costs a tenth of the start.
gc.disable()

# structlog.dev imports Rich wherever it is installed: 4 MB for colours an agent does not show.
sys.modules["rich"] = None  # type: ignore[assignment]
# FastAPI asks of every type whether it is one of pydantic's first version; here none is.
sys.modules["pydantic.v1"] = None  # type: ignore[assignment]

from cnet.agent.main import serve  # noqa: E402  after the lines above

gc.freeze()
gc.enable()


def main() -> int:
    """Parse, run, exit status."""
    parser = argparse.ArgumentParser(prog="python -m cnet.agent", description=__doc__)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--url-file", type=Path)
    parser.add_argument("settings", nargs="*", metavar="key=JSON")
    options = parser.parse_args()
    overrides = {}
    for setting in options.settings:
        key, _, value = setting.partition("=")
        overrides[key] = json.loads(value)
    return serve(overrides, options.config, url_file=options.url_file)


sys.exit(main())
