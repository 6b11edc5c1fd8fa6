"""Requests as an agent's users send them; nothing is tried again."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from tools.chaos.agent import ANSWER_TIMEOUT_S, UnansweredError
from tools.chaos.model import InvariantError


class Wire:
    """A kept connection to an agent that may be killed at any time; for one thread."""

    def __init__(self) -> None:
        self._connection: http.client.HTTPConnection | None = None
        self._address: tuple[str, int] | None = None

    def ask(
        self,
        address: tuple[str, int],
        method: str,
        path: str,
        body: bytes | None = None,
        media_type: str = "application/octet-stream",
    ) -> tuple[int, bytes]:
        """Status and body. Raises UnansweredError; InvariantError for an answer that is a fault."""
        if address != self._address or self._connection is None:
            self.close()
            self._connection = http.client.HTTPConnection(*address, timeout=ANSWER_TIMEOUT_S)
            self._address = address
        headers = {} if body is None else {"Content-Type": media_type}
        try:
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise UnansweredError(f"{method} {path}: {error!r}") from error
        if answer.status >= 500:
            raise InvariantError("answer", f"{method} {path}: {answer.status} {content[:500]!r}")
        return answer.status, content

    def json(
        self, address: tuple[str, int], method: str, path: str, document: Any = None
    ) -> tuple[int, dict[str, Any]]:
        """The same with JSON."""
        body = None if document is None else json.dumps(document).encode()
        status, content = self.ask(address, method, path, body, "application/json")
        return status, json.loads(content)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def form(config: Mapping[str, Any], files: Sequence[tuple[str, str, bytes]]) -> tuple[bytes, str]:
    """A form and its media type; `files` are (name of the part, name of the file, content)."""
    boundary = uuid.uuid4().hex
    fields = [('name="config"', json.dumps(config).encode())]
    fields += [(f'name="{part}"; filename="{name}"', data) for part, name, data in files]
    pieces = [
        b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n"
        % (boundary.encode(), head.encode(), data)
        for head, data in fields
    ]
    body = b"".join(pieces) + b"--%b--\r\n" % boundary.encode()
    return body, f"multipart/form-data; boundary={boundary}"
