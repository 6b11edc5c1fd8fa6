"""Who may do what: keys, tokens, nobody; read-only gateways; browsers."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore import auth

from cnet.storage.keys import create_key, remove_key
from tests.gateway.gateways import (
    KEY,
    LIMITED,
    LIMITED_SECRET,
    READER,
    READER_SECRET,
    SECRET,
    TOKEN,
    Gateway,
    keys_file,
    running,
    write_secret,
)

BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Anonymous, read-only, over a store that holds `/cnet/file` and `/other/file`."""
    folder = tmp_path_factory.mktemp("public")
    with running(folder, "--writable", "--keys-file", str(keys_file(folder))) as writer:
        writer.put("/cnet/file", b"body")
        writer.ask("PUT", "/other")
        writer.put("/other/file", b"secret")
        assert writer.stop() == 0
    with running(folder, "--anonymous", "--keys-file", str(folder / "keys.json")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """For holders of a bearer token, writable."""
    folder = tmp_path_factory.mktemp("guarded")
    token = write_secret(folder / "token", TOKEN + "\n")
    with running(folder, "--writable", "--auth-token-file", str(token)) as gateway:
        yield gateway


def plain(gateway: Gateway, method: str, path: str, **headers: str) -> tuple[int, str | None]:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = gateway.send(method, path, {"host": f"127.0.0.1:{gateway.port}", **fields})
    return answer.status, answer.code if answer.body.startswith(b"<?xml") else None


READS = ["/", "/cnet", "/cnet?list-type=2", "/cnet/file", "/s3/cnet/file", "/cnet?uploads", "/none"]
WRITES = [
    ("PUT", "/cnet/file"),
    ("DELETE", "/cnet/file"),
    ("POST", "/cnet?delete"),
    ("PUT", "/new-bucket"),
    ("DELETE", "/cnet"),
    ("POST", "/cnet/file?uploads"),
    ("PUT", "/cnet/file?partNumber=1&uploadId=a"),
    ("POST", "/cnet/file?uploadId=a"),
    ("DELETE", "/cnet/file?uploadId=a"),
    ("PUT", "/cnet/file?acl"),
    ("PUT", "/cnet?versioning"),
    ("DELETE", "/cnet?policy"),
    ("DELETE", "/cnet/file?tagging"),
    ("POST", "/cnet"),
]


@pytest.mark.parametrize("path", READS)
def test_unsigned_is_refused_where_there_are_keys(gateway: Gateway, path: str) -> None:
    assert plain(gateway, "GET", path) == (403, "AccessDenied")


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_unsigned_writes_are_refused(gateway: Gateway, method: str, path: str) -> None:
    assert plain(gateway, method, path) == (403, "AccessDenied")


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_reading_key_writes_nothing(gateway: Gateway, method: str, path: str) -> None:
    answer = gateway.ask(method, path, {}, b"", key=READER, secret=READER_SECRET)
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert "read_only" in answer.texts("Message")[0]


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_read_only_gateway_writes_nothing(public: Gateway, method: str, path: str) -> None:
    answer = public.send(method, path, {"host": f"localhost:{public.port}"})
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert "read_only" in answer.texts("Message")[0]
    assert plain(public, "GET", "/cnet/file")[0] == 200


def test_reading_key_reads(gateway: Gateway) -> None:
    gateway.put("/cnet/file", b"body")
    answer = gateway.ask("GET", "/cnet/file", key=READER, secret=READER_SECRET)
    assert (answer.status, answer.body) == (200, b"body")


def test_key_of_one_bucket(gateway: Gateway) -> None:
    gateway.ask("PUT", "/not-yours")
    gateway.put("/not-yours/file", b"secret")
    options = {"key": LIMITED, "secret": LIMITED_SECRET}
    assert gateway.ask("GET", "/", **options).texts("Buckets/Bucket/Name") == ["cnet"]
    assert gateway.ask("PUT", "/cnet/mine", {}, b"x", **options).status == 200
    for method, path in (
        ("GET", "/not-yours"),
        ("GET", "/not-yours/file"),
        ("PUT", "/not-yours/file"),
        ("DELETE", "/not-yours/file"),
        ("PUT", "/brand-new"),
    ):
        answer = gateway.ask(method, path, {}, b"", **options)
        assert (answer.status, answer.code) == (403, "AccessDenied")
    copied = gateway.ask("PUT", "/cnet/copy", {"x-amz-copy-source": "/not-yours/file"}, **options)
    assert (copied.status, copied.code) == (403, "AccessDenied")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "InvalidBearerToken"),
        ({"authorization": "Bearer wrong"}, 401, "InvalidBearerToken"),
        ({"authorization": "Bearer "}, 401, "InvalidBearerToken"),
        ({"authorization": f"Bearer {TOKEN}x"}, 401, "InvalidBearerToken"),
        ({"authorization": f"Basic {TOKEN}"}, 400, "InvalidRequest"),
        ({"authorization": f"bearer {TOKEN}"}, 200, None),
        (BEARER, 200, None),
    ],
)
def test_bearer_token(
    guarded: Gateway, headers: dict[str, str], status: int, code: str | None
) -> None:
    assert plain(guarded, "GET", "/s3/cnet?list-type=2", **headers)[0] == status
    if status == 401:
        assert plain(guarded, "GET", "/cnet", **headers) == (401, code)


