"""Stock clients of S3, with nothing changed but their endpoint and keys."""

from __future__ import annotations

import io
import random
import threading
from pathlib import Path
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.gateway.gateways import KEY, SECRET, Gateway

TREE = {
    f"{folder}/{number:03}-é +&{number % 7}.bin": random.Random(number).randbytes(
        number * 37 % 5000
    )
    for number in range(60)
    for folder in ("a", "a/b", "c d")
}


@pytest.fixture(scope="module")
def resource(gateway: Gateway) -> Any:
    """boto3's other interface."""
    return boto3.resource(
        "s3",
        endpoint_url=gateway.endpoint,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="eu-central-1",
    )


def test_boto3_resource(resource: Any, bucket: str) -> None:
    made = resource.Bucket(bucket)
    for key, body in TREE.items():
        made.put_object(Key=key, Body=body, Metadata={"size": str(len(body))})
    found = {item.key: item.size for item in made.objects.filter(Prefix="a/")}
    assert found == {key: len(body) for key, body in TREE.items() if key.startswith("a/")}
    for key, body in TREE.items():
        item = made.Object(key)
        assert item.get()["Body"].read() == body
        assert item.metadata == {"size": str(len(body))}
    made.objects.filter(Prefix="a/").delete()
    assert {item.key for item in made.objects.all()} == {key for key in TREE if key[0] == "c"}
    made.object_versions.delete()
    assert list(made.objects.all()) == []
    made.delete()
    assert bucket not in [other.name for other in resource.buckets.all()]


@pytest.mark.parametrize("size", [0, 1, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, 40 << 20])
def test_boto3_transfer(s3: Any, bucket: str, tmp_path: Path, size: int) -> None:
    body = random.Random(size).randbytes(size)
    (tmp_path / "up").write_bytes(body)
    config = TransferConfig(max_concurrency=6)
    s3.upload_file(str(tmp_path / "up"), bucket, "key", Config=config)
    s3.download_file(bucket, "key", str(tmp_path / "down"), Config=config)
    assert (tmp_path / "down").read_bytes() == body
    s3.copy({"Bucket": bucket, "Key": "key"}, bucket, "copy", Config=config)
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == body


@pytest.mark.parametrize("addressing", ["path", "auto"])
@pytest.mark.parametrize("checksums", ["when_supported", "when_required"])
def test_boto3_settings(gateway: Gateway, bucket: str, addressing: str, checksums: str) -> None:
    client = gateway.client(
        s3={
            "addressing_style": addressing,
            "payload_signing_enabled": checksums == "when_required",
        },
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
    )
    client.put_object(Bucket=bucket, Key="key", Body=io.BytesIO(b"body"))
    assert client.get_object(Bucket=bucket, Key="key")["Body"].read() == b"body"
    client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "key"}]})
    with pytest.raises(ClientError) as raised:
        client.get_object(Bucket=bucket, Key="key")
    assert raised.value.response["Error"]["Code"] == "NoSuchKey"


def test_boto3_waiters(s3: Any) -> None:
    s3.create_bucket(Bucket="waited-for")
    s3.get_waiter("bucket_exists").wait(Bucket="waited-for")
    s3.put_object(Bucket="waited-for", Key="key")
    s3.get_waiter("object_exists").wait(Bucket="waited-for", Key="key")
    s3.delete_object(Bucket="waited-for", Key="key")
    s3.get_waiter("object_not_exists").wait(Bucket="waited-for", Key="key")
    s3.delete_bucket(Bucket="waited-for")
    s3.get_waiter("bucket_not_exists").wait(Bucket="waited-for")


def test_boto3_under_the_second_root(gateway: Gateway, bucket: str) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=gateway.endpoint + "/s3",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    client.put_object(Bucket=bucket, Key="a/key", Body=b"body")
    assert client.get_object(Bucket=bucket, Key="a/key")["Body"].read() == b"body"
    assert [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]] == [
        "a/key"
    ]


def test_boto3_from_many_threads(s3: Any, bucket: str) -> None:
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(20):
                body = bytes([number]) * (turn * 997)
                s3.put_object(Bucket=bucket, Key=f"{number}/{turn}", Body=body)
                assert s3.get_object(Bucket=bucket, Key=f"{number}/{turn}")["Body"].read() == body
        except BaseException as problem:  # noqa: BLE001 - told in the main thread
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 160


