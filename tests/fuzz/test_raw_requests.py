"""Bytes on a socket that no HTTP client would send: refused or closed, never a 5xx."""

from __future__ import annotations

import logging
import random
import re
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from cnet.model.workload import WorkloadSpec
from tests.fuzz.books import assert_balanced
from tests.support.agents import AgentProcess

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(300)]

log = logging.getLogger(__name__)  # figures: pytest --log-cli-level=WARNING

SEED = 20_261_122
MUTATIONS = 3_000
PATIENCE_S = 0.5
AT_ONCE = 8  # most of the time goes into waiting for answers that do not come
FINISH = b"\r\n\r\nGET /api/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
"""Behind each request: it completes what was cut short, and makes the agent hang up."""
SUBMIT = b"POST /api/workloads?wait=false HTTP/1.1"
JSON = b"Content-Type: application/json"
BODY = (
    b'{"name":"raw","type":"process","config":{"command":"/bin/true","args":["a"],'
    b'"env":{"A":"b"}},"requirements":{"cpu":0.5,"memory":1000},"labels":{"a":"b"}}'
)


def _request(line: bytes, *headers: bytes, body: bytes = b"", host: bytes = b"localhost") -> bytes:
    lines = [line, b"Host: " + host, *headers]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", b""]) + body


def _submit(body: bytes) -> bytes:
    return _request(SUBMIT, JSON, body=body)


def _http() -> Iterator[bytes]:
    """Wrong in the protocol."""
    get = b"GET /api/workloads HTTP/1.1"
    for line in (
        b"",
        b"\x00",
        b"GET",
        b"GET /",
        b"GET / HTTP/9.9",
        b"GET / HTTP/1.1 extra",
        b"get /api/health HTTP/1.1",
        b"BREW /api/workloads HTTP/1.1",
        b"A" * 70_000 + b" / HTTP/1.1",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1",
        b"GET /api/workloads?" + b"a=b&" * 20_000 + b" HTTP/1.1",
        b"GET http://evil.example/api/workloads HTTP/1.1",
        b"GET //evil.example/ HTTP/1.1",
        b"GET * HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"CONNECT localhost:80 HTTP/1.1",
        b"TRACE /api/workloads HTTP/1.1",
        b"HEAD /api/health HTTP/1.1",
        b"GET /api/../../etc/passwd HTTP/1.1",
        b"GET /api/workloads/%2e%2e%2f%2e%2e HTTP/1.1",
        b"GET /api/workloads/%00 HTTP/1.1",
        b"GET /api/workloads/%zz%f HTTP/1.1",
        b"GET /api/workloads/%ff%fe%ed%a0%80 HTTP/1.1",
        b"GET /api/workloads/\xff\xfe HTTP/1.1",
        "GET /api/workloads/\u0663 HTTP/1.1".encode(),
        b"GET /api/workloads?status=%ed%a0%80&limit=%00 HTTP/1.1",
        b"GET /api/workloads?cursor=\xff HTTP/1.1",
        b"GET /api/workloads#fragment HTTP/1.1",
        b"GET /api/workloads/a/logs?lines=%ff HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /api/health HTTP/1.0",
        b"GET /api/health",
    ):
        yield _request(line)
    for header in (
        b"no colon",
        b": no name",
        b"X : space",
        b" folded: yes",
        b"X: a\x00b",
        b"X: a\nInjected: b",
        b"X: a\rb",
        b"X-\xff: \xff",
        b"X: " + b"a" * 200_000,
        b"\r\n".join(b"X%d: a" % number for number in range(5_000)),
        b"Host: evil.example",
        b"Origin: \xff\xfe",
        b"Origin: http://[::1",
        b"Authorization: Bearer \xff",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13",
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAA",
        b"Connection: close, keep-alive, \x01",
        b"Last-Event-ID: \xff",
        b"Accept-Encoding: " + b"gzip," * 1_000,
        b"Cookie: " + b"a=b; " * 5_000,
        b"Expect: 100-continue",
        b"Expect: the spanish inquisition",
    ):
        yield _request(get, header)
        yield _request(SUBMIT, JSON, header, body=BODY)
    for host in (b"", b"[", b"[::1", b"localhost:x", b"localhost:99999999", b"\xff", b"a b", b"@"):
        yield _request(get, host=host)
    for lengths in (
        b"Content-Length: -1",
        b"Content-Length: 0x10",
        b"Content-Length: " + b"9" * 40,
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 1, 1",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked, gzip",
        b"Transfer-Encoding: \x00chunked",
        b"Content-Length: 999",
    ):
        yield _request(SUBMIT, JSON, lengths) + BODY
    for chunks in (
        b"zz\r\nabc\r\n0\r\n\r\n",
        b"-5\r\nabcde\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\nabc",
        b"5\r\nab\r\n0\r\n\r\n",
        b"0\r\nX: y\r\n\r\n",
        b"1;" + b"a" * 100_000 + b"\r\n{\r\n0\r\n\r\n",
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
    ):
        yield _request(SUBMIT, JSON, b"Transfer-Encoding: chunked") + chunks
    yield _request(get) * 50
    yield _submit(BODY) * 5 + b"garbage"


