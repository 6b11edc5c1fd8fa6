"""Access keys of gateways, made and revoked by way of the agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from cnet.cli.main import main
from tests.api.node import Json, Node, refused
from tests.support.agents import wait_until


@pytest.fixture(autouse=True)
def _none_left(node: Node) -> Iterator[None]:
    yield
    for key in node.json(node.http.get("/api/access-keys"))["access_keys"]:
        assert node.http.delete(f"/api/access-keys/{key['access_key_id']}").status_code == 200


def create(node: Node, **wanted: object) -> Json:
    reply = node.http.post("/api/access-keys", json=wanted)
    assert reply.status_code == 201, reply.text
    return node.json(reply)


def client(endpoint: str, key: Json) -> object:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key["access_key_id"],
        aws_secret_access_key=key["secret_access_key"],
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}),
    )


def test_a_key_is_made_used_and_revoked(node: Node) -> None:
    assert node.json(node.http.get("/api/access-keys")) == {"access_keys": [], "count": 0}
    everything = create(node)
    reader = create(node, buckets=["cnet"], read_only=True)
    shown = node.http.get("/api/access-keys")
    assert [key["read_only"] for key in shown.json()["access_keys"]].count(True) == 1
    for key in (everything, reader):
        assert key["secret_access_key"] not in shown.text + node.agent.log()
    (file,) = node.agent.data_dir.rglob("keys.json")
    assert file.stat().st_mode & 0o777 == 0o600
    spec = {"name": "gw", "type": "datagateway", "config": {"read_only": False}}
    endpoint = node.submit(spec)["endpoint"]
    s3, other = client(endpoint, everything), client(endpoint, reader)
    s3.put_object(Bucket="cnet", Key="free", Body=b"1")  # type: ignore[attr-defined]
    found = other.get_object(Bucket="cnet", Key="free")  # type: ignore[attr-defined]
    assert found["Body"].read() == b"1"
    with pytest.raises(ClientError, match="AccessDenied"):
        other.delete_object(Bucket="cnet", Key="free")  # type: ignore[attr-defined]
    path = f"/api/access-keys/{reader['access_key_id']}"
    assert node.http.delete(path).status_code == 200
    refused(node.http.delete(path), 404, "not_found")

    def is_refused() -> bool:
        try:
            other.head_object(Bucket="cnet", Key="free")  # type: ignore[attr-defined]
        except ClientError as error:
            return error.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        return False

    wait_until(is_refused, what="the revoked key is still taken")
    s3.delete_object(Bucket="cnet", Key="free")  # type: ignore[attr-defined]
    wait_until(lambda: node.used()["storage"] == 0, what="what is gone is counted")


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"buckets": []}, "buckets"),
        ({"buckets": ["UPPER"]}, "buckets"),
        ({"buckets": ["cnet", ".staging"]}, "buckets"),
        ({"buckets": "cnet"}, "buckets"),
        ({"read_only": "perhaps"}, "read_only"),
        ({"secret": "of-my-own"}, "secret"),
    ],
)
def test_what_no_key_is_made_of(node: Node, wanted: Json, field: str) -> None:
    reply = node.http.post("/api/access-keys", json=wanted)
    assert reply.status_code == 422, reply.text
    assert node.json(reply)["field"].startswith(field), reply.text
    assert node.json(node.http.get("/api/access-keys"))["count"] == 0


def test_a_file_that_others_may_read_is_said(node: Node) -> None:
    create(node)
    (file,) = node.agent.data_dir.rglob("keys.json")
    file.chmod(0o644)
    refused(node.http.get("/api/access-keys"), 500, "invalid_config", says="0600")
    file.chmod(0o600)


def test_on_the_command_line(
    node: Node, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    agent = ("--agent", node.agent.url, "data", "keys")
    assert main([*agent, "create", "--bucket", "cnet", "--read-only"]) == 0
    said = dict(line.split("=") for line in capsys.readouterr().out.split())
    key_id = said["AWS_ACCESS_KEY_ID"]
    assert said["AWS_SECRET_ACCESS_KEY"]
    assert main([*agent, "ls"]) == 0
    listed = capsys.readouterr().out
    assert key_id in listed and said["AWS_SECRET_ACCESS_KEY"] not in listed
    assert main([*agent, "rm", key_id, "nobody"]) == 3
    assert f"{key_id} revoked" in capsys.readouterr().out
    assert node.json(node.http.get("/api/access-keys"))["count"] == 0
