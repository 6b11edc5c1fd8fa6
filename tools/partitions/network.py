"""Network namespaces joined by a bridge in a hub of their own, and cuts between them.

Names carry the pid and start time of the harness, so that a later run recognises and removes what
one that died with its reaper has left.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from tools.chaos.system import Process, incarnation
from tools.partitions import reaper

PREFIX = "cnet-net"
SUBNET = "10.77.0"
HUB = "hub"
PROGRAMS = ("ip", "nsenter", "iptables")
CUTS = "CUTS"  # the chain of iptables that healing empties
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def why_not() -> str | None:
    """Why no network can be made here, or None."""
    if sys.platform != "linux":
        return "network namespaces are of Linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"not on PATH: {', '.join(missing)}"
    probe = f"{PREFIX}-{_identity()}-probe"
    try:
        _ip("netns", "add", probe)
        _inside(probe, "iptables", "-N", CUTS)
        _inside(probe, "iptables", "-A", CUTS, "-m", "conntrack", "--ctstate", "NEW", "-j", "DROP")
    except NetworkError as error:
        return str(error)
    finally:
        reaper.destroy([probe])
    return None


class NetworkError(Exception):
    """A command that shapes the network has failed; says which."""


class Network:
    """Hosts, each with one address on the common bridge. Use it in a `with` block.

    Rules drop packets where they arrive, by their source: a cut of one direction leaves the other.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self.hosts = tuple(hosts)
        self._names = {host: f"{PREFIX}-{_identity()}-{host}" for host in (HUB, *hosts)}
        self._addresses = {host: f"{SUBNET}.{number}" for number, host in enumerate(hosts, 2)}
        self._addresses[HUB] = f"{SUBNET}.1"
        self._next_address = len(hosts) + 2
        self._dropped: set[tuple[str, str]] = set()
        self._down: set[str] = set()
        self._lock = threading.Lock()
        self._reaper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        sweep()
        # First the one who removes, then what is to be removed.
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", "-S", reaper.__file__, *self._names.values()],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process in it and remove it. Raises NetworkError when that fails."""
        if self._reaper is None or self._reaper.stdin is None:
            return
        self._reaper.stdin.close()
        if code := self._reaper.wait():
            raise NetworkError(f"the network was not removed: its reaper ended with {code}")

    def _build(self) -> None:
        for name in self._names.values():
            _ip("netns", "add", name)
            _inside(name, "ip", "link", "set", "lo", "up")
        hub = self._names[HUB]
        _ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", hub, "address", "add", f"{self._addresses[HUB]}/24", "dev", "bridge")
        _ip("-n", hub, "link", "set", "bridge", "up")
        for number, host in enumerate(self.hosts):
            name, port = self._names[host], f"port{number}"
            _ip(*f"link add eth0 netns {name} type veth peer name {port} netns {hub}".split())
            _ip("-n", hub, "link", "set", port, "master", "bridge", "up")
            _ip("-n", name, "address", "add", f"{self._addresses[host]}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            self._iptables(host, "-N", CUTS)
            self._iptables(host, "-A", "INPUT", "-j", CUTS)

    # --- who is where --------------------------------------------------------------------------

    def address(self, host: str) -> str:
        """The IPv4 address of a host."""
        return self._addresses[host]

    def add_hub_address(self) -> str:
        """One more address of the hub, for a program in it that stands for another host."""
        address = f"{SUBNET}.{self._next_address}"
        self._next_address += 1
        _ip("-n", self._names[HUB], "address", "add", f"{address}/24", "dev", "bridge")
        return address

    def entering(self, host: str) -> list[str]:
        """Words before a command that put it on a host; mounts and cgroups stay as they are."""
        return ["nsenter", f"--net={reaper.NAMED / self._names[host]}", "--"]

    def inode(self, host: str) -> int:
        """What a process on that host sees as its network namespace."""
        number = reaper.inode(self._names[host])
        if number is None:
            raise NetworkError(f"{host} has no namespace any more")
        return number

    def processes(self, host: str) -> list[int]:
        """Pids of all processes on a host."""
        return reaper.inside([self.inode(host)])

    def connect(self, host: str, port: int, *, timeout_s: float) -> socket.socket:
        """A connection made on a host to a port of its own. Raises OSError."""
        with self._entered(host):
            connection = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    @contextmanager
    def _entered(self, host: str) -> Iterator[None]:
        """The calling thread is on the host meanwhile; sockets stay where they were made."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            there = os.open(reaper.NAMED / self._names[host], os.O_RDONLY)
            try:
                _set_namespace(there)
                try:
                    yield
                finally:
                    _set_namespace(own)
            finally:
                os.close(there)
        finally:
            os.close(own)

    # --- breaking and healing ------------------------------------------------------------------

    def refuse_inbound(self, host: str) -> None:
        """From now on, and whatever is healed, nobody can open a connection to this host."""
        new = "-m conntrack --ctstate NEW -j DROP"
        self._iptables(host, "-A", "INPUT", "!", "-i", "lo", *new.split())

    def drop(self, source: str, at: str) -> None:
        """Packets of the address `source` are lost on arrival at the host `at`."""
        with self._lock:
            if (source, at) not in self._dropped:
                self._iptables(at, "-A", CUTS, "-s", source, "-j", "DROP")
                self._dropped.add((source, at))

    def restore(self, source: str, at: str) -> None:
        """The opposite of `drop`."""
        with self._lock:
            if (source, at) in self._dropped:
                self._iptables(at, "-D", CUTS, "-s", source, "-j", "DROP")
                self._dropped.discard((source, at))

    def set_link(self, host: str, *, up: bool) -> None:
        """Pull the host's cable, or plug it in again."""
        with self._lock:
            _ip("-n", self._names[host], "link", "set", "eth0", "up" if up else "down")
            (self._down.discard if up else self._down.add)(host)

    def heal(self) -> None:
        """All cables are in, nothing is dropped any more."""
        for host in tuple(self._down):
            self.set_link(host, up=True)
        with self._lock:
            for host in {at for _, at in self._dropped}:
                self._iptables(host, "-F", CUTS)
            self._dropped.clear()

    def received_bytes(self, host: str) -> int:
        """Bytes that have arrived at a host, headers of Ethernet included."""
        text = _inside(self._names[host], "cat", "/proc/net/dev")
        line = next(line for line in text.splitlines() if line.strip().startswith("eth0:"))
        return int(line.partition(":")[2].split()[0])

    def _iptables(self, host: str, *words: str) -> None:
        _inside(self._names[host], "iptables", "-w", *words)


def sweep() -> None:
    """Remove what runs that are dead have left."""
    if not reaper.NAMED.is_dir():
        return
    for path in reaper.NAMED.iterdir():
        words = path.name.removeprefix(f"{PREFIX}-").split("-")
        if not path.name.startswith(f"{PREFIX}-") or not all(map(str.isdecimal, words[:2])):
            continue
        if not Process(int(words[0]), int(words[1])).lives():
            reaper.destroy([path.name])


def _identity() -> str:
    own = incarnation(os.getpid())
    if own is None:
        raise NetworkError("/proc does not show this process")
    return f"{own.pid}-{own.start}"


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _ip(*words: str) -> str:
    return _run("ip", *words)


def _inside(name: str, *words: str) -> str:
    return _run("nsenter", f"--net={reaper.NAMED / name}", "--", *words)


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NetworkError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")
    return done.stdout
