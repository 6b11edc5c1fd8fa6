"""`run`, `ps`, `describe`, `logs`, `stop`, `restart`, `rm` against a real agent."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Cnet
from tests.support.agents import AgentProcess, alive


def test_follow_prints_the_log_and_ends_with_the_workloads_code(cnet: Cnet) -> None:
    done = cnet(
        "run", "--name", "speaker", "--follow", "--", "sh", "-c", "echo a; echo b >&2; exit 7"
    )
    assert done.code == 7
    assert done.out.splitlines()[1:] == ["a", "b"]
    assert "speaker  failed" in done.err
    assert "exited with 7" in done.err


@pytest.mark.parametrize(
    ("script", "code"), [("true", 0), ("exit 42", 42), ("kill -9 $$", 137), ("kill -15 $$", 143)]
)
def test_wait_gives_the_workloads_code(cnet: Cnet, script: str, code: int) -> None:
    assert cnet("run", "--wait", "-q", "--", "sh", "-c", script).code == code


def test_what_cannot_be_started_is_code_1_with_the_reason(cnet: Cnet) -> None:
    done = cnet("run", "--", "/nowhere/program")
    assert done.code == 1
    assert "failed  (exec_failed)" in done.out


def test_run_as_json_gives_the_workload_before_and_after(cnet: Cnet) -> None:
    done = cnet("run", "--json", "--wait", "--label", "a=b", "--", "sh", "-c", "exit 3")
    first, last = done.json_lines
    assert done.code == 3
    assert first["id"] == last["id"]
    assert first["labels"] == {"a": "b"}
    assert (last["status"], last["exit_code"]) == ("failed", 3)


def test_flags_reach_the_workload(cnet: Cnet, tmp_path: Path) -> None:
    done = cnet(
        *("run", "--json", "--name", "flags", "--cpu", "0.5", "--memory", "32MiB"),
        *("--storage", "1KB", "--env", "A=1", "--workdir", str(tmp_path), "--stop-grace", "1.5"),
        *("--restart", "on_failure", "--attempts", "2", "--wait"),
        *("--", "sh", "-c", "echo $A in $PWD"),
    )
    assert done.code == 0
    workload = done.json_lines[-1]
    assert workload["requirements"] == {
        "cpu": 0.5,
        "gpu": 0,
        "memory": 32 * 1024**2,
        "storage": 1000,
    }
    assert workload["restart"]["policy"] == "on_failure"
    assert workload["restart"]["attempts"] == 2
    assert cnet("logs", "flags").out == f"1 in {tmp_path}\n"


def test_secret_reaches_the_workload_and_is_never_shown(
    cnet: Cnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "hunter2")
    script = 'test "$KEY" = hunter2'
    done = cnet(
        "run", "--name", "secretive", "--wait", "--secret-env", "KEY", "--", "sh", "-c", script
    )
    assert done.code == 0
    shown = cnet("describe", "secretive").out + cnet("--json", "describe", "secretive").out
    assert "KEY" in shown
    assert "hunter2" not in shown.replace(script, "").replace(json.dumps(script), "").replace(
        "= hunter2", ""
    )


def test_file_with_several_documents_from_stdin(
    cnet: Cnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
name: first
type: process
requirements: {memory: 32MiB}
config: {command: sh, args: [-c, exit 0]}
---
name: second
type: process
config: {command: sh, args: [-c, exit 5]}
"""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    done = cnet("run", "-f", "-", "--wait", "--json")
    assert done.code == 5
    ended = {each["name"]: each for each in done.json_lines}
    assert ended["first"]["requirements"]["memory"] == 32 * 1024**2
    assert (ended["first"]["status"], ended["second"]["status"]) == ("completed", "failed")


def test_invalid_field_is_code_2_and_named(cnet: Cnet) -> None:
    done = cnet("run", "--json", "--cpu", "-1", "--", "true")
    assert done.code == 2
    assert json.loads(done.err)["field"] == "requirements.cpu"
    done = cnet("run", "--type", "nonsense")
    assert done.code == 2
    assert "nonsense" in done.err


def test_more_than_any_node_has_is_refused_with_the_reason(cnet: Cnet) -> None:
    done = cnet("run", "--cpu", "1000", "--", "true")
    assert done.code == 1
    assert "cpu 996 cores short" in done.err
    assert "no_capacity" in cnet("--json", "run", "--cpu", "1000", "--", "true").err


