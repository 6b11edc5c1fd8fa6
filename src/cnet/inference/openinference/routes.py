"""The routes of the protocol, in front of one model of one version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnet import __version__
from cnet.errors import NotFoundError
from cnet.inference.fields import shown
from cnet.inference.openinference import answers, requests
from cnet.inference.replies import Reply, success
from cnet.inference.routes import AtOnce, ByTensors, Route
from cnet.inference.runtime import PredictRequest, ServesTensors
from cnet.inference.tensors.batching import Asked, Batches
from cnet.inference.tensors.datatypes import Array
from cnet.inference.tensors.signatures import describe

ROOT = "/v2"
VERSION = "1"
_MODELS = f"{ROOT}/models/"


@dataclass(frozen=True, slots=True)
class InferCall:
    """A request to `/infer` of the model called `model`."""

    request: requests.InferRequest
    model: str

    @property
    def asked(self) -> Asked:
        """The arrays, and the names of the outputs."""
        return Asked(self.request.inputs, tuple(self.request.outputs))

    def reply(self, found: Mapping[str, Array]) -> Reply:
        """What is answered."""
        return answers.write(self.request, found, model=self.model, version=VERSION)


class OpenInference:
    """Finds what answers a path; the model is called `name`."""

    def __init__(self, runtime: ServesTensors, batches: Batches, *, name: str) -> None:
        self._runtime = runtime
        self._name = name
        self._fixed: dict[str, Route] = {
            ROOT: AtOnce(self._server, ROOT),
            f"{ROOT}/": AtOnce(self._server, ROOT),
            f"{ROOT}/health/live": AtOnce(lambda: success({"live": True}), f"{ROOT}/health"),
            f"{ROOT}/health/ready": AtOnce(lambda: success({"ready": True}), f"{ROOT}/health"),
        }
        self._of_model: dict[str, Route] = {
            "": AtOnce(self._model, f"{ROOT}/models"),
            "/ready": AtOnce(
                lambda: success({"name": self._name, "ready": True}), f"{ROOT}/models/ready"
            ),
            "/infer": ByTensors(
                read=self._read,
                work=batches.work,
                whole=self._infer,
                label=f"{ROOT}/models/infer",
            ),
        }

    def find(self, path: str) -> Route:
        """What answers `path`; NotFoundError naming what there is."""
        if path in self._fixed:
            return self._fixed[path]
        if not path.startswith(_MODELS):
            raise NotFoundError(f"no route {path}; there are: {', '.join(self._fixed)}, {_MODELS}…")
        name, rest = self._split(path.removeprefix(_MODELS))
        if name != self._name:
            raise NotFoundError(
                f"no model is called {shown(name)}; this service has {self._name!r}"
            )
        if rest.startswith("/versions/"):
            version, slash, tail = rest.removeprefix("/versions/").partition("/")
            if version != VERSION:
                raise NotFoundError(f"{name!r} has no version {shown(version)}; it has {VERSION!r}")
            rest = slash + tail
        if rest not in self._of_model:
            words = ", ".join(each for each in self._of_model if each)
            raise NotFoundError(f"no route {rest} of a model; there are: {words}")
        return self._of_model[rest]

    def _split(self, rest: str) -> tuple[str, str]:
        """The name of a model, which may hold slashes where it is ours, and what follows it."""
        if rest == self._name or rest.startswith(f"{self._name}/"):
            return self._name, rest.removeprefix(self._name)
        name, slash, tail = rest.partition("/")
        return name, slash + tail

    def _server(self) -> Reply:
        return success(
            {
                "name": "cnet-inference",
                "version": __version__,
                "extensions": ["binary_tensor_data"],
            }
        )

    def _model(self) -> Reply:
        signature = self._runtime.signature
        return success(
            {
                "name": self._name,
                "versions": [VERSION],
                "platform": signature.platform,
                "inputs": [describe(spec) for spec in signature.inputs],
                "outputs": [describe(spec) for spec in signature.outputs],
            }
        )

    def _read(self, request: PredictRequest) -> InferCall:
        return InferCall(requests.read(request, self._runtime.signature), self._name)

    def _infer(self, request: PredictRequest, cpus: int) -> Reply:
        call = self._read(request)
        asked = call.asked
        return call.reply(self._runtime.infer(asked.inputs, outputs=asked.outputs, threads=cpus))