def _json() -> Iterator[bytes]:
    """Wrong, or merely odd, in the body."""
    yield from (_submit(body) for body in _texts())
    for media in (
        b"",
        b"application/json;",
        b"application/json; charset=utf-16",
        b'application/json; a="\xff',
        b"application/json, text/html",
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b"a" * 10_000,
        b"\xff/\xff",
    ):
        yield _request(SUBMIT, b"Content-Type: " + media, body=BODY)


def _texts() -> Iterator[bytes]:
    yield from (
        b"\xef\xbb\xbf" + BODY,
        BODY.decode().encode("utf-16"),
        BODY + b"x",
        BODY + b"\0",
        BODY[:-1],
        b"\xff" * 100,
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"[" * 900 + b"]" * 900,
        b'{"config":' * 900 + b"1" + b"}" * 900,
        b'{"name":"a","name":"b","type":"process","type":1,"config":{"command":"/bin/true"}}',
        b"1" * 5_000,
        b"-0",
        b"1e999",
        b"NaN",
        b"-Infinity",
        b"'single'",
        b'"\\ud800"',
        b'{"\\udfff":1}',
        b'"\\u0000"',
        b'{"' + b"k" * 500_000 + b'":1}',
        b"/* comment */ {}",
        b"true",
        b'{"__proto__":{},"constructor":{}}',
    )
    values = (
        b"null",
        b"true",
        b"[]",
        b"{}",
        b'""',
        b'"\\u0000"',
        b'"\\ud83d\\ude00"',
        b'"\\u202e"',
        b"-1",
        b"0.1",
        b"-0.0",
        b"1e308",
        b"1e-320",
        b"9007199254740993",
        b"9223372036854775807",
        b"9223372036854775808",
        b"18446744073709551616",
        b"9" * 400,
        b'"' + b"x" * 300_000 + b'"',
        b"[" + b"1," * 20_000 + b"1]",
        b'{"a":{"a":{"a":{"a":1}}}}',
    )
    for field in WorkloadSpec.model_fields:
        for value in values:
            yield _with(b'"%s":%s' % (field.encode(), value))
    for field in ("cpu", "gpu", "memory", "storage"):
        for value in values:
            yield _with(b'"requirements":{"%s":%s}' % (field.encode(), value))
    for field in ("command", "args", "env", "secret_env", "working_dir"):
        for value in values:
            pair = b'"%s":%s' % (field.encode(), value)
            yield _with(b'"config":{"command":"/bin/true",%s}' % pair)
    for value in values:
        yield _with(b'"restart":{"attempts":%s}' % value)
        yield _with(b'"limits":{"cpu":%s}' % value)
        yield _with(b'"type":"opencv","config":{"cascade_path":"/","service_port":%s}' % value)
        yield _with(b'"type":"opencv","config":{"cascade_path":%s,"cascade_type":0}' % value)
        yield _with(b'"type":"mlmodel","config":{"model_path":%s,"model_type":"yolo"}' % value)


