"""A Python interpreter that has imported what a script imports, and forks for every call of it.

Run by the user's own interpreter (3.9 or newer), as a file: standard library only, nothing of
CNET. `argv`: the number of the control socket, the script. Each message on that socket is one
connection (SCM_RIGHTS): the arguments come on it as JSON, then the fork writes
`{"code", "out", "err"}` and is gone. Only imports at the top of the script run beforehand, no line
of its own.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import traceback

READY = b"+"


def main() -> None:
    """Serve until the other end of the control socket is closed."""
    control, script = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
    control.set_inheritable(False)
    sys.path[0] = os.path.dirname(script)  # noqa: PTH120  as `python script.py` sets it
    preload(script)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks leave no zombies
    # A stop is told to all processes: the server finishes what is under way, and ends us then.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    control.send(READY)
    while True:
        _, fds, _, _ = socket.recv_fds(control, 1, 1)
        if not fds:
            return
        connection = socket.socket(fileno=fds[0])
        if os.fork() == 0:
            control.close()
            answer(connection, script)
        connection.close()


def preload(script: str) -> None:
    """Import what the top of the script imports; what fails there will fail in the script, too."""
    with open(script, "rb") as file:  # noqa: PTH123
        source = file.read()
    with contextlib.suppress(SyntaxError, ValueError):
        for node in ast.parse(source).body:
            if isinstance(node, ast.Import):
                for name in node.names:
                    import_module(name.name)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found = import_module(node.module)
                for name in node.names:
                    if found is not None and not hasattr(found, name.name):
                        import_module(f"{node.module}.{name.name}")


def import_module(name: str) -> object:
    """The module, or None."""
    try:
        return importlib.import_module(name)
    except Exception:  # noqa: BLE001  the script itself will tell of it, where it matters
        return None


def answer(connection: socket.socket, script: str) -> None:
    """In the fork: run the script as `__main__`, tell what came of it, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection.sendall(b"%d\n" % os.getpid())
    told = b""
    while piece := connection.recv(65_536):
        told += piece
    sys.argv = [script, *json.loads(told)]
    texts = []
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        code = run(script)
        for stream, file in ((sys.stdout, out), (sys.stderr, err)):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    done = {"code": code, "out": texts[0], "err": texts[1]}
    with contextlib.suppress(OSError):  # whoever asked has gone
        connection.sendall(json.dumps(done).encode())
    os._exit(0)


def run(script: str) -> int:
    """The exit status that `python script …` would have had."""
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:  # noqa: BLE001  an interpreter would do the same
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main()
