"""A registry of images that has one image: as much of the protocol as a pull needs.

Engines speak plain HTTP to registries on loopback.
"""

from __future__ import annotations

import gzip
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.engine import root_file_system

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
USER, PASSWORD = "someone", "pass:word"


def _digest(content: bytes) -> str:
    return f"sha256:{sha256(content).hexdigest()}"


class Registry:
    """`image` can be pulled; with `private` only by `USER`. `hold` keeps its layer back."""

    def __init__(self, *, private: bool) -> None:
        self.private = private
        self.hold = threading.Event()
        self.hold.set()
        self.pulls = 0
        layer = root_file_system()
        packed = gzip.compress(layer, compresslevel=1)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": ["echo", "pulled"], "Env": ["PATH=/bin"]},
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            }
        ).encode()
        self.layer = _digest(packed)
        self.blobs = {self.layer: packed, _digest(config): config}
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {
                    "mediaType": "application/vnd.docker.container.image.v1+json",
                    "size": len(config),
                    "digest": _digest(config),
                },
                "layers": [
                    {
                        "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                        "size": len(packed),
                        "digest": self.layer,
                    }
                ],
            }
        ).encode()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.image = f"{self.host}/team/tool:1"

    def find(self, path: str) -> tuple[str, bytes] | None:
        """Content type and content of what a path names."""
        last = path.rsplit("/", 1)[-1]
        if path == "/v2/":
            return "application/json", b"{}"
        if "/manifests/" in path and last in {"1", _digest(self.manifest)}:
            self.pulls += 1
            return MANIFEST, self.manifest
        if last in self.blobs:
            return "application/octet-stream", self.blobs[last]
        return None

    @contextmanager
    def running(self) -> Iterator[Registry]:
        """Serve in a thread."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self.hold.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self
        wanted = b64encode(f"{USER}:{PASSWORD}".encode()).decode()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if registry.private and self.headers["Authorization"] != f"Basic {wanted}":
                    self._answer(401, "application/json", b"{}")
                elif (found := registry.find(self.path)) is None:
                    self._answer(404, "application/json", b'{"errors": []}')
                else:
                    self._answer(200, *found)

            do_HEAD = do_GET  # noqa: N815  the name that is called

            def _answer(self, status: int, kind: str, content: bytes) -> None:
                self.send_response(status)
                if status == 401:
                    self.send_header("WWW-Authenticate", 'Basic realm="tests"')
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Docker-Content-Digest", _digest(content))
                self.end_headers()
                if self.command != "GET":
                    return
                half = len(content) // 2
                if self.path.endswith(registry.layer):
                    self.wfile.write(content[:half])
                    content = content[half:]
                    registry.hold.wait(60)
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        return Handler


def credentials(registry: Registry, password: str = PASSWORD) -> str:
    """As `docker login` writes them."""
    auth = b64encode(f"{USER}:{password}".encode()).decode()
    return json.dumps({"auths": {registry.host: {"auth": auth}}})
