"""The user's file as an object with `load`, `predict` and `unload`.

The file is run as a module of its own, with its folder first on the import path. Whatever it raises
becomes one sentence with the error and the line of the file; the whole traceback goes to the log.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from cnet.errors import ConfigError

MODULE = "cnet_custom_model"
_CLASS = "Model"
_LONGEST_SENTENCE = 500
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UserModel:
    """What a file offers. `about` carries what it declares: `inputs`, `outputs`, `concurrent`…"""

    path: Path
    about: Any
    predict: Callable[[Any], Any]
    unload: Callable[[], object]


def load(path: Path, class_name: str | None) -> UserModel:
    """Run the file and its `load`; ConfigError with one sentence where that fails."""
    if not path.is_file():
        raise ConfigError(f"model file {path} does not exist, or is no regular file")
    try:
        module = _run(path)
    except (Exception, SystemExit) as error:
        raise _failure(f"{path} cannot be run", error, path) from error
    maker = _class(module, class_name)
    if maker is None and class_name is not None:
        raise ConfigError(f"{path} has no class {class_name}")
    try:
        return _from_class(path, maker) if maker is not None else _from_functions(path, module)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise _failure(f"{path} cannot be loaded", error, path) from error


def class_in(path: Path, name: str) -> type:
    """The class called `name` in the file, which is run; ConfigError where that fails."""
    if not path.is_file():
        raise ConfigError(f"{path} does not exist, or is no regular file")
    try:
        module = _run(path)
    except (Exception, SystemExit) as error:
        raise _failure(f"{path} cannot be run", error, path) from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        raise ConfigError(f"{path} has no class {name}")
    return found


def last_line(error: BaseException, path: Path) -> str:
    """The last line of its traceback, and the innermost line of the user's file."""
    text = " ".join(traceback.format_exception_only(error)[-1].split())
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    if lines:
        text += f" ({path.name}, line {lines[-1]})"
    return text if len(text) <= _LONGEST_SENTENCE else f"{text[:_LONGEST_SENTENCE]}…"


def _class(module: ModuleType, name: str | None) -> type | None:
    """The class that is the model; one that the file only imports must be asked for by name."""
    found = getattr(module, name or _CLASS, None)
    if not isinstance(found, type) or (name is None and found.__module__ != MODULE):
        return None
    return found


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(MODULE, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file: its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module  # dataclasses and pickles look their module up
    sys.dont_write_bytecode = True  # the folder is not ours
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    return module


def _from_class(path: Path, maker: type) -> UserModel:
    model: Any = maker()
    if not callable(getattr(model, "predict", None)):
        raise ConfigError(f"{path}: the class {maker.__name__} has no method predict")
    getattr(model, "load", _nothing)()
    return UserModel(path, model, model.predict, getattr(model, "unload", _nothing))


def _from_functions(path: Path, module: ModuleType) -> UserModel:
    """With `load`, what it returns is the first argument of `predict` and `unload`."""
    predict = getattr(module, "predict", None)
    if not callable(predict):
        raise ConfigError(f"{path} has neither a class {_CLASS} nor a function predict")
    unload = getattr(module, "unload", None)
    if not hasattr(module, "load"):
        return UserModel(path, module, predict, unload or _nothing)
    state = module.load()
    return UserModel(
        path,
        module,
        lambda inputs: predict(state, inputs),
        _nothing if unload is None else lambda: unload(state),
    )


def _failure(what: str, error: BaseException, path: Path) -> ConfigError:
    if isinstance(error, ConfigError):
        return error
    _LOGGER.error("%s", "".join(traceback.format_exception(error)))
    return ConfigError(f"{what}: {last_line(error, path)}")


def _nothing() -> None:
    """For what a file need not have."""
