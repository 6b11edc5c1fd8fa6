"""One loaded model, asked over HTTP on this node."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import anyio
import orjson

from cnet.api.ml.answers import ask, tell
from cnet.api.services.connection import Connection, ServiceGoneError
from cnet.api.services.pool import ConnectionPool
from cnet.errors import BadGatewayError, SpecError, TooLargeError, TransientError

PREDICT_S = 120.0
"""For one answer; services give up sooner by themselves."""
MAX_ANSWER_BYTES = 64 * 1024**2


class Service:
    """`run` is the workload and the attempt that it is about."""

    def __init__(self, run: tuple[str, int], pool: ConnectionPool) -> None:
        self.run = run
        self._pool = pool
        self._info: Mapping[str, Any] | None = None

    async def predict(
        self, endpoint: str, input_data: Any, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """See `ModelServing.predict`; ServiceGoneError when it does not answer at all."""
        if self._info is None:
            self._info = await self._ask(endpoint, b"GET", b"/info")
        question = ask(self._info, input_data, options)
        answer = await self._ask(endpoint, b"POST", b"/predict", question.body)
        return tell(self._info, question, answer)

    async def _ask(
        self, endpoint: str, method: bytes, path: bytes, body: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        content = b"" if body is None else orjson.dumps(body)
        try:
            with anyio.fail_after(PREDICT_S):
                try:
                    status, told = await self._once(endpoint, method, path, content)
                except ServiceGoneError:  # an idle connection may have been closed meanwhile
                    status, told = await self._once(endpoint, method, path, content, fresh=True)
        except TimeoutError:
            raise BadGatewayError(f"the model gave no answer within {PREDICT_S:g} s") from None
        return _checked(status, told)

    async def _once(
        self, endpoint: str, method: bytes, path: bytes, content: bytes, *, fresh: bool = False
    ) -> tuple[int, bytes]:
        connection = await self._pool.acquire(endpoint, fresh=fresh)
        whole = False
        try:
            connection.begin(method.decode())
            connection.write(
                b"%b %b HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%b"
                % (method, path, connection.authority.encode(), len(content), content)
            )
            answer = await _answer(connection)
            whole = True
            return answer
        finally:
            self._pool.release(connection, keep=whole)


async def _answer(connection: Connection) -> tuple[int, bytes]:
    head, told, more = await connection.head(), bytearray(), True
    while more:
        piece, more = await connection.read()
        told += piece
        if len(told) > MAX_ANSWER_BYTES:
            raise BadGatewayError("the model answers with more than can be passed on")
    return head.status, bytes(told)


def _checked(status: int, told: bytes) -> Mapping[str, Any]:
    """What it answered; its refusals as errors of ours."""
    try:
        answer = orjson.loads(told)
        code, details = answer.get("error"), answer.get("details")
    except (orjson.JSONDecodeError, AttributeError):
        raise BadGatewayError("the model's service gave an answer that is no JSON object") from None
    if status == HTTPStatus.OK:
        found: Mapping[str, Any] = answer
        return found
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise TransientError(f"the model is busy: {details}", code=code)
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = TooLargeError if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else SpecError
        raise kind(f"input_data: {details}", field="input_data", code=code)
    raise BadGatewayError(f"the model failed: {details}", code=code)