def test_bearer_token_writes_into_its_bucket_only(guarded: Gateway) -> None:
    headers = {"host": "h", **BEARER, "content-length": "1"}
    assert guarded.send("PUT", "/cnet/file", headers, b"x").status == 200
    assert guarded.send("PUT", "/other/file", headers, b"x").code == "NoSuchBucket"


def test_health_needs_nothing(gateway: Gateway, guarded: Gateway, public: Gateway) -> None:
    for each in (gateway, guarded, public):
        answer = each.send("GET", "/health", {"host": "any"})
        assert (answer.status, answer.body.strip()) == (200, b"ok")
        assert each.send("HEAD", "/health", {}).status == 200


def test_anonymous_sees_its_bucket_only(public: Gateway) -> None:
    host = {"host": f"127.0.0.1:{public.port}"}
    assert public.send("GET", "/", host).texts("Buckets/Bucket/Name") == ["cnet"]
    assert public.send("GET", "/s3/cnet/file", host).body == b"body"
    assert public.send("GET", "/other/file", host).code == "NoSuchBucket"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:80"}, 200),
        ({"host": "127.0.0.1"}, 200),
        ({"host": "[::1]:9"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "[::1"}, 403),
        ({"host": ""}, 403),
        ({"host": "localhost", "origin": "http://evil.example"}, 403),
        ({"host": "localhost", "origin": "null"}, 403),
        ({"host": "localhost", "origin": "http://[evil"}, 403),
        ({"host": "localhost", "origin": "http://localhost:3000"}, 200),
    ],
)
def test_pages_of_others_cannot_use_this_machine(
    public: Gateway, headers: dict[str, str], status: int
) -> None:
    assert public.send("GET", "/cnet/file", headers).status == status


def test_anonymous_may_not_choose_headers_of_the_reply(public: Gateway) -> None:
    path = "/cnet/file?response-content-type=text%2Fhtml"
    assert plain(public, "GET", path) == (400, "InvalidRequest")


def test_signature_counts_where_none_is_needed(public: Gateway) -> None:
    answer = public.ask("GET", "/cnet/file", key="AKWRONG", secret="wrong-secret")
    assert (answer.status, answer.code) == (403, "InvalidAccessKeyId")
    wrong = public.ask("GET", "/cnet/file", secret="wrong-secret")
    assert (wrong.status, wrong.code) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("origin", [None, "http://evil.example"])
