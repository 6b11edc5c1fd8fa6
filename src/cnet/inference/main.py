"""The command line of `cnet-inference`, and how its end is to be read.

Exit codes: 0 ended as asked · 2 the arguments or the model are wrong (one line on stderr; another
attempt will not help) · 3 the port is taken (another port would do) · 1 anything else.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from cnet import __version__
from cnet.errors import CnetError, ConfigError, PortTakenError
from cnet.inference.arguments import device, whole
from cnet.inference.assembly import assemble
from cnet.inference.catalog import RuntimeCatalog
from cnet.inference.deadlines import LONGEST_MS
from cnet.inference.lanes import Lanes
from cnet.inference.memory import return_free_memory, share_one_heap
from cnet.inference.metrics import Metrics
from cnet.inference.runtime import RuntimeKind, ServesBatches, ServiceSettings
from cnet.serving import bind, serve

EXIT_MODEL = 2
EXIT_PORT_TAKEN = 3

_LOGGER = logging.getLogger(__name__)
_MIB = 1 << 20
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_EXTRAS = {
    "yolo": "onnx",
    "onnx": "onnx",
    "opencv": "opencv",
    "sklearn": "sklearn",
    "pytorch": "torch",
    "tensorflow": "tensorflow",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a service until it is told to end; ends the process."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    code = _run(sys.argv[1:] if argv is None else list(argv))
    logging.shutdown()
    sys.stdout.flush()
    # A thread may still be inside a model that took longer than the grace time; waiting for it, or
    # tearing down libraries under it, would turn a clean end into a hang or a crash.
    os._exit(code)


def _run(argv: list[str]) -> int:
    try:
        catalog = RuntimeCatalog.installed()
        _front_parser(catalog).parse_args(argv[:1])
        kind = catalog.kind(argv[0])
        _serve(kind, _parser(argv[0], kind).parse_args(argv[1:]))
    except PortTakenError as error:
        return _fail(error, EXIT_PORT_TAKEN)
    except CnetError as error:
        return _fail(error, EXIT_MODEL)
    except ModuleNotFoundError as error:
        needed = ConfigError(
            f"Python module {error.name} is missing{_install(argv[0])}", code="missing_module"
        )
        return _fail(needed, EXIT_MODEL)
    except SystemExit as end:  # argparse: --help, or wrong arguments, already explained
        return int(end.code or 0)
    except Exception:
        _LOGGER.exception("the service failed")
        return 1
    return 0


def _serve(kind: RuntimeKind, arguments: argparse.Namespace) -> None:
    share_one_heap()
    listener = bind(arguments.host, arguments.port)
    threads = arguments.threads or len(os.sched_getaffinity(0))
    # Libraries read these when they are imported, and take every CPU otherwise.
    for variable in _THREAD_VARIABLES:
        os.environ.setdefault(variable, str(threads))
    started = perf_counter()
    settings = ServiceSettings(
        threads=threads,
        max_pixels=arguments.max_pixels,
        max_batch=arguments.max_batch,
        device=arguments.device,
        cache_dir=arguments.cache_dir,
    )
    runtime = kind.load(arguments, settings)
    return_free_memory()
    metrics = Metrics(load_s=perf_counter() - started)
    _LOGGER.info("loaded in %.0f ms, %d threads", metrics.load_s * 1000, threads)
    lanes = Lanes(
        threads,
        max_waiting=arguments.max_waiting,
        most_together=runtime.batching.most_rows if isinstance(runtime, ServesBatches) else 1,
        on_idle=return_free_memory,
        metrics=metrics,
    )
    application = assemble(
        runtime,
        lanes,
        metrics,
        name=arguments.model_name or arguments.runtime,
        kind=arguments.runtime,
        max_body_bytes=arguments.max_body_bytes,
        request_timeout_s=arguments.request_timeout_ms / 1000 or None,
    )
    serve(application, listener)
    if lanes.close():
        runtime.unload()


def _front_parser(catalog: RuntimeCatalog) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cnet-inference",
        description="Serve one model over HTTP.",
        epilog="cnet-inference RUNTIME --help tells the options of a runtime.",
    )
    parser.add_argument("runtime", choices=catalog.names, help="what kind of model")
    parser.add_argument("--version", action="version", version=f"cnet-inference {__version__}")
    return parser


def _parser(name: str, kind: RuntimeKind) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"cnet-inference {name}", description=kind.summary)
    parser.set_defaults(runtime=name)
    kind.add_arguments(parser)
    common = parser.add_argument_group("service")
    common.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    common.add_argument("--port", type=whole(0, 65_535), default=0, help="0: the system chooses")
    common.add_argument(
        "--threads", type=whole(0, 1024), default=0, metavar="N", help="0: all CPUs it may use"
    )
    common.add_argument(
        "--max-body-bytes", type=whole(1024, 1 << 30), default=32 * _MIB, metavar="N"
    )
    common.add_argument("--max-pixels", type=whole(1, 1 << 28), default=50_000_000, metavar="N")
    common.add_argument("--model-name", metavar="NAME", help="told in /info")
    common.add_argument(
        "--max-waiting",
        type=whole(1, 65_536),
        default=64,
        metavar="N",
        help="requests in line before others are refused (default: %(default)s)",
    )
    common.add_argument(
        "--request-timeout-ms",
        type=whole(0, LONGEST_MS),
        default=0,
        metavar="N",
        help="where a request does not say how long it may take (default: no limit)",
    )
    common.add_argument(
        "--max-batch",
        type=whole(1, 65_536),
        default=64,
        metavar="N",
        help="rows of several requests in one call of the model; 1: none (default: %(default)s)",
    )
    common.add_argument(
        "--device",
        type=device,
        default="auto",
        metavar="WHERE",
        help="auto, cpu or cuda:N, for runtimes that can use a GPU (default: %(default)s)",
    )
    common.add_argument(
        "--cache-dir",
        type=Path,
        metavar="PATH",
        help="a folder for what the next start need not find out again (default: nothing is kept)",
    )
    return parser


def _install(runtime: str) -> str:
    """How to get what a built-in runtime needs; a plug-in's own needs are not known."""
    extra = _EXTRAS.get(runtime)
    return f"; install it with: {sys.executable} -m pip install 'cnet[{extra}]'" if extra else ""


def _fail(error: CnetError, code: int) -> int:
    line = " ".join(error.message.split())
    print(f"cnet-inference: {line}", file=sys.stderr)  # noqa: T201
    return code
