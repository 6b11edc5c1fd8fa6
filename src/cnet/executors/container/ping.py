"""Asking whether an engine answers, without the client library: that is 29 MB of memory, which a
node where nobody runs containers need not hold."""

from __future__ import annotations

import anyio

from cnet.executors.container.connecting import Address, connect

_REQUEST = b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n"
_MAX_ANSWER = 4096


async def ping(address: Address, timeout_s: float) -> str | None:
    """Why it does not answer; None when it does."""
    try:
        with anyio.fail_after(timeout_s):
            async with await connect(address) as stream:
                await stream.send(_REQUEST)
                answer = await stream.receive(_MAX_ANSWER)
    except TimeoutError:
        return f"{address} has not answered within {timeout_s:g} s"
    except OSError as error:
        return f"{address}: {_innermost(error).strerror or error}"
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return f"{address} has closed the connection"
    status = answer.split(b" ", 2)[1:2]
    return None if status == [b"200"] else f"{address} does not speak the Docker Engine API"


def _innermost(error: OSError) -> OSError:
    """What the system said; anyio wraps what it gets for several addresses of a name."""
    cause: BaseException | None = error
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    if error.strerror is None and isinstance(error.__cause__, OSError):
        return _innermost(error.__cause__)
    return cause if isinstance(cause, OSError) else error
