"""Start the real program, and speak to it with requests of which every byte is chosen."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import anyio
import boto3
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from cnet.storage import open_store

READY_WITHIN_S = 120.0
KEY, SECRET = "AKTESTADMIN", "secret-of-the-admin"
READER, READER_SECRET = "AKTESTREADER", "secret-of-the-reader"
LIMITED, LIMITED_SECRET = "AKTESTLIMITED", "secret-of-the-limited"
TOKEN = "a-bearer-token"
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
EMPTY = hashlib.sha256().hexdigest()


def md5(body: bytes) -> str:
    """As a Content-MD5 header has it."""
    return base64.b64encode(hashlib.md5(body).digest()).decode()


@dataclass
class Answer:
    """A reply, with its XML at hand."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def xml(self) -> ElementTree.Element:
        """The root element, names without namespace."""
        root = ElementTree.fromstring(self.body)
        for element in root.iter():
            element.tag = element.tag.removeprefix(NAMESPACE)
        return root

    @property
    def code(self) -> str | None:
        """The error code in the body."""
        return self.xml.findtext("Code") if self.body else None

    def texts(self, path: str) -> list[str]:
        """The texts of all elements of that path."""
        return [element.text or "" for element in self.xml.findall(path)]


@dataclass
class Gateway:
    """A running `cnet-gateway`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    root: Path
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def client(self, key: str = KEY, secret: str = SECRET, **config: Any) -> Any:
        """A boto3 client that does not try again."""
        config.setdefault("retries", {"total_max_attempts": 1})
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            region_name="us-east-1",
            config=Config(**config),
        )

    def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        """Exactly this request, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if body and not any(name.lower() == "content-length" for name in headers):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            reply = connection.getresponse()
            content = reply.read()
            fields = {name.lower(): value for name, value in reply.getheaders()}
            return Answer(reply.status, fields, content)
        finally:
            connection.close()

    def sign(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        payload: str | None = None,
        key: str = KEY,
        secret: str = SECRET,
        presigned_s: int | None = None,
    ) -> tuple[str, dict[str, str]]:
        """Target and headers of the request, signed by botocore."""
        fields = {"host": f"127.0.0.1:{self.port}", **(headers or {})}
        request = AWSRequest(method, self.endpoint + target, headers=fields, data=body)
        credentials = Credentials(key, secret)
        if presigned_s is not None:
            S3SigV4QueryAuth(credentials, "s3", "us-east-1", expires=presigned_s).add_auth(request)
        else:
            _Signer(credentials, payload or hashlib.sha256(body).hexdigest()).add_auth(request)
        parts = urlsplit(request.url)
        signed = parts.path + (f"?{parts.query}" if parts.query else "")
        return signed, dict(request.headers.items())

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        **options: Any,
    ) -> Answer:
        """The answer to a signed request."""
        target, signed = self.sign(method, target, headers, body, **options)
        return self.send(method, target, signed, body)

    def put(self, target: str, body: bytes = b"", **headers: str) -> Answer:
        """Store something; fails unless it worked. `x_y=` becomes the header `x-y`."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.ask("PUT", target, {"content-length": str(len(body)), **fields}, body)
        assert answer.status == 200, answer
        return answer


class _Signer(S3SigV4Auth):
    """botocore's, with a value for x-amz-content-sha256 of one's own."""

    def __init__(self, credentials: Credentials, payload: str) -> None:
        super().__init__(credentials, "s3", "us-east-1")
        self._payload = payload

    def payload(self, request: AWSRequest) -> str:
        return self._payload


def write_secret(path: Path, text: str) -> Path:
    """A file only its owner may read."""
    path.write_text(text)
    path.chmod(0o600)
    return path


def keys_file(folder: Path) -> Path:
    """Three keys: one for everything, one that reads, one for the bucket `cnet`."""
    keys = {
        KEY: SECRET,
        READER: {"secret": READER_SECRET, "read_only": True},
        LIMITED: {"secret": LIMITED_SECRET, "buckets": ["cnet"]},
    }
    return write_secret(folder / "keys.json", json.dumps(keys))


@contextmanager
def running(
    folder: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    root: Path | None = None,
    port: int = 0,
) -> Iterator[Gateway]:
    """The program on a free port, ready; killed at the end whatever has happened.

    `root`: of the store; default: one that is made in `folder`.
    """
    log = folder / f"gateway-{time.monotonic_ns()}.txt"
    root = root or make_store(folder / "data")
    command = [sys.executable, "-m", "cnet.gateway", "--base-path", str(root)]
    command += ["--port", str(port)]
    with log.open("wb") as stream:
        process = subprocess.Popen([*command, *arguments], stderr=stream, env=environment)
    try:
        yield Gateway(process, _wait_until_ready(process, log), log, root)
    finally:
        process.kill()
        process.wait()


def make_store(root: Path) -> Path:
    """A store of local files, as an agent makes one; harmless where there is one."""

    async def make() -> None:
        async with open_store(root):
            pass

    with ThreadPoolExecutor(1) as pool:  # a test may have an event loop of its own at work
        pool.submit(anyio.run, make).result()
    return root


def run_to_end(*arguments: str, timeout_s: float = 30) -> subprocess.CompletedProcess[str]:
    """The program's exit code and stderr where it is expected to end by itself."""
    command = [sys.executable, "-m", "cnet.gateway", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        said = log.read_text()
        assert process.poll() is None, f"ended with {process.returncode}: {said}"
        found = re.search(r"listening on http://\S+:(\d+)", said)
        if found is not None:
            return int(found.group(1))
        time.sleep(0.005)
    raise AssertionError(f"not ready within {READY_WITHIN_S} s: {log.read_text()}")
