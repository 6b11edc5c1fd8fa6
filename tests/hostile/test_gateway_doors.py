"""Hostile words at every door of a gateway: keys are kept exactly, and name no file."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest

from tests.gateway.gateways import Answer, Gateway
from tests.hostile import words
from tests.hostile.ground import Ground

pytestmark = pytest.mark.timeout(600)

S3_TAKES = re.compile("[^\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]+", re.DOTALL)

S3_NAMES = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def may_be_a_key(name: str) -> bool:
    return S3_TAKES.fullmatch(name) is not None and len(name.encode()) <= 1024


def check(ground: Ground, answer: Answer, what: str) -> Answer:
    ground.check_answer(answer.status, answer.body, what)
    assert "x-injected" not in answer.headers
    return answer


def spelled(name: str) -> str:
    return quote(name.encode("utf-8", "surrogatepass"), safe="/-_.~")


@pytest.mark.parametrize("mount", ["", "/s3"])
def test_keys(gateway: Gateway, ground: Ground, names: list[str], mount: str) -> None:
    bucket = "doors" + mount.replace("/", "-")
    assert gateway.ask("PUT", f"/{bucket}").status == 200
    for number, name in enumerate(names):
        if not name:
            continue  # that is the bucket
        target, content = f"{mount}/{bucket}/{spelled(name)}", f"content {number}".encode()
        put = check(ground, gateway.ask("PUT", target, {}, content), name)
        assert (put.status == 200) == may_be_a_key(name), (name, put)
        for method in ("GET", "HEAD", "DELETE"):
            answer = check(ground, gateway.ask(method, target), name)
            if put.status == 200:
                assert answer.status == (204 if method == "DELETE" else 200)
                assert method != "GET" or answer.body == content
            else:
                assert answer.status == 400
    assert gateway.ask("GET", f"/{bucket}?list-type=2").texts("Contents/Key") == []


def test_keys_in_listings(gateway: Gateway, ground: Ground, names: list[str]) -> None:
    assert gateway.ask("PUT", "/listed").status == 200
    wanted = sorted(filter(may_be_a_key, filter(None, names)), key=str.encode)
    for name in wanted:
        gateway.put(f"/listed/{spelled(name)}", b"x")
    found = gateway.client().list_objects_v2(Bucket="listed")["Contents"]
    assert [entry["Key"] for entry in found] == wanted
    for name in filter(None, names):
        for word in ("prefix", "delimiter", "start-after", "continuation-token", "marker"):
            version = "" if word == "marker" else "list-type=2&"
            version += "" if word == "prefix" else "max-keys=3&"
            target = f"/listed?{version}{word}={quote(name.encode('utf-8', 'replace'), safe='')}"
            answer = check(ground, gateway.ask("GET", target), target)
            assert answer.status in {200, 400}
            if word == "prefix" and may_be_a_key(name):
                assert name in answer.texts("Contents/Key")
    entries = "".join(f"<Object><Key>{_xml(name)}</Key></Object>" for name in wanted)
    body = f"<Delete>{entries}</Delete>".encode()
    digest = base64.b64encode(hashlib.md5(body).digest()).decode()
    gone = gateway.ask("POST", "/listed?delete", {"content-md5": digest}, body)
    assert sorted(gone.texts("Deleted/Key"), key=str.encode) == wanted
    assert gateway.ask("DELETE", "/listed").status == 204


def test_sources_of_copies(gateway: Gateway, ground: Ground, names: list[str]) -> None:
    gateway.put("/cnet/here", b"here")
    for name in names:
        for source in {spelled(name), f"cnet/{spelled(name)}", f"/cnet/../{spelled(name)}"}:
            fields = {"x-amz-copy-source": source or "-"}
            answer = check(ground, gateway.ask("PUT", "/cnet/copy", fields), source)
            assert answer.status in {400, 404}, (source, answer)
    assert gateway.ask("GET", "/cnet/copy").code == "NoSuchKey"


def test_presigned_keys(gateway: Gateway, ground: Ground, names: list[str]) -> None:
    for name in filter(None, names):
        target, headers = gateway.sign("GET", f"/cnet/{spelled(name)}", presigned_s=60)
        answer = check(ground, gateway.send("GET", target, headers), name)
        assert answer.status == (404 if may_be_a_key(name) else 400)


def test_keys_of_uploads_in_parts(gateway: Gateway, ground: Ground, names: list[str]) -> None:
    for number, name in enumerate(filter(None, names)):
        target = f"/cnet/{spelled(name)}"
        begun = check(ground, gateway.ask("POST", f"{target}?uploads"), name)
        assert (begun.status == 200) == may_be_a_key(name), (name, begun)
        hostile = quote(name.encode("utf-8", "replace"), safe="")
        for method, query in (("GET", ""), ("DELETE", ""), ("PUT", "&partNumber=1")):
            foreign = gateway.ask(
                method, f"/cnet/key?uploadId={hostile}{query}", {"content-length": "0"}
            )
            assert check(ground, foreign, name).status in {400, 404}
        if begun.status != 200:
            continue
        upload = begun.xml.findtext("UploadId")
        part = gateway.put(f"{target}?partNumber=1&uploadId={upload}", f"{number}".encode())
        body = (
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
            f"<ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
        ).encode()
        done = check(ground, gateway.ask("POST", f"{target}?uploadId={upload}", {}, body), name)
        assert done.status == 200
        assert gateway.ask("GET", target).body == f"{number}".encode()
        assert gateway.ask("DELETE", target).status == 204


def test_buckets(gateway: Gateway, ground: Ground, names: list[str]) -> None:
    before = gateway.ask("GET", "/").texts("Buckets/Bucket/Name")
    for name in set(names) - {"", "s3", "health"}:  # the last two are routes of the gateway
        bucket = quote(name.encode("utf-8", "surrogatepass"), safe="")
        for method, target in (
            ("PUT", f"/{bucket}"),
            ("HEAD", f"/{bucket}"),
            ("GET", f"/{bucket}?list-type=2"),
            ("GET", f"/{bucket}/key"),
            ("PUT", f"/{bucket}/key"),
            ("DELETE", f"/{bucket}/key"),
            ("DELETE", f"/{bucket}"),
        ):
            answer = check(ground, gateway.ask(method, target, {"content-length": "0"}), target)
            assert answer.status >= 400 or S3_NAMES.fullmatch(name), (target, answer)
    assert gateway.ask("GET", "/").texts("Buckets/Bucket/Name") == before


def test_targets_on_the_wire(gateway: Gateway, ground: Ground) -> None:
    """What no client library would send; unsigned, and with a signature for something else."""
    _, headers = gateway.sign("GET", "/cnet/x")
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
    for head in (b"Host: 127.0.0.1\r\n", fields):
        for prefix in (b"/", b"/cnet/", b"/s3/cnet/", b"/s3/../", b"/health/", b""):
            for word in words.targets(ground.canary):
                request = b"GET %b HTTP/1.1\r\n%bConnection: close\r\n\r\n" % (prefix + word, head)
                with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as stream:
                    stream.sendall(request)
                    answer = b"".join(iter(lambda: stream.recv(65_536), b""))
                found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
                ground.check_answer(int(found[1]) if found else 400, answer, request)
                assert b"\nx-injected" not in answer.lower()


def _xml(text: str) -> str:
    return escape(text).replace("\r", "&#13;")
