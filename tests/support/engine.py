"""A real container engine for tests: a `dockerd` of their own, with its own socket and folders.

The engine of the machine, if there is one, is neither used nor touched. Needs root, `dockerd` and a
static busybox (Debian: docker.io, busybox-static, iproute2); `missing()` says what is not there.
The engine keeps off iptables: published ports are served by its own proxies.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.agents import wait_until

IMAGE = "cnet-test/busybox:latest"
APPLETS = ("sh", "sleep", "httpd", "echo", "cat", "ls", "env", "id", "dd", "head", "tr", "touch")
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0


def missing() -> str | None:
    """Why no engine can be started here; None when one can."""
    if os.geteuid() != 0:
        return "a container engine needs root"
    for program in ("dockerd", "containerd", "runc", "ip"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    busybox = shutil.which("busybox")
    if busybox is None or not _is_static(busybox):
        return "there is no static busybox (Debian: busybox-static)"
    return None


def _is_static(program: str) -> bool:
    return b"ld-linux" not in Path(program).read_bytes()[:4096]


@dataclass
class Engine:
    """One `dockerd`; `folder` keeps everything of it, its log included."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="cnet-engine-")))
    options: Sequence[str] = ()
    """more of `dockerd`"""
    process: subprocess.Popen[bytes] | None = None
    bridge: str = ""
    more: tuple[str, ...] = ()
    """further arguments"""

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    @property
    def host(self) -> str:
        """As `docker.host` takes it."""
        return f"unix://{self.socket}"

    def log(self) -> str:
        """The last of what the engine has said."""
        file = self.folder / "log"
        return file.read_text(errors="replace")[-4000:] if file.exists() else ""

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Ask its API, past all code under test; JSON where it answers with that.

        Raises AssertionError for an error, httpx.TransportError when it is away.
        """
        transport = httpx.HTTPTransport(uds=str(self.socket))
        with httpx.Client(transport=transport, base_url="http://engine", timeout=60) as client:
            answer = client.request(method, path, **options)
            assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
            is_json = answer.headers.get("content-type", "").startswith("application/json")
            return answer.json() if is_json and answer.content else answer.text

    def containers(self, **labels: str) -> list[dict[str, Any]]:
        """All containers with these labels, ended ones included."""
        wanted = [f"{name.replace('_', '.', 1)}={value}" for name, value in labels.items()]
        filters = json.dumps({"label": wanted})
        found: list[dict[str, Any]] = self.ask(
            "GET", "/containers/json", params={"all": "1", "filters": filters}
        )
        return found

    def names(self, **labels: str) -> set[str]:
        """Their names."""
        return {each["Names"][0].lstrip("/") for each in self.containers(**labels)}

    # --- life ----------------------------------------------------------------------------------

    def start(self) -> Engine:
        """Start it (again) and wait until it answers. Raises AssertionError with its log."""
        self.bridge = self.bridge or _make_bridge()
        # A zombie, where pid 1 is slow to collect it, would pass for the one that is to be used.
        (self.folder / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)
        argv = ["dockerd", "-H", self.host, "--data-root", str(self.folder / "root")]
        argv += ["--exec-root", str(self.folder / "exec"), "-p", str(self.folder / "pid")]
        argv += ["--bridge", self.bridge, "--iptables=false", "--ip-forward=false"]
        argv += ["--ip-masq=false", "--userland-proxy=true"]
        argv += [
            "--config-file",
            str(self.folder / "no-such-file"),
            "--shutdown-timeout",
            "5",
            *self.more,
        ]
        argv += self.options
        (self.folder / "no-such-file").write_text("{}")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(self.answers, timeout_s=START_TIMEOUT_S, what=lambda: f"engine: {self.log()}")
        return self

    def answers(self) -> bool:
        """Whether it can be asked something."""
        assert self.process is not None
        assert self.process.poll() is None, f"the engine has ended: {self.log()}"
        try:
            with socket.socket(socket.AF_UNIX) as probe:  # httpx would not close one in vain
                probe.connect(str(self.socket))
            return bool(self.ask("GET", "/_ping") == "OK")
        except (OSError, httpx.HTTPError):
            return False

    def kill(self) -> None:
        """SIGKILL to it, and so to its containerd; containers run on until its next start."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: it ends its containers, then itself."""
        self._end(signal.SIGTERM)

    def freeze(self, *, frozen: bool) -> None:
        """It neither answers nor closes anything until it is let go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(timeout=STOP_TIMEOUT_S)

    def clear(self) -> None:
        """Remove every container."""
        for container in self.containers():
            self.ask("DELETE", f"/containers/{container['Id']}", params={"force": "1", "v": "1"})

    def discard(self) -> None:
        """End it and everything of it, and remove its folder."""
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
        finally:
            self._kill_left()
            _unmount(self.folder)
            shutil.rmtree(self.folder, ignore_errors=True)
            if self.bridge:
                subprocess.run(["ip", "link", "delete", self.bridge], check=True)

    def _kill_left(self) -> None:
        """What a killed engine has left: shims, and below them the processes of containers."""
        while left := [process for process in psutil.process_iter() if self._owns(process)]:
            for process in left:
                try:
                    below = process.children(recursive=True)
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
                for each in below:
                    with suppress(psutil.NoSuchProcess):
                        each.kill()
            psutil.wait_procs(left, timeout=1)

    def _owns(self, process: psutil.Process) -> bool:
        try:
            return process.pid != os.getpid() and any(
                str(self.folder) in word for word in process.cmdline()
            )
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            return False

    # --- images --------------------------------------------------------------------------------

    def import_busybox(self, image: str = IMAGE) -> None:
        """Make an image of the busybox of this machine: nothing is pulled from anywhere."""
        repository, tag = image.rsplit(":", 1)
        self.ask(
            "POST",
            "/images/create",
            params={"fromSrc": "-", "repo": repository, "tag": tag},
            content=root_file_system(),
            headers={"content-type": "application/x-tar"},
        )


def root_file_system() -> bytes:
    """A tar of busybox and its names."""
    busybox = shutil.which("busybox")
    assert busybox is not None
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for folder in ("bin", "tmp", "etc", "www"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            archive.addfile(entry)
        archive.add(busybox, "bin/busybox")
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        content = b"root:x:0:0:root:/:/bin/sh\nguest:x:1000:1000:guest:/:/bin/sh\n"
        users = tarfile.TarInfo("etc/passwd")
        users.size = len(content)
        archive.addfile(users, io.BytesIO(content))
    return packed.getvalue()


def _make_bridge() -> str:
    """A bridge of its own, so that engines of several test runs do not meet on `docker0`."""
    for number in range(256):
        name = f"cnet-test-{number}"
        made = subprocess.run(
            ["ip", "link", "add", name, "type", "bridge"], capture_output=True, check=False
        )
        if made.returncode == 0:
            address = f"10.213.{number}.1/24"
            subprocess.run(["ip", "address", "add", address, "dev", name], check=True)
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
            return name
    raise AssertionError(f"no bridge could be made: {made.stderr.decode()}")


def _unmount(folder: Path) -> None:
    """Also what is hidden by a later mount upon a folder above it, as only a second look can."""
    while mounts := _mounts(folder):
        for mount in sorted(mounts, reverse=True):
            subprocess.run(["umount", "-l", mount], capture_output=True, check=False)
        assert len(left := _mounts(folder)) < len(mounts), f"cannot be unmounted: {left}"


def _mounts(folder: Path) -> list[str]:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [each for each in mounts if each.startswith(f"{folder}/")]


def is_hidden(mount: str) -> bool:
    """Whether a file system is mounted there that nobody can reach any more, nor unmount.

    Docker, while it ends, unmounts its root, which it had mounted upon itself, and goes on with
    starts all the same; the next one mounts its root upon what those have mounted.
    """
    return mount in _mounts(Path(mount).parent) and not Path(mount).is_mount()
