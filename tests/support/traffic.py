"""Steady requests to a service from several clients, each answer checked and counted."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

TIMEOUT_S = 60.0
BODY = b'{"inputs": [1]}'


def model(folder: Path, number: int) -> str:
    """The file of a custom model that answers with its number."""
    path = folder / f"model_{number}.py"
    path.write_text(
        "class Model:\n"
        "    def load(self):\n        pass\n\n"
        f"    def predict(self, inputs):\n        return {number}\n"
    )
    return str(path)


class Traffic:
    """Clients with a kept-alive connection each; `failed` tells of every answer but 200.

    A connection that the agent has closed between two requests is made again, as any client does;
    one that breaks under a request is a failure.
    """

    def __init__(
        self, url: str, service: str, *, clients: int = 4, total: int | None = None
    ) -> None:
        self._address = urlsplit(url)
        self._path = f"/services/{service}/predict"
        self._left = total
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]
        self.answers: Counter[int] = Counter()
        """by the number of the model"""
        self.failed: list[str] = []
        self.latencies: list[float] = []
        """seconds"""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join()

    def join(self) -> None:
        """Until all clients have ended."""
        for thread in self._threads:
            thread.join(TIMEOUT_S)
            assert not thread.is_alive(), "a client does not end"

    def until(self, *, more: int) -> None:
        """Wait for so many more answers, good or bad."""
        wanted = len(self.latencies) + more
        deadline = time.monotonic() + TIMEOUT_S
        while len(self.latencies) < wanted:
            assert time.monotonic() < deadline, f"{len(self.latencies)} of {wanted} answers"
            time.sleep(0.005)

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(
            self._address.hostname or "", self._address.port, timeout=TIMEOUT_S
        )
        try:
            while not self._stopping.is_set() and self._take():
                self._one(connection)
        finally:
            connection.close()

    def _take(self) -> bool:
        with self._lock:
            if self._left is None:
                return True
            self._left -= 1
            return self._left >= 0

    def _one(self, connection: http.client.HTTPConnection) -> None:
        began = time.monotonic()
        try:
            connection.request("POST", self._path, BODY, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            text = reply.read()
            good = reply.status == 200
            told = f"{reply.status} {text[:300]!r}"
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            good, told = False, repr(error)
        with self._lock:
            self.latencies.append(time.monotonic() - began)
            if good:
                self.answers[json.loads(text)["outputs"]] += 1
            else:
                self.failed.append(told)
