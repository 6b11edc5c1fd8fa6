"""`run` and `plan` take the same options, and these say where a workload may go."""

from __future__ import annotations

import typer.main

from cnet.cli import plan, run
from cnet.cli.workload_options import WorkloadOptions
from cnet.model.workload import WorkloadSpec

OWN_OF_RUN = {"wait", "follow", "detach", "quiet"}


def test_plan_takes_what_run_takes() -> None:
    commands = typer.main.get_command(plan.app).commands  # type: ignore[attr-defined]
    of_plan = [parameter.name for parameter in commands["plan"].params]
    of_run = [parameter.name for parameter in typer.main.get_command(run.app).params]
    assert [name for name in of_run if name not in OWN_OF_RUN] == of_plan


def test_placement_becomes_fields_of_the_spec() -> None:
    (spec,) = WorkloadOptions(
        command=["true"],
        node="suqian",
        strategy="best_fit",
        affinity=["zone=a", "workload:app=db"],
        prefer=["gpu"],
        anti_affinity=["workload:app=web"],
        avoid=["disk=hdd"],
        priority=5,
        preemptible=True,
        on_node_loss="reschedule",
        reservation="7d6f0c5e-3c0f-4b3c-9a55-2d3a0f3e2f11",
    ).specs()
    parsed = WorkloadSpec.model_validate(spec)
    assert (parsed.node, parsed.strategy, parsed.priority) == ("suqian", "best_fit", 5)
    assert (parsed.preemptible, parsed.on_node_loss) == (True, "reschedule")
    assert str(parsed.reservation) == "7d6f0c5e-3c0f-4b3c-9a55-2d3a0f3e2f11"
    assert spec["affinity"] == [
        {"node_labels": {"zone": "a"}},
        {"workload_labels": {"app": "db"}},
        {"node_labels": {"gpu": "*"}, "required": False},
    ]
    assert spec["anti_affinity"] == [
        {"workload_labels": {"app": "web"}},
        {"node_labels": {"disk": "hdd"}, "required": False},
    ]


def test_what_was_not_given_is_not_sent() -> None:
    (spec,) = WorkloadOptions(command=["true"]).specs()
    assert set(spec) == {"id", "name", "type", "config"}


def test_options_that_are_not_given_leave_config_alone() -> None:
    given = ["working_dir=/var", 'env={"A": "b"}', "service_port=9555"]
    (spec,) = WorkloadOptions(command=["true"], config=given).specs()
    config = spec["config"]
    assert (config["working_dir"], config["env"]) == ("/var", {"A": "b"})
    assert config["service_port"] == 9555
    (spec,) = WorkloadOptions(command=["true"], config=given, workdir="/tmp", port=80).specs()
    assert (spec["config"]["working_dir"], spec["config"]["service_port"]) == ("/tmp", 80)


def test_ports_and_folders_of_a_container() -> None:
    (spec,) = WorkloadOptions(
        image="web", publish=["8080:80", "53/udp"], volume=["data://site:/www:ro"]
    ).specs()
    assert spec["config"] == {
        "image": "web",
        "ports": ["8080:80", "53/udp"],
        "volumes": ["data://site:/www:ro"],
    }
