"""What must be true of an agent after any number of requests."""

from __future__ import annotations

from tests.support.agents import AgentProcess, wait_until


def assert_balanced(agent: AgentProcess) -> None:
    """It lives, everything can be deleted, and then nothing is held, left or complained of.

    A submit whose client hung up before the answer may still come about: it is waited for, not
    forgiven. What stays without a workload that it belongs to is a leak and fails.
    """
    assert agent.process is not None and agent.process.poll() is None, agent.log()[-4000:]
    wait_until(lambda: _is_empty(agent), what=lambda: f"left: {_left(agent)}")
    resources = agent.client.resources()
    assert not any(resources["used"].values()), resources
    assert resources["available"] == resources["total"]
    assert "Traceback" not in agent.log(), agent.log()[-4000:]


def _is_empty(agent: AgentProcess) -> bool:
    for workload in agent.client.list():
        agent.client.delete(workload["id"])
    return not _left(agent)


def _left(agent: AgentProcess) -> list[str]:
    """Run directories that are still there."""
    return [path.name for path in (agent.data_dir / "runs").iterdir() if path.is_dir()]
