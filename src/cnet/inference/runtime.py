"""What the server asks of a model runtime. Everything a plug-in needs to know is in this file.

A plug-in names a `RuntimeKind` under the entry-point group `cnet.model_runtimes`. The module the
entry point names should be light: heavy libraries belong into the module that `load` imports.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:  # a runtime without tensors does without NumPy
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """One body sent to `/predict` or a route of `/v2`, not yet understood.

    `content_type` is the header as sent (empty when absent), `query` the part of the address after
    the question mark, still percent-encoded. Names in `headers` are in lower case.
    """

    content_type: str
    query: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What every runtime is told about the service it works for.

    `threads`: how many CPUs there are to use, at least 1; `predict` is called from at most that
    many threads at once. `max_pixels`: no picture with more may be decoded. `max_batch`: so many
    rows of several requests may go together at most, 1 for none. `device`: `auto`, `cpu` or
    `cuda:N`. In `cache_dir` may be kept what the next start need not find out again; None where
    nothing may.
    """

    threads: int
    max_pixels: int
    max_batch: int = 64
    device: str = "auto"
    cache_dir: Path | None = None


class ModelRuntime(Protocol):
    """One loaded model. All methods may be called from any thread, `predict` from several at once.

    A runtime is handed out by `RuntimeKind.load` only when it can answer: whatever is wrong with
    the model file must have made `load` fail.
    """

    def health(self) -> Mapping[str, Any]:
        """What `GET /health` adds to `{"status": "healthy"}`; must answer at once."""
        ...

    def info(self) -> Mapping[str, Any]:
        """The body of `GET /info`, values that JSON can carry; must answer at once."""
        ...

    def predict(self, request: PredictRequest, *, threads: int) -> Mapping[str, Any]:
        """Answer one request; `threads` is how many CPUs this call may keep busy.

        Raises `cnet.errors.SpecError` (or a class below it) for whatever the client did wrong.
        """
        ...

    def unload(self) -> None:
        """Give memory and threads back; called once, with no `predict` under way."""
        ...


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named array as a model declares it.

    `datatype` is a word of the Open Inference Protocol: BOOL, INT8 to INT64, UINT8 to UINT64, FP16
    to FP64, BYTES. In `shape` -1 is a size that may be any; None means any shape at all. `also`
    are datatypes that an input takes as well.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] | None
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Signature:
    """What arrays a model takes and gives.

    `platform` is what it runs on. `default_outputs` are given where a request names none.
    """

    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    default_outputs: tuple[str, ...]


@runtime_checkable
class ServesTensors(Protocol):
    """Ability of a runtime: named arrays in, named arrays out. It brings the routes of `/v2`."""

    @property
    def signature(self) -> Signature:
        """What there is to send and to ask for; never changes."""
        ...

    def infer(
        self, inputs: Mapping[str, NDArray[Any]], *, outputs: Sequence[str], threads: int
    ) -> Mapping[str, NDArray[Any]]:
        """The arrays named in `outputs`, on at most `threads` CPUs; called like `predict`.

        `inputs` has all inputs of the signature, each of a datatype and shape that it allows;
        BYTES are object arrays of `bytes`. They may be read-only. Raises SpecError where the values
        themselves are at fault.
        """
        ...


@dataclass(frozen=True, slots=True)
class Batching:
    """How calls of a model may be made.

    Up to `most_rows` rows of several requests go together in one call of `infer` (1: none do);
    `quick_rows` rows surely take less than a millisecond, so that no thread is needed. `reason` is
    told in `/info`.
    """

    most_rows: int = 1
    quick_rows: int = 0
    reason: str = ""


@runtime_checkable
class ServesBatches(ServesTensors, Protocol):
    """Ability of a runtime with tensors: rows of several requests in one call of `infer`.

    Each answer must have as many rows as the inputs. Where a call fails each request is asked
    alone.
    """

    @property
    def batching(self) -> Batching:
        """How many; never changes."""
        ...


@runtime_checkable
class PredictsTensors(ServesTensors, Protocol):
    """Ability of a runtime with tensors: its `predict` is `tensors.plain.answer`, no more.

    What it is asked by `/predict` can then go together with other requests.
    """

    @property
    def has_plain_predict(self) -> Literal[True]:
        """Says so."""
        ...


@runtime_checkable
class DescribesRequests(Protocol):
    """Ability of a runtime: it tells what `/predict` takes, for `/openapi.json`."""

    def request_bodies(self) -> Mapping[str, Mapping[str, Any]]:
        """JSON schemas by media type."""
        ...

    def query_parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """JSON schemas by name."""
        ...


class RuntimeKind(Protocol):
    """How a runtime is named, asked for on the command line, and loaded."""

    @property
    def summary(self) -> str:
        """One line for `cnet-inference --help`."""
        ...

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add this kind's own options; never one that carries a secret."""
        ...

    def load(self, arguments: Namespace, settings: ServiceSettings) -> ModelRuntime:
        """Load the model and try it once. Raises `cnet.errors.ConfigError` with one sentence."""
        ...