def test_preflight_is_refused(public: Gateway, origin: str | None) -> None:
    headers = {"host": "localhost", "access-control-request-method": "PUT"}
    answer = public.send(
        "OPTIONS", "/cnet/file", {**headers, **({"origin": origin} if origin else {})}
    )
    expected = (403, "AccessForbidden") if origin else (400, "BadRequest")
    assert (answer.status, answer.code) == expected
    assert not any(name.startswith("access-control-allow") for name in answer.headers)


@pytest.mark.parametrize(
    ("key", "secret", "code"),
    [
        (KEY, "wrong-secret", "SignatureDoesNotMatch"),
        ("AKUNKNOWN", SECRET, "InvalidAccessKeyId"),
        (KEY.lower(), SECRET, "InvalidAccessKeyId"),
        (READER, SECRET, "SignatureDoesNotMatch"),
    ],
)
@pytest.mark.parametrize("presigned_s", [None, 60])
@pytest.mark.parametrize("path", ["/", "/cnet", "/cnet/file", "/none/none", "/cnet?policy"])
def test_wrong_keys(
    gateway: Gateway, key: str, secret: str, code: str, presigned_s: int | None, path: str
) -> None:
    answer = gateway.ask("GET", path, key=key, secret=secret, presigned_s=presigned_s)
    assert (answer.status, answer.code) == (403, code)
    assert SECRET.encode() not in answer.body


@pytest.mark.parametrize("minutes", [-16, 16])
def test_clock_that_is_off(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
    moment = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=minutes)
    monkeypatch.setattr(auth, "get_current_datetime", lambda: moment)
    answer = gateway.ask("GET", "/cnet")
    assert (answer.status, answer.code) == (403, "RequestTimeTooSkewed")


def test_presigned_that_has_ended(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=2)
    monkeypatch.setattr(auth, "get_current_datetime", lambda: moment)
    assert gateway.ask("GET", "/cnet", presigned_s=7300).status == 200
    answer = gateway.ask("GET", "/cnet", presigned_s=7100)
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert answer.texts("Expires")


def test_presigned_put(gateway: Gateway) -> None:
    target, _ = gateway.sign("PUT", "/cnet/presigned", presigned_s=60)
    host = {"host": f"127.0.0.1:{gateway.port}"}
    assert gateway.send("PUT", target, host, b"any body").status == 200
    assert gateway.send("DELETE", target, host).code == "SignatureDoesNotMatch"
    assert gateway.ask("GET", "/cnet/presigned").body == b"any body"


def test_keys_come_and_go_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "data" / "keys.json"
    path.parent.mkdir()
    first = create_key(path)
    with running(tmp_path, "--writable") as gateway:
        options = {"key": first.key_id, "secret": first.secret}
        assert gateway.ask("GET", "/", **options).status == 200
        second = create_key(path, buckets=["cnet"], read_only=True)
        new = {"key": second.key_id, "secret": second.secret}
        while gateway.ask("GET", "/cnet", **new).status != 200:
            assert gateway.process.poll() is None
        remove_key(path, first.key_id)
        while gateway.ask("GET", "/", **options).status == 200:
            assert gateway.process.poll() is None
        assert gateway.ask("GET", "/", **options).code == "InvalidAccessKeyId"
        assert gateway.ask("GET", "/cnet", **new).status == 200
    said = gateway.log.read_text()
    assert first.secret not in said
    assert second.secret not in said


def test_secrets_are_in_no_list_of_processes(guarded: Gateway) -> None:
    line = Path(f"/proc/{guarded.process.pid}/cmdline").read_bytes()
    assert TOKEN.encode() not in line
    environment = Path(f"/proc/{guarded.process.pid}/environ").read_bytes()
    assert TOKEN.encode() not in environment


def test_connection_without_any_request_is_left_alone(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert gateway.send("GET", "/health", {}).status == 200


def test_keys_that_others_may_read_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({KEY: SECRET}))
    path.chmod(0o644)
    with (
        pytest.raises(AssertionError, match=r"ended with 2.*mode 0600"),
        running(tmp_path, "--keys-file", str(path)),
    ):
        pass
