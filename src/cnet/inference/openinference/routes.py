"""The routes of the protocol, in front of one model of one version."""

from __future__ import annotations

from cnet import __version__
from cnet.errors import NotFoundError
from cnet.inference.fields import shown
from cnet.inference.openinference import answers, requests
from cnet.inference.replies import Reply, success
from cnet.inference.routes import AtOnce, ByWork, Route
from cnet.inference.runtime import PredictRequest, ServesTensors
from cnet.inference.tensors.signatures import describe

ROOT = "/v2"
VERSION = "1"
_MODELS = f"{ROOT}/models/"


class OpenInference:
    """Finds what answers a path; the model is called `name`."""

    def __init__(self, runtime: ServesTensors, *, name: str) -> None:
        self._runtime = runtime
        self._name = name
        self._fixed: dict[str, Route] = {
            ROOT: AtOnce(self._server),
            f"{ROOT}/": AtOnce(self._server),
            f"{ROOT}/health/live": AtOnce(lambda: success({"live": True})),
            f"{ROOT}/health/ready": AtOnce(lambda: success({"ready": True})),
        }
        self._of_model: dict[str, Route] = {
            "": AtOnce(self._model),
            "/ready": AtOnce(lambda: success({"name": self._name, "ready": True})),
            "/infer": ByWork(self._infer),
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

    def _infer(self, request: PredictRequest, cpus: int) -> Reply:
        asked = requests.read(request, self._runtime.signature)
        found = self._runtime.infer(asked.inputs, outputs=list(asked.outputs), threads=cpus)
        return answers.write(asked, found, model=self._name, version=VERSION)
