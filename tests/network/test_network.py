"""The harness: what it breaks is broken, what it heals is whole, what it makes is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.chaos.system import start_time
from tools.partitions import reaper
from tools.partitions.evidence import Evidence
from tools.partitions.network import HUB, Network
from tools.partitions.proxy import REPOSITORY, Proxy
from tools.partitions.topology import SIX

from tests.support.agents import wait_until

PORT = 7000
ECHO = """
import socket, threading
server = socket.create_server(("0.0.0.0", 7000))
def serve(connection):
    while data := connection.recv(4096):
        connection.sendall(data)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],)).start()
"""
ASK = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 7000), timeout=float(sys.argv[2]))
connection.sendall(b"x")
assert connection.recv(1) == b"x"
"""


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(["near", "far"]) as made:
        echo = subprocess.Popen([*made.entering("far"), sys.executable, "-c", ECHO])
        wait_until(lambda: answers(made, "far", made.address("far")), what="an echo")
        yield made
    assert echo.wait() == -signal.SIGKILL


def answers(network: Network, host: str, address: str, timeout_s: float = 0.5) -> bool:
    argv = [*network.entering(host), sys.executable, "-c", ASK, address, str(timeout_s)]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def test_cuts_of_either_direction_and_cables(network: Network) -> None:
    near, far = network.address("near"), network.address("far")
    assert answers(network, "near", far)
    for source, at in ((near, "far"), (far, "near")):
        network.drop(source, at)
        assert not answers(network, "near", far)
        network.restore(source, at)
        assert answers(network, "near", far)
    network.set_link("near", up=False)
    network.drop(near, "far")
    assert not answers(network, "near", far)
    network.heal()
    assert answers(network, "near", far, 5)


def test_a_host_that_refuses_inbound_still_reaches_others(network: Network) -> None:
    network.refuse_inbound("far")
    assert not answers(network, "near", network.address("far"))
    assert answers(network, "far", network.address("far"))  # itself
    network.heal()
    assert not answers(network, "near", network.address("far"))


def test_a_stalled_proxy_closes_nothing_and_loses_nothing(network: Network) -> None:
    proxy = Proxy(
        network.entering(HUB), network.add_hub_address(), PORT, network.address("far"), PORT
    )
    try:
        assert answers(network, "near", proxy.address)
        proxy.set_weather(stalled=["down"])
        argv = [*network.entering("near"), sys.executable, "-c", ASK, proxy.address, "30"]
        asking = subprocess.Popen(argv)
        assert not answers(network, "near", proxy.address)
        assert asking.poll() is None
        proxy.set_weather()
        assert asking.wait() == 0
    finally:
        proxy.close()


def test_threads_enter_hosts_without_touching_each_other(network: Network) -> None:
    here = Path("/proc/thread-self/ns/net").stat().st_ino
    with network.connect("far", PORT, timeout_s=5) as connection:
        connection.sendall(b"hello")
        assert connection.recv(5) == b"hello"
    seen: list[int] = []
    thread = threading.Thread(
        target=lambda: seen.append(Path("/proc/thread-self/ns/net").stat().st_ino)
    )
    thread.start()
    thread.join()
    assert seen == [here] == [Path("/proc/thread-self/ns/net").stat().st_ino]


def test_nothing_is_left_when_the_harness_is_killed() -> None:
    program = (
        "import subprocess, time\n"
        "from tools.partitions.network import Network\n"
        "with Network(['one']) as network:\n"
        "    child = subprocess.Popen(network.entering('one') + ['sleep', '1000'])\n"
        "    print(child.pid, *network._names.values(), flush=True)\n"
        "    time.sleep(1000)\n"
    )
    harness = subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert harness.stdout is not None
    pid, *names = harness.stdout.readline().split()
    assert all(reaper.inode(name) for name in names)
    harness.kill()
    harness.communicate()
    wait_until(lambda: not any(reaper.inode(name) for name in names), what="namespaces gone")
    assert start_time(int(pid)) is None


def test_two_runs_that_meet_are_found_however_short_it_is(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path)
    config = evidence.config()
    argv = [config["command"], *config["args"]]

    def begin(run: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"CNET_WORKLOAD_ID": "w", "CNET_RUN_ID": run}
        before = len(evidence.runs("w"))
        process = subprocess.Popen(argv, env=environment)
        wait_until(lambda: len(evidence.runs("w")) > before, what="its evidence")
        return process

    first = begin("w.1")
    assert evidence.overlap_s("w") is None
    first.kill()
    first.wait()
    second = begin("w.2")
    assert evidence.overlap_s("w") is None
    assert [run.lives() for run in evidence.runs("w")] == [False, True]
    third = begin("w.2")
    overlap = evidence.overlap_s("w")
    assert overlap is not None
    assert overlap >= 0
    for process in (second, third):
        process.kill()
        process.wait()


def test_who_must_see_whom() -> None:
    views = SIX.views()
    assert views["root"] == frozenset(SIX.names)
    assert views["east-1"] == frozenset(SIX.names)  # it escalates
    assert views["west-1"] == {"west-1", "west"}  # it does not