def _with(pair: bytes) -> bytes:
    """A right submit with one more pair at its end: the last of two equal keys counts."""
    return BODY[:-1] + b"," + pair + b"}"


def _mutations(count: int) -> Iterator[bytes]:
    """Right requests with some bytes changed, put in, taken out, or the end cut off."""
    chance = random.Random(SEED)
    originals = [
        _submit(BODY),
        _request(b"GET /api/workloads?limit=5&status=running HTTP/1.1", b"Accept: */*"),
        _request(b"DELETE /api/workloads/00000000-0000-4000-8000-000000000000 HTTP/1.1"),
        _request(SUBMIT, JSON, b"Transfer-Encoding: chunked")
        + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
    ]
    for _ in range(count):
        data = bytearray(chance.choice(originals))
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(max(len(data), 1))
            action = chance.randrange(4)
            if action == 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            elif action == 1:
                data[at:at] = chance.choice([b"\0", b"\r\n", b"\xff", b"%", b'"', b"{", b" " * 9])
            elif action == 2:
                del data[at : at + chance.randint(1, 8)]
            else:
                del data[max(at, 1) :]
        yield bytes(data)


@pytest.mark.parametrize("requests", [_http, _json], ids=["http", "json"])
def test_hand_made_requests(agent: AgentProcess, requests: object) -> None:
    assert callable(requests)
    _fire(agent, requests())
    assert_balanced(agent)


def test_mutated_requests(agent: AgentProcess) -> None:
    _fire(agent, _mutations(MUTATIONS))
    assert_balanced(agent)


def test_connections_that_say_nothing_and_hang_up(agent: AgentProcess) -> None:
    """Slow or silent clients hold a socket each and nothing else."""
    address = _address(agent)
    quiet = [socket.create_connection(address) for _ in range(200)]
    for connection in quiet[::2]:
        connection.sendall(b"POST /api/workloads HTTP/1.1\r\nHost: localhost\r\nContent-Le")
    assert agent.client.health()["status"] == "healthy"
    for connection in quiet:
        connection.close()
    assert_balanced(agent)


def _fire(agent: AgentProcess, requests: Iterator[bytes]) -> None:
    answers: Counter[str] = Counter()

    def ask(request: bytes) -> tuple[bytes, list[str]]:
        return request, _answers(agent, request)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for request, statuses in pool.map(ask, requests):
            answers.update(statuses)
            wrong = [status for status in statuses if status.startswith("5")]
            assert not wrong, (wrong, request[:2_000], agent.log()[-2_000:])
    log.warning("answers by status: %s", dict(sorted(answers.items())))
    assert answers["400"] or answers["422"]


def _answers(agent: AgentProcess, request: bytes) -> list[str]:
    """Status codes of what comes back until the agent hangs up, or in half a second."""
    received = b""
    with socket.create_connection(_address(agent), timeout=PATIENCE_S) as connection:
        try:
            connection.sendall(request + FINISH)
            while chunk := connection.recv(65_536):
                received += chunk
        except ConnectionError:
            return ["closed"]  # refused before all of it was sent
        except TimeoutError:
            return ["waiting"]  # it still expects a body
    found = re.findall(rb"^HTTP/1\.1 (\d{3}) ", received, re.MULTILINE)
    return [status.decode() for status in found] or ["closed"]


def _address(agent: AgentProcess) -> tuple[str, int]:
    url = urlsplit(agent.url)
    assert url.hostname is not None and url.port is not None
    return url.hostname, url.port