def test_no_room_now_is_queued_and_runs_when_there_is(cnet: Cnet, agent: AgentProcess) -> None:
    assert cnet("run", "--name", "large", "--cpu", "4", "--", "sleep", "600").code == 0
    done = cnet("run", "--name", "queued", "--cpu", "4", "--", "sleep", "600")
    assert done.code == 0
    assert "queued  pending  (no_capacity)" in done.out
    assert cnet("run", "--no-queue", "--cpu", "4", "--", "true").code == 1
    assert cnet("stop", "large").code == 0
    queued = cnet("--json", "describe", "queued").json
    assert agent.client.wait_for(queued["id"], until="running", timeout=60)
    assert cnet("rm", "-f", "queued", "large").code == 0


def test_ps_shows_what_was_asked_for(cnet: Cnet) -> None:
    assert cnet("run", "--name", "ps-ended", "--wait", "--", "true").code == 0
    running = cnet("run", "-q", "--name", "ps-running", "--", "sleep", "600").out.strip()
    shown = cnet("ps")
    assert "ps-running" in shown.out
    assert "ps-ended" not in shown.out
    assert "ended not shown; -a shows them" in shown.err
    assert "ps-ended" in cnet("ps", "-a").out
    assert "ps-ended" in cnet("ps", "--status", "completed").out
    assert cnet("ps", "--type", "opencv", "-q").out == ""
    assert running in cnet("ps", "-q").out.splitlines()
    listed = cnet("ps", "--json").json
    assert listed["count"] == len(listed["workloads"])
    assert cnet("rm", "-f", "ps-running", "ps-ended").code == 0


def test_targets_by_start_of_id_and_by_name(cnet: Cnet) -> None:
    ids = [cnet("run", "-q", "--name", "twin", "--", "sleep", "600").out.strip() for _ in "ab"]
    assert cnet("--json", "describe", ids[0][:13]).json["id"] == ids[0]
    done = cnet("describe", "twin")
    assert done.code == 1
    assert all(each in done.err for each in ids)
    assert cnet("stop", ids[0]).code == 0
    assert cnet("--json", "describe", "twin").json["id"] == ids[1]  # the running one
    assert cnet("rm", "-f", *ids).code == 0
    assert cnet("describe", "twin").code == 3


def test_stop_ends_the_process_and_every_target_is_tried(cnet: Cnet) -> None:
    workload = cnet("run", "--json", "--name", "stoppable", "--", "sleep", "600").json
    assert alive(workload["pid"])
    done = cnet("stop", "nobody", "stoppable", "--json")
    assert done.code == 3
    assert json.loads(done.err)["error"] == "not_found"
    assert done.json["workload"]["status"] == "stopped"
    assert not alive(workload["pid"])
    assert cnet("restart", "stoppable").code == 0
    assert cnet("--json", "describe", "stoppable").json["status"] == "running"
    assert cnet("rm", "-f", "stoppable").code == 0


def test_rm_spares_what_runs_unless_forced(cnet: Cnet) -> None:
    workload = cnet("run", "--json", "--name", "dear", "--", "sleep", "600").json
    done = cnet("rm", "dear")
    assert done.code == 1
    assert "stop it first, or use --force" in done.err
    assert alive(workload["pid"])
    assert cnet("rm", "--force", "dear", "dear").code == 0  # gone the second time
    assert not alive(workload["pid"])
    assert cnet("rm", "dear").code == 3


def test_stopping_what_has_ended_is_refused(cnet: Cnet) -> None:
    assert cnet("run", "--name", "over", "--wait", "--", "true").code == 0
    done = cnet("--json", "stop", "over")
    assert done.code == 1
    assert json.loads(done.err)["error"] == "wrong_state"


def test_logs_are_passed_on_byte_by_byte(cnet: Cnet) -> None:
    script = r"printf 'one\ntwo \033[31mred\n\342\200\250three\n'"
    assert cnet("run", "--name", "logged", "--wait", "--", "sh", "-c", script).code == 0
    assert cnet("logs", "logged", "-n", "2").out == "two \x1b[31mred\n\u2028three\n"
    assert cnet("logs", "logged", "-n", "0").out.startswith("one\n")
    assert cnet("logs", "logged", "--follow").out == "one\ntwo \x1b[31mred\n\u2028three\n"
    assert cnet("logs", "logged", "--json").json["count"] == 3
    followed = cnet("logs", "-f", "--json", "logged").json_lines
    assert [each["line"] for each in followed] == ["one", "two \x1b[31mred", "\u2028three"]


def test_describe_repeats_nothing(cnet: Cnet) -> None:
    assert cnet("run", "--name", "once", "--wait", "--", "echo", os.urandom(4).hex()).code == 0
    lines = cnet("describe", "once").out.splitlines()
    assert sum(line.strip() == "command: echo" for line in lines) == 1
    assert "status: completed" in lines