def test_minio(gateway: Gateway, bucket: str) -> None:
    minio = pytest.importorskip("minio", reason="minio-py is not installed")
    client = minio.Minio(
        f"127.0.0.1:{gateway.port}", access_key=KEY, secret_key=SECRET, secure=False
    )
    assert client.bucket_exists(bucket)
    assert not client.bucket_exists("no-such-bucket")
    for key, body in TREE.items():
        client.put_object(bucket, key, io.BytesIO(body), len(body))
    large = random.Random(1).randbytes(12 << 20)
    client.put_object(bucket, "large", io.BytesIO(large), -1, part_size=5 << 20)
    assert {item.object_name for item in client.list_objects(bucket, recursive=True)} == {
        *TREE,
        "large",
    }
    for key, body in {**TREE, "large": large}.items():
        reply = client.get_object(bucket, key)
        assert reply.read() == body
        reply.close()
    assert client.stat_object(bucket, "large").size == len(large)
    source = minio.commonconfig.CopySource(bucket, "large")
    client.copy_object(bucket, "copy", source)
    client.compose_object(bucket, "joined", [minio.commonconfig.ComposeSource(bucket, "large")] * 2)
    assert client.stat_object(bucket, "joined").size == 2 * len(large)
    url = client.presigned_get_object(bucket, "large")
    target = url[len(gateway.endpoint) :]
    assert gateway.send("GET", target, {"host": f"127.0.0.1:{gateway.port}"}).body == large
    deleted = client.remove_objects(
        bucket,
        [minio.deleteobjects.DeleteObject(key) for key in [*TREE, "large", "copy", "joined"]],
    )
    assert list(deleted) == []
    client.remove_bucket(bucket)


def test_obstore(gateway: Gateway, bucket: str) -> None:
    obstore = pytest.importorskip("obstore", reason="obstore is not installed")
    store = obstore.store.S3Store(
        bucket,
        endpoint=gateway.endpoint,
        access_key_id=KEY,
        secret_access_key=SECRET,
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    for key, body in TREE.items():
        obstore.put(store, key, body)
    large = random.Random(2).randbytes(23 << 20)
    obstore.put(store, "large", io.BytesIO(large), chunk_size=5 << 20, use_multipart=True)
    listed = {item["path"]: item["size"] for page in obstore.list(store) for item in page}
    assert listed == {**{key: len(body) for key, body in TREE.items()}, "large": len(large)}
    for key, body in {**TREE, "large": large}.items():
        assert bytes(obstore.get(store, key).bytes()) == body
    ranges = obstore.get_ranges(store, "large", starts=[5, 9 << 20], lengths=[7, 1000])
    assert [bytes(piece) for piece in ranges] == [large[5:12], large[9 << 20 : (9 << 20) + 1000]]
    level = obstore.list_with_delimiter(store, "a")
    assert list(level["common_prefixes"]) == ["a/b"]
    obstore.copy(store, "large", "copy")
    obstore.rename(store, "copy", "renamed")
    assert obstore.head(store, "renamed")["size"] == len(large)
    with pytest.raises(obstore.exceptions.AlreadyExistsError):
        obstore.put(store, "large", b"x", mode="create")
    obstore.delete(store, [*TREE, "large", "renamed"])
    assert [item for page in obstore.list(store) for item in page] == []


def test_smart_open(s3: Any, bucket: str) -> None:
    smart_open = pytest.importorskip("smart_open", reason="smart_open is not installed")
    lines = [f"line {number} of a text\n" for number in range(300_000)]
    options = {"client": s3, "min_part_size": 5 << 20}
    with smart_open.open(f"s3://{bucket}/text", "w", transport_params=options) as file:
        file.writelines(lines)
    with smart_open.open(f"s3://{bucket}/text", transport_params={"client": s3}) as file:
        assert list(file) == lines
    with smart_open.open(f"s3://{bucket}/text", "rb", transport_params={"client": s3}) as file:
        file.seek(1_000_000)
        assert file.read(50) == "".join(lines).encode()[1_000_000:1_000_050]
    with smart_open.open(f"s3://{bucket}/text.gz", "wb", transport_params=options) as file:
        file.write(b"packed")
    with smart_open.open(f"s3://{bucket}/text.gz", "rb", transport_params={"client": s3}) as file:
        assert file.read() == b"packed"
