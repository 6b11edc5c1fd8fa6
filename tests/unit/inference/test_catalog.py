"""Built-in runtimes and plug-ins by name."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from cnet.errors import ConfigError
from cnet.inference.catalog import GROUP, RuntimeCatalog
from cnet.inference.yolo.kind import LAYOUTS, YoloKind
from cnet.inference.yolo.layouts import Layout

BUILT_IN = ("yolo", "opencv", "onnx", "sklearn", "pytorch", "tensorflow", "custom", "script")


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


def test_built_in_and_plugged_in() -> None:
    catalog = RuntimeCatalog([entry("echo", "cnet.inference.yolo.kind:YoloKind")])
    assert catalog.names == (*BUILT_IN, "echo")
    assert isinstance(catalog.kind("echo"), YoloKind)


def test_a_name_given_twice_is_an_error_naming_both() -> None:
    with pytest.raises(ConfigError, match=r"yolo.*cnet\.inference\.yolo.*other:Kind"):
        RuntimeCatalog([entry("yolo", "other:Kind")])
    with pytest.raises(ConfigError, match="a:A and b:B"):
        RuntimeCatalog([entry("x", "a:A"), entry("x", "b:B")])


def test_the_same_entry_seen_twice_is_none() -> None:
    assert RuntimeCatalog([entry("x", "a:A"), entry("x", "a:A")]).names[-1] == "x"


def test_unknown_and_broken_names() -> None:
    catalog = RuntimeCatalog([entry("broken", "no.such.module:Kind")])
    with pytest.raises(ConfigError, match=f"there are: {', '.join(BUILT_IN)}, broken"):
        catalog.kind("yola")
    with pytest.raises(ConfigError, match="'broken' cannot be imported"):
        catalog.kind("broken")


def test_words_of_the_command_line_are_those_of_the_layouts() -> None:
    assert tuple(LAYOUTS) == tuple(layout.value for layout in Layout)


def test_choosing_a_runtime_imports_nothing_heavy() -> None:
    code = (
        "import sys; from cnet.inference.main import main\n"
        "from cnet.inference.catalog import RuntimeCatalog as C\n"
        "[C.installed().kind(n) for n in C.installed().names]\n"
        "heavy = {'cv2', 'numpy', 'onnxruntime', 'sklearn', 'pydantic', 'fastapi', 'starlette', "
        "'PIL'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")
