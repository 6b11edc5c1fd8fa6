"""The HTTP edge of a service: four plain routes, and those below `/v2`, in front of one runtime.

It is an ASGI application without a framework: so few paths need no router, and a service
starts 50 ms sooner and holds 15 MB less without one. It knows nothing of pictures or models.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio

from cnet.errors import CnetError, NotFoundError, SpecError, TooLargeError, TransientError
from cnet.inference.lanes import ClientGoneError, Lanes
from cnet.inference.replies import Reply, failure, open_inference_error, problem, success
from cnet.inference.routes import AtOnce, ByWork, Route, RouteSource
from cnet.inference.runtime import ModelRuntime, PredictRequest

_LOGGER = logging.getLogger(__name__)

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_V2 = "/v2"
_BODY_IDLE_S = 30.0
# The bodies of all requests together; each waiting one is held in memory.
_BUFFERED_BODIES = 8


class InferenceServer:
    """The ASGI application. `max_body_bytes` bounds one body, eight times that all of them."""

    def __init__(
        self,
        runtime: ModelRuntime,
        lanes: Lanes,
        *,
        name: str,
        max_body_bytes: int,
        open_inference: RouteSource | None = None,
    ) -> None:
        self._runtime = runtime
        self._lanes = lanes
        self._name = name
        self._max_body_bytes = max_body_bytes
        self._open_inference = open_inference
        self._buffered = 0
        self._routes: dict[str, Route] = {
            "/": AtOnce(self._overview),
            "/health": AtOnce(lambda: success({"status": "healthy", **runtime.health()})),
            "/info": AtOnce(lambda: success({**runtime.info(), "name": name})),
            "/predict": ByWork(
                lambda request, cpus: success(runtime.predict(request, threads=cpus))
            ),
        }

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one HTTP request; every one gets a JSON answer, whatever it holds."""
        if scope["type"] != "http":
            return
        try:
            reply = await self._reply_or_problem(scope, receive)
        except ClientGoneError:
            return
        if reply.status != 200 and _is_v2(scope["path"]):
            reply = open_inference_error(reply)
        await send(
            {"type": "http.response.start", "status": reply.status, "headers": reply.all_headers()}
        )
        body = b"" if scope["method"] == "HEAD" else reply.body
        await send({"type": "http.response.body", "body": body})

    async def _reply_or_problem(self, scope: Mapping[str, Any], receive: Receive) -> Reply:
        try:
            return await self._reply(scope, receive)
        except (SpecError, NotFoundError, TransientError) as error:
            return failure(error)
        except CnetError as error:
            _LOGGER.exception("%s failed", scope["path"])
            return failure(error)
        except TimeoutError:
            details = f"no byte of the body came for {_BODY_IDLE_S:g} s"
            return problem(408, "body_timeout", details, [(b"connection", b"close")])
        except ClientGoneError:
            raise
        except Exception:
            _LOGGER.exception("%s failed", scope["path"])
            return problem(500, "internal_error", "the service failed; its log says why")

    async def _reply(self, scope: Mapping[str, Any], receive: Receive) -> Reply:
        path, method = scope["path"], scope["method"]
        route = self._find(path)
        if method not in route.methods:
            words = ", ".join(route.methods)
            header = (b"allow", words.encode())
            details = f"{path} takes {words}, not {method}"
            return problem(405, "method_not_allowed", details, [header])
        if isinstance(route, AtOnce):
            return route.answer()
        return await self._work(route, scope, receive)

    def _find(self, path: str) -> Route:
        if self._open_inference is not None and _is_v2(path):
            return self._open_inference.find(path)
        if path not in self._routes:
            raise NotFoundError(f"no route {path}; there are: {', '.join(self._all_routes())}")
        return self._routes[path]

    def _overview(self) -> Reply:
        return success({"service": self._name, "routes": self._all_routes()})

    def _all_routes(self) -> list[str]:
        return [*self._routes, *([_V2] if self._open_inference is not None else [])]

    async def _work(self, route: ByWork, scope: Mapping[str, Any], receive: Receive) -> Reply:
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        self._refuse_announced(headers.get("content-length"))
        body = bytearray()
        try:
            await self._read_body(receive, body)
            request = PredictRequest(
                content_type=headers.get("content-type", ""),
                query=scope["query_string"].decode("latin-1"),
                body=bytes(body),
                headers=headers,
            )

            async def gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    continue

            return await self._lanes.run(lambda cpus: route.work(request, cpus), gone=gone)
        finally:
            self._buffered -= len(body)

    def _refuse_announced(self, length: str | None) -> None:
        if length is not None and length.isdecimal() and int(length) > self._max_body_bytes:
            raise self._too_large()

    async def _read_body(self, receive: Receive, body: bytearray) -> None:
        """Fill `body`, counting it in `_buffered`; refuse it as soon as it is too much."""
        while True:
            with anyio.fail_after(_BODY_IDLE_S):
                message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            chunk: bytes = message.get("body", b"")
            body += chunk
            self._buffered += len(chunk)
            if len(body) > self._max_body_bytes:
                raise self._too_large()
            if self._buffered > _BUFFERED_BODIES * self._max_body_bytes:
                raise TransientError(
                    "the bodies of waiting requests fill the memory set aside for them; "
                    "ask again in a second",
                    code="overloaded",
                )
            if not message.get("more_body", False):
                return

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"the body may have at most {self._max_body_bytes} bytes")


def _is_v2(path: str) -> bool:
    return path == _V2 or path.startswith(f"{_V2}/")
