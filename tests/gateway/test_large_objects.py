"""Objects far larger than the memory the gateway may take: up, down, bit for bit the same.

They have 1 GiB; CNET_TEST_LARGE_GIB=5 makes them as large as one PutObject may be.
"""

from __future__ import annotations

import http.client
import io
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig

from tests.gateway.gateways import Gateway
from tests.support.large import MIB, SIZE, Memory, Sink, Source, blocks

pytestmark = pytest.mark.timeout(900)

PART = 8 * MIB
MANY = 32


@pytest.fixture(scope="module")
def memory(gateway: Gateway) -> Memory:
    """Of the gateway, over what it took before the first of these tests."""
    return Memory(gateway.process.pid)


def test_one_request_up_and_down(gateway: Gateway, memory: Memory, bucket: str) -> None:
    source, sink = Source(), Sink()
    path = f"/{bucket}/large"
    size = {"content-length": str(SIZE)}
    target, headers = gateway.sign("PUT", path, size, payload="UNSIGNED-PAYLOAD")
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, 300, blocksize=MIB)
    try:
        connection.request("PUT", target, body=source, headers=headers)
        reply = connection.getresponse()
        assert (reply.status, reply.read()) == (200, b"")
        target, headers = gateway.sign("GET", path)
        connection.request("GET", target, headers=headers)
        reply = connection.getresponse()
        while data := reply.read(MIB):
            sink.write(data)
    finally:
        connection.close()
    assert gateway.ask("DELETE", path).status == 204
    assert (sink.size, sink.hash.digest()) == (SIZE, source.hash.digest())
    memory.check(f"{SIZE >> 30} GiB")


def test_boto3_in_parts_and_ranges(s3: Any, memory: Memory, bucket: str) -> None:
    source, sink = Source(), Sink()
    s3.upload_fileobj(io.BufferedReader(source, MIB), bucket, "large")
    parts = s3.head_object(Bucket=bucket, Key="large", PartNumber=1)["PartsCount"]
    s3.download_fileobj(bucket, "large", sink)
    s3.delete_object(Bucket=bucket, Key="large")
    assert (sink.size, sink.hash.digest()) == (SIZE, source.hash.digest())
    assert parts == SIZE // PART
    memory.check(f"{SIZE >> 30} GiB")


def test_many_parts_at_once(gateway: Gateway, memory: Memory, bucket: str, tmp_path: Path) -> None:
    with (tmp_path / "up").open("wb") as file:
        file.writelines(blocks(MANY * PART))
    s3 = gateway.client(max_pool_connections=MANY)
    config = TransferConfig(multipart_chunksize=PART, max_concurrency=MANY)
    s3.upload_file(str(tmp_path / "up"), bucket, "many", Config=config)
    (tmp_path / "up").unlink()
    s3.delete_object(Bucket=bucket, Key="many")
    memory.check(f"{MANY} parts")
