"""What must be true of an agent after any number of requests."""

from __future__ import annotations

from tests.support.agents import AgentProcess


def assert_balanced(agent: AgentProcess) -> None:
    """It lives, everything can be deleted, and then nothing is held, left or complained of."""
    assert agent.process is not None and agent.process.poll() is None, agent.log()[-4000:]
    for workload in agent.client.list():
        agent.client.delete(workload["id"])
    resources = agent.client.resources()
    assert not any(resources["used"].values()), resources
    assert resources["available"] == resources["total"]
    assert "Traceback" not in agent.log(), agent.log()[-4000:]
    runs = [path.name for path in (agent.data_dir / "runs").iterdir() if path.is_dir()]
    assert runs == []
