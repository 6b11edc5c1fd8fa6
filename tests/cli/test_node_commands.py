"""`version`, `resources`, `nodes`, `top`, `events`, and Ctrl-C, against a real agent."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable

from cnet import __version__
from tests.cli.conftest import Cnet

Started = Callable[..., subprocess.Popen[str]]


def test_version_names_the_agent(cnet: Cnet) -> None:
    assert f"agent {__version__} (here) at " in cnet("version").out
    assert cnet("version", "--json").json["agent"]["node_id"] == "here"


def test_resources_and_nodes_tell_what_is_held(cnet: Cnet) -> None:
    assert cnet("run", "--name", "holder", "--cpu", "1.5", "--", "sleep", "600").code == 0
    assert cnet("resources", "--json").json["used"]["cpu"] == 1.5
    assert "1.5" in cnet("resources").out
    shown = cnet("nodes").out
    assert "here" in shown
    assert "1.5 / 4" in shown
    assert cnet("nodes", "--json").json["count"] == 1
    assert cnet("rm", "-f", "holder").code == 0
    assert cnet("resources", "--json").json["used"]["cpu"] == 0


def test_top_measures_a_busy_process(cnet: Cnet) -> None:
    assert cnet("run", "--name", "busy", "--", "sh", "-c", "while :; do :; done").code == 0
    assert cnet("run", "--name", "idle", "--", "sleep", "600").code == 0
    sample = cnet("top", "--once", "--json").json
    rows = {row["name"]: row for row in sample["workloads"]}
    assert rows["busy"]["cpu_percent"] > 5  # of one core, on a machine that others use, too
    assert rows["idle"]["cpu_percent"] < rows["busy"]["cpu_percent"]
    assert rows["idle"]["rss_bytes"] > 0
    assert sample["workloads"][0]["name"] == "busy"
    shown = cnet("top", "--once").out
    assert shown.index("busy") < shown.index("idle")
    assert cnet("rm", "-f", "busy", "idle").code == 0


def test_events_are_printed_as_they_happen_until_ctrl_c(cnet: Cnet, started: Started) -> None:
    watcher = started("events", "--json", "--after", "0")
    workload = cnet("run", "--json", "--", "true").json
    assert watcher.stdout is not None
    seen = []
    for line in watcher.stdout:
        event = json.loads(line)
        if event.get("workload_id") == workload["id"]:
            seen.append(event["status"])
            if event["status"] == "completed":
                break
    assert seen[0] == "pending"
    watcher.send_signal(signal.SIGINT)
    _, err = watcher.communicate(timeout=60)
    assert (watcher.returncode, err) == (130, "")


def test_ctrl_c_while_following_leaves_the_workload_running(cnet: Cnet, started: Started) -> None:
    script = "echo ready; exec sleep 600"
    follower = started("run", "--name", "followed", "--follow", "--", "sh", "-c", script)
    assert follower.stdout is not None
    while "ready" not in follower.stdout.readline():
        assert follower.poll() is None
    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=60)
    assert (follower.returncode, err) == (130, "")
    assert cnet("--json", "describe", "followed").json["status"] == "running"
    assert cnet("rm", "-f", "followed").code == 0


def test_completion_offers_names_of_workloads(cnet: Cnet, started: Started) -> None:
    assert cnet("run", "--name", "completable", "--", "sleep", "600").code == 0
    words = {"COMP_WORDS": "cnet stop comp", "COMP_CWORD": "2"}
    out, err = started(_CNET_COMPLETE="complete_bash", **words).communicate(timeout=60)
    assert out.split() == ["completable"], err
    assert cnet("rm", "-f", "completable").code == 0
