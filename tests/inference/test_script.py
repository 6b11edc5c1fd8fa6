"""The runtime `script`: the same answers warm and cold, and a clear word for every failure."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.inference.services import Service, run_to_end, running, wait_for
from tests.support.agents import alive

SCRIPT = """
import json
import os
import sys
import colorsys  # imported beforehand, where it is warm

__import__("sys").stderr.write("called\\n")
class Thing: pass

def main():
    action, model, text = sys.argv[1:]
    word = open(model).read()
    if text == "silent":
        return
    if text == "bad":
        print(json.dumps({"error": "I do not take that"}))
        sys.exit(2)
    if text == "dies":
        os.kill(os.getpid(), 9)
    if text == "words":
        sys.exit("in words")
    if text == "long":
        print("x" * 300_000)
    print("some words first")
    print(json.dumps({
        "prediction": [word, text],
        "mark": os.environ.get("MARK"),
        "folder": os.getcwd(),
        "main": Thing.__module__,
        "argv": sys.argv[0],
        "none": float("nan"),
    }))

if __name__ == "__main__":
    main()
"""
WARM, COLD = "forks of a warm interpreter", "a process for each request"


@pytest.fixture(params=[WARM, COLD])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def arguments(folder: Path, how: str) -> list[str]:
    """A command line; an interpreter by another name is a program like any other."""
    (folder / "model.txt").write_text("word")
    (folder / "script.py").write_text(SCRIPT)
    command = Path(sys.executable)
    if how == COLD:
        command = folder / "interpreter"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        command.chmod(0o755)
    return [
        "script",
        "--model=model.txt",
        f"--command={command}",
        "--script=script.py",
        f"--working-dir={folder}",
        "--threads=2",
    ]


def ask(service: Service, value: Any) -> Any:
    return service.client.post("/predict", json={"inputs": value}, timeout=60)


def test_answers_and_failures(tmp_path: Path, how: str) -> None:
    variables = {"CNET_SCRIPT_ENV": json.dumps({"MARK": "m", "PYTHONHASHSEED": "0"})}
    with running(tmp_path, *arguments(tmp_path, how), environment=variables) as service:
        info = service.client.get("/info").json()
        assert (info["model_type"], info["served_by"]) == ("script", how)
        answer = ask(service, {"a": [1.5, "ü"]})
        assert answer.status_code == 200, answer.text
        found = answer.json()["outputs"]
        assert found == {
            "prediction": ["word", '{"a":[1.5,"ü"]}'],
            "mark": "m",
            "folder": str(tmp_path),
            "main": "__main__",
            "argv": str(tmp_path / "script.py"),
            "none": None,
        }
        assert ask(service, "text").json()["outputs"]["prediction"][1] == "text"
        assert ask(service, "long").status_code == 200
        for value, status, says in (
            ("bad", 422, "I do not take that"),
            ("words", 500, "in words"),
            ("silent", 500, "no JSON object"),
            ("dies", 500, "ended"),
            ("\0", 422, "NUL"),
            ("x" * 131_072, 413, "131072 bytes"),
        ):
            refused = ask(service, value)
            assert refused.status_code == status, refused.text
            assert says in refused.json()["details"]
        assert "script: called" in service.log.read_text()
        (tmp_path / "model.txt").write_text("another")
        assert ask(service, 1).json()["outputs"]["prediction"] == ["another", "1"]
        assert service.stop() == 0


def test_a_warm_interpreter_that_dies_is_replaced(tmp_path: Path) -> None:
    with running(tmp_path, *arguments(tmp_path, WARM)) as service:
        (first,) = children(service.process.pid)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: first not in children(service.process.pid))
        assert ask(service, 1).status_code == 200
        (second,) = children(service.process.pid)
        assert second != first
        service.process.kill()  # nobody is left to tell it
        wait_for(lambda: not alive(second))


def test_one_that_takes_too_long_is_ended(tmp_path: Path, how: str) -> None:
    options = arguments(tmp_path, how)
    (tmp_path / "script.py").write_text(
        "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(3600)\n"
    )
    with running(tmp_path, *options, "--timeout=2") as service:
        told = tmp_path / "pid"
        while not (told.exists() and told.read_text()):  # else its time was up before it had begun
            refused = ask(service, 1)
            assert refused.status_code == 500
            assert "no answer within 2 s" in refused.json()["details"]
        wait_for(lambda: not alive(int(told.read_text())))


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--model=no-such", "model file no-such does not exist"),
        ("--script=no-such.py", "script no-such.py does not exist"),
        ("--command=no-such-program", "no-such-program is no program"),
        ("--working-dir=/no/such", "/no/such is no folder"),
    ],
)
def test_what_is_missing(tmp_path: Path, option: str, says: str) -> None:
    done = run_to_end(*arguments(tmp_path, WARM), option)
    assert done.returncode == 2
    assert says in done.stderr


def children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children() if alive(child.pid)]
