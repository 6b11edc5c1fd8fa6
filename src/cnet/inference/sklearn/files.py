"""Estimators from files, with what may be loaded from them.

A skops file says which types it needs before anything is made. A joblib or pickle file runs code of
whoever wrote it, so it is only loaded where that was asked for; the boundary then is the process.
scikit-learn is imported by what loads a file: not every start needs it.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnet.errors import ConfigError

_LONGEST_SENTENCE = 300
_SKOPS_SCHEMA = "schema.json"


def form_of(path: Path, *, allow_joblib: bool) -> str:
    """What kind of file it is; ConfigError with one sentence where it may not be loaded."""
    if not path.is_file():
        raise ConfigError(f"model file {path} does not exist, or is no regular file")
    if _is_skops(path):
        return "skops"
    if not allow_joblib:
        raise ConfigError(
            f"model file {path} is no skops file; a joblib or pickle file runs code of whoever "
            "made it, and is only loaded with --allow-joblib (config.allow_joblib: true)",
            code="joblib_not_allowed",
        )
    return "joblib"


def load(path: Path, form: str, *, trusted: Sequence[str]) -> Any:
    """The object in a file of that form; ConfigError with one sentence where it is not loaded."""
    # Columns are told by their order here; /info has the names.
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    if form == "skops":
        return _load_skops(path, trusted)
    import joblib

    try:
        return joblib.load(path)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"model file {path} needs the Python module {error.name}", code="missing_module"
        ) from error
    except Exception as error:
        raise ConfigError(f"model file {path} cannot be loaded: {words(error)}") from error


def words(error: BaseException) -> str:
    """An error of another library on one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _LONGEST_SENTENCE else f"{text[:_LONGEST_SENTENCE]}…"


def _is_skops(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return _SKOPS_SCHEMA in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def _load_skops(path: Path, trusted: Sequence[str]) -> Any:
    import skops.io

    try:
        missing = sorted(set(skops.io.get_untrusted_types(file=path)) - set(trusted))
        if not missing:
            return skops.io.load(path, trusted=list(trusted))
    except Exception as error:
        raise ConfigError(f"model file {path} cannot be loaded: {words(error)}") from error
    raise ConfigError(
        f"model file {path} needs types that are not trusted by themselves: {', '.join(missing)}; "
        "name each with --trust (config.trusted_types) if you trust whoever made the file",
        code="untrusted_types",
    )
