"""An upload far larger than the memory the agent may take (CNET_TEST_LARGE_GIB)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import httpx
import pytest

from tests.api.node import Node
from tests.support.agents import AgentProcess, start_agent
from tests.support.large import MIB, SIZE, Memory, Sink, Source

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def shared_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    agent = start_agent(
        tmp_path_factory.mktemp("agent"),
        resources={"cpu": 4, "gpu": 0, "memory": 8 << 30, "storage": SIZE},
    )
    yield agent
    agent.stop()


def test_a_form_up_and_its_file_down(node: Node) -> None:
    memory = Memory(node.agent.pid)
    source, sink = Source(), Sink()
    with httpx.Client(base_url=node.agent.url, timeout=300, trust_env=False) as web:
        reply = web.post(
            "/api/workloads",
            content=_form("big.bin", source),
            headers={"content-type": "multipart/form-data; boundary=b"},
        )
        assert reply.status_code == 201, reply.text
        stored = node.json(reply)
        with web.stream("GET", f"/api/data/{stored['data_key']}/big.bin") as answer:
            for chunk in answer.iter_raw(MIB):
                sink.write(chunk)
    assert (stored["size"], stored["workload"]["sha256"]) == (SIZE, source.hash.hexdigest())
    assert (sink.size, sink.hash.digest()) == (SIZE, source.hash.digest())
    memory.check(f"{SIZE >> 30} GiB")


def _form(name: str, source: Source) -> Iterator[bytes]:
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return chain([head.encode()], iter(lambda: source.read(MIB) or b"", b""), [b"\r\n--b--\r\n"])
