"""`cnet service` and `cnet scale` against a real agent."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Cnet
from tests.support.traffic import model


def test_a_service_from_the_command_line(cnet: Cnet, tmp_path: Path) -> None:
    def options(number: int) -> list[str]:
        return ["--model", str(model(tmp_path, number))]

    made = cnet("service", "create", "--name", "m", "--replicas", "2", *options(0))
    assert (made.code, made.out) == (0, "m: ready (v1 2/2)\n"), made.err
    assert cnet("scale", "m", "1").out == "m: ready (v1 1/1)\n"
    updated = cnet("service", "update", "--name", "m", *options(1))
    assert updated.out == "m: ready (v2 1/1)\n", updated.err
    canary = cnet("service", "update", "--name", "m", "--as", "next", "--weight", "10", *options(2))
    assert canary.out == "m: ready (v2 1/1, next 1/1)\n", canary.err
    listed = cnet("service", "ls").out
    assert "v2=9000 next=1000" in listed and "2/2" in listed
    assert cnet("service", "traffic", "m", "v2=1", "next=1").code == 0
    assert cnet("service", "describe", "m", "--json").json["traffic"] == {"v2": 1, "next": 1}
    assert cnet("service", "rollback", "m", "--to", "v1").out == "m: ready (v1 1/1)\n"
    scaled = cnet("scale", "m", "--min", "1", "--max", "2", "--json").json
    assert scaled["autoscale"]["max"] == 2
    refused = cnet("scale", "m", "3")
    assert refused.code != 0 and "autoscale null" in refused.err
    assert cnet("scale", "m", "--fixed").code == 0
    for arguments, says in (
        (["scale", "m"], "give a number of replicas"),
        (["scale", "m", "--min", "1"], "need --max"),
        (["service", "traffic", "m", "v1=x"], "a whole number"),
        (["service", "create", "--name", "n", "--no-queue", *options(0)], "not for services"),
        (["service", "describe", "nobody"], "no service 'nobody'"),
        (["service", "update", "m", *options(1)], "--name: which service?"),
    ):
        failed = cnet(*arguments)
        assert failed.code != 0 and says in failed.err, failed
    assert cnet("service", "rm", "m").out == "m removed\n"
    assert cnet("service", "rm", "m").code != 0 and cnet("service", "rm", "-f", "m").code == 0
    assert cnet("ps", "-a", "-q").out == ""
