"""The command line of `cnet-gateway`, and how its end is to be read.

Exit codes: 0 ended as asked · 2 the arguments or the store are wrong (one line on stderr; another
attempt will not help) · 3 the port is taken (another port would do) · 1 anything else.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import socket
import stat
import sys
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path

import anyio

from cnet import __version__
from cnet.errors import CnetError, ConfigError, PortTakenError, SpecError
from cnet.gateway.app import GatewayApp
from cnet.gateway.authentication import Authenticator
from cnet.gateway.service import Gateway
from cnet.gateway.transport import GatewayProtocol
from cnet.gateway.workers import supervise
from cnet.serving import bind, bind_beside, serve_here
from cnet.storage import open_store
from cnet.storage.keys import KeyFile
from cnet.storage.names import check_bucket
from cnet.storage.opening import CATALOGUE

EXIT_WRONG = 2
EXIT_PORT_TAKEN = 3
ALL_BUCKETS = "*"

_LOGGER = logging.getLogger(__name__)
_KEEP_ALIVE_S = 30
_MIN_TOKEN = 8
_MAX_WORKERS = 64


def main(argv: Sequence[str] | None = None) -> None:
    """Run a gateway until it is told to end; ends the process."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    sys.exit(_run(sys.argv[1:] if argv is None else list(argv)))


def _run(argv: list[str]) -> int:
    return _ended(lambda: _start(_parser().parse_args(argv)))


def _start(arguments: argparse.Namespace) -> int:
    authenticator = _authenticator(arguments)
    with bind(arguments.host, arguments.port) as listener:
        if arguments.workers == 1:
            return _work(arguments, authenticator, listener)

        def worker() -> int:
            return _ended(lambda: _work(arguments, authenticator, bind_beside(listener)))

        return supervise(arguments.workers, worker)


def _work(
    arguments: argparse.Namespace, authenticator: Authenticator, listener: socket.socket
) -> int:
    anyio.run(
        _serve,
        arguments,
        authenticator,
        listener,
        backend="asyncio",
        backend_options={"use_uvloop": True},
    )
    return 0


def _ended(work: Callable[[], int]) -> int:
    """The exit code of what it does."""
    try:
        return work()
    except PortTakenError as error:
        return _fail(error, EXIT_PORT_TAKEN)
    except CnetError as error:
        return _fail(error, EXIT_WRONG)
    except SystemExit as end:  # argparse: --help, or wrong arguments, already explained
        return int(end.code or 0)
    except Exception:
        _LOGGER.exception("the gateway failed")
        return 1


async def _serve(
    arguments: argparse.Namespace, authenticator: Authenticator, listener: socket.socket
) -> None:
    async with open_store(
        arguments.base_path, database=arguments.db_path, create=arguments.create, guarded=True
    ) as store:
        if arguments.writable and arguments.bucket != ALL_BUCKETS:
            await store.create_bucket(arguments.bucket)
        # What is there now stays; looking through it again costs requests a tenth of their time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        gateway = Gateway(store, read_only=not arguments.writable, region=arguments.region)
        await serve_here(
            GatewayApp(gateway, authenticator),
            listener,
            protocol=GatewayProtocol,
            keep_alive_s=_KEEP_ALIVE_S,
        )


def _authenticator(arguments: argparse.Namespace) -> Authenticator:
    """Who may ask, by the arguments; ConfigError where that is nobody, or anybody at all."""
    default: Path = arguments.base_path / "keys.json"
    _require_store(arguments)
    keys = KeyFile(arguments.keys_file or default, required=arguments.keys_file is not None)
    token = _token(arguments)
    if arguments.bucket != ALL_BUCKETS:
        try:
            check_bucket(arguments.bucket)
        except SpecError as error:
            raise ConfigError(f"--bucket {arguments.bucket}: {error.message}") from None
    if not (arguments.anonymous or token or arguments.keys_file or default.exists()):
        raise ConfigError(
            f"nobody could ask this gateway anything: give --keys-file (or make {default.name} in "
            "the base path), --auth-token-file, or --anonymous"
        )
    on_loopback = _is_loopback(arguments.host)
    if arguments.anonymous and arguments.writable and not on_loopback:
        raise ConfigError(
            f"--anonymous with --writable on --host {arguments.host}: anybody could write there; "
            "leave one of them away"
        )
    return Authenticator(
        keys,
        token=token,
        anonymous=arguments.anonymous,
        buckets=None if arguments.bucket == ALL_BUCKETS else frozenset({arguments.bucket}),
        on_loopback=on_loopback,
    )


def _require_store(arguments: argparse.Namespace) -> None:
    if arguments.create and not arguments.writable:
        raise ConfigError("--create: a store that stays empty serves nobody; give --writable, too")
    catalogue: Path = arguments.db_path or arguments.base_path / CATALOGUE
    if not (arguments.create or os.path.isfile(catalogue)):  # noqa: PTH113  False for what is hidden
        raise ConfigError(
            f"--base-path {arguments.base_path}: there is no store ({catalogue} is not there); "
            "name the data folder of an agent, or make a new one with --writable --create"
        )


def _token(arguments: argparse.Namespace) -> str | None:
    path: Path | None = arguments.auth_token_file
    token: str | None = arguments.auth_token
    if path is not None:
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise ConfigError(f"{path}: others may read this file; it must have mode 0600")
            token = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--auth-token-file {path}: cannot be read: {error}") from error
    if token is not None and not (len(token) >= _MIN_TOKEN and token.isascii()):
        raise ConfigError(f"the bearer token must have at least {_MIN_TOKEN} ASCII characters")
    return token


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cnet-gateway", description="Serve the files of a store over the S3 protocol."
    )
    parser.add_argument("--version", action="version", version=f"cnet-gateway {__version__}")
    parser.add_argument(
        "--base-path", type=Path, required=True, metavar="DIR", help="folder of the store"
    )
    parser.add_argument(
        "--db-path", type=Path, metavar="FILE", help="catalogue (default: catalog.db in DIR)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=9090, help="0: a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--bucket",
        default="cnet",
        metavar="NAME",
        help="what requests without an access key reach; * for all (default: %(default)s)",
    )
    parser.add_argument("--region", default="us-east-1", help="told to who asks; any is taken")
    parser.add_argument(
        "--workers",
        type=_workers,
        default=1,
        metavar="N",
        help="processes that answer; more than there are cores is no use (default: %(default)s)",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--read-only", action="store_true", help="change nothing (the default)")
    mode.add_argument("--writable", action="store_true", help="take writes")
    parser.add_argument(
        "--create", action="store_true", help="with --writable: make the store if there is none"
    )
    access = parser.add_argument_group("who may ask")
    access.add_argument(
        "--keys-file", type=Path, metavar="FILE", help="access keys (default: keys.json in DIR)"
    )
    access.add_argument("--auth-token-file", type=Path, metavar="FILE", help="a bearer token")
    access.add_argument(
        "--auth-token", metavar="TOKEN", help="the same, seen by everyone who lists processes"
    )
    access.add_argument("--anonymous", action="store_true", help="everyone, without credentials")
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= 65_535):
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, not {text!r}")
    return int(text)


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MAX_WORKERS):
        raise argparse.ArgumentTypeError(
            f"must be a whole number from 1 to {_MAX_WORKERS}, not {text!r}"
        )
    return int(text)


def _fail(error: CnetError, code: int) -> int:
    line = " ".join(error.message.split())
    print(f"cnet-gateway: {line}", file=sys.stderr)  # noqa: T201
    return code
