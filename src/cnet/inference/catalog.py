"""Which runtimes there are: the built-in ones and those of installed plug-ins.

Looking a name up imports nothing but the light module of the kind asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from cnet.errors import ConfigError
from cnet.inference.runtime import RuntimeKind

GROUP = "cnet.model_runtimes"

_BUILT_IN = (
    EntryPoint("yolo", "cnet.inference.yolo.kind:YoloKind", GROUP),
    EntryPoint("opencv", "cnet.inference.opencv.kind:OpencvKind", GROUP),
    EntryPoint("onnx", "cnet.inference.onnx.kind:OnnxKind", GROUP),
    EntryPoint("sklearn", "cnet.inference.sklearn.kind:SklearnKind", GROUP),
    EntryPoint("pytorch", "cnet.inference.pytorch.kind:PytorchKind", GROUP),
    EntryPoint("tensorflow", "cnet.inference.tensorflow.kind:TensorflowKind", GROUP),
    EntryPoint("custom", "cnet.inference.custom.kind:CustomKind", GROUP),
    EntryPoint("script", "cnet.inference.script.kind:ScriptKind", GROUP),
)


class RuntimeCatalog:
    """Kinds of runtime by name; a name given twice is an error, as nobody could tell which runs."""

    def __init__(self, plugins: Iterable[EntryPoint]) -> None:
        self._entries: dict[str, EntryPoint] = {}
        for entry in (*_BUILT_IN, *plugins):
            held = self._entries.get(entry.name)
            if held is not None and held.value != entry.value:
                raise ConfigError(
                    f"two model runtimes are called {entry.name!r}: {held.value} and "
                    f"{entry.value}; uninstall one of them",
                    code="runtime_name_taken",
                )
            self._entries[entry.name] = entry

    @classmethod
    def installed(cls) -> RuntimeCatalog:
        """The catalog of this Python environment."""
        return cls(entry_points(group=GROUP))

    @property
    def names(self) -> tuple[str, ...]:
        """All names, built-in ones first."""
        return tuple(self._entries)

    def kind(self, name: str) -> RuntimeKind:
        """Import and make the kind called `name`; `ConfigError` where that cannot be done."""
        if name not in self._entries:
            known = ", ".join(self._entries)
            raise ConfigError(f"no model runtime is called {name!r}; there are: {known}")
        try:
            made: RuntimeKind = self._entries[name].load()()
        except ImportError as error:
            raise ConfigError(f"model runtime {name!r} cannot be imported: {error}") from error
        return made
