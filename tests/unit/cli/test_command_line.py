"""The command table: everything is there, errors are one line, nothing heavy is loaded early."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer.core
import typer.main

from cnet import __version__
from cnet.cli.agent_main import doubled_dashes
from cnet.cli.main import COMMANDS, main
from cnet.cli.top import cpu_percent

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def no_user_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CNET_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_table_names_every_command_of_its_modules_and_no_other() -> None:
    found = set()
    for module in sorted(set(COMMANDS.values())):
        command = typer.main.get_command(import_module(f"cnet.cli.{module}").app)
        if isinstance(command, typer.core.TyperGroup):
            found |= {(name, module) for name in command.commands}
        else:
            found.add((str(command.name), module))
    assert found == set(COMMANDS.items())


def every_command() -> list[str]:
    """All of the table, and those within groups: `data put`."""
    found = []
    for name, module in COMMANDS.items():
        command = typer.main.get_command(import_module(f"cnet.cli.{module}").app)
        if isinstance(command, typer.core.TyperGroup):
            command = command.commands[name]
        found.append(name)
        if isinstance(command, typer.core.TyperGroup):
            found += [f"{name} {part}" for part in command.commands]
    return found


@pytest.mark.parametrize("command", every_command())
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    assert "Usage: cnet " + command in capsys.readouterr().out


def test_commands_of_groups_are_among_them() -> None:
    assert {"data", "data get", "cluster up", "ps"} <= set(every_command())


def test_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "4 no agent answers; 5 not authorised" in text


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["ps", "--nonsense"], ["stop"], ["ps", "--status", "odd"]]
)
def test_wrong_usage_is_one_line_and_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("error: ")
    assert written.err.count("\n") == 1


@pytest.mark.parametrize("place", ["before", "after"])
def test_json_errors_wherever_the_option_stands(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--json", "--agent", NOWHERE]
    assert main([*options, "ps"] if place == "before" else ["ps", *options]) == 4
    written = capsys.readouterr()
    assert written.out == ""
    error = json.loads(written.err)
    assert error["error"] == "unreachable"
    assert NOWHERE in error["details"]


def test_agent_option_goes_before_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CNET_AGENT", "http://127.0.0.1:2")
    assert main(["ps"]) == 4
    assert "http://127.0.0.1:2" in capsys.readouterr().err
    assert main(["--agent", NOWHERE, "ps"]) == 4
    assert NOWHERE in capsys.readouterr().err


def test_version_without_an_agent_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--agent", NOWHERE, "version"]) == 0
    assert f"cnet {__version__}\nno agent answers" in capsys.readouterr().out
    assert main(["--agent", NOWHERE, "version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "client": __version__,
        "agent_url": NOWHERE,
        "agent": None,
    }


def test_init_says_where_the_token_is_but_not_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init"]) == 0
    token = (tmp_path / "cnet" / "token").read_text().strip()
    written = capsys.readouterr().out
    assert str(tmp_path / "cnet" / "token") in written
    assert token not in written
    assert main(["init"]) == 1
    assert "--force" in capsys.readouterr().err
    assert main(["init", "--force", "--show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["token"] != token
    assert shown["token"] == (tmp_path / "cnet" / "token").read_text().strip()


def test_init_shows_a_token_that_exists_and_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init"]) == 0
    file = tmp_path / "cnet" / "token"
    token = file.read_text().strip()
    capsys.readouterr()
    assert main(["init", "--show"]) == 0
    sentence, shown = capsys.readouterr().out.splitlines()
    assert sentence.startswith(f"token is in {file} ")
    assert shown == token
    assert main(["init", "--show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"token_file": str(file), "token": token}
    assert file.read_text().strip() == token


def test_exposed_token_is_code_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    (tmp_path / "cnet" / "token").chmod(0o644)
    assert main(["--agent", NOWHERE, "ps"]) == 5
    assert "chmod 600" in capsys.readouterr().err


def loaded(code: str, names: list[str]) -> list[str]:
    """Those of the modules that are there after some code has run in a new interpreter."""
    code = f"{code}\nimport sys; print(*(name for name in {names!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()[-1].split()


def test_version_loads_no_picture_library_and_no_agent() -> None:
    code = f"from cnet.cli.main import main\nmain(['--agent', {NOWHERE!r}, 'version'])"
    assert loaded(code, ["PIL", "fastapi", "uvicorn", "cnet.agent", "numpy"]) == []


def test_nothing_is_loaded_before_the_agent_that_it_does_not_need() -> None:
    """What `cnet agent` loads before it becomes the agent is lost time of its start."""
    code = "import cnet.cli.main, cnet.cli.agent, cnet.cli.agent_main"
    assert loaded(code, ["typer", "httpx", "pydantic", "rich", "yaml"]) == ["typer"]


def test_reader_that_leaves_causes_no_complaint() -> None:
    command = f"{sys.executable} -m cnet --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


def test_shell_completion_knows_the_commands() -> None:
    environ = os.environ | {"_CNET_COMPLETE": "complete_bash", "COMP_WORDS": "cnet re"}
    done = subprocess.run(
        [sys.executable, "-m", "cnet"],
        env=environ | {"COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["restart", "resources"], done.stderr


def test_go_style_options_are_taken() -> None:
    given = ["-config", "c.yaml", "-port=0", "--data-dir", "/d", "-h", "-1"]
    expected = ["--config", "c.yaml", "--port=0", "--data-dir", "/d", "-h", "-1"]
    assert doubled_dashes(given) == expected


def test_cpu_percent_is_of_one_core_and_unknown_after_a_restart() -> None:
    def usage(seconds: int, cpu_s: float) -> dict[str, object]:
        return {"at": f"2026-11-21T08:00:{seconds:02}.000000Z", "cpu_s": cpu_s}

    assert cpu_percent(usage(0, 1.0), usage(2, 4.0)) == pytest.approx(150.0)
    assert cpu_percent(usage(0, 9.0), usage(2, 0.1)) is None
    assert cpu_percent(usage(0, 1.0), usage(0, 1.0)) is None
    assert cpu_percent(None, usage(0, 1.0)) is None
