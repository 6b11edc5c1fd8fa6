"""Full stores, and what the agent protects."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio
import pytest

from cnet.storage import open_store, queries
from tests.gateway.gateways import Gateway, keys_file, md5, running

MIB = 1 << 20


def set_quota(root: Path, quota: int | None) -> None:
    """Bound the store, as the agent does."""

    async def change() -> None:
        async with open_store(root) as store:
            await store.set_quota(quota)

    anyio.run(change)


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose quota these tests change."""
    folder = tmp_path_factory.mktemp("room")
    with running(folder, "--writable", "--keys-file", str(keys_file(folder))) as gateway:
        yield gateway


def test_full_store_says_so_and_heals(roomy: Gateway) -> None:
    set_quota(roomy.root, 3 * MIB)
    try:
        roomy.put("/cnet/first", b"a" * (2 * MIB))
        full = roomy.ask("PUT", "/cnet/second", {}, b"b" * (2 * MIB))
        assert (full.status, full.code) == (507, "InsufficientStorage")
        assert roomy.ask("GET", "/cnet/second").status == 404
        upload = roomy.ask("POST", "/cnet/second?uploads").texts("UploadId")[0]
        target = f"/cnet/second?partNumber=1&uploadId={upload}"
        assert roomy.ask("PUT", target, {}, b"b" * (2 * MIB)).code == "InsufficientStorage"
        copied = roomy.ask("PUT", "/cnet/copy", {"x-amz-copy-source": "/cnet/first"})
        assert copied.code == "InsufficientStorage"
        assert roomy.ask("DELETE", "/cnet/first").status == 204
        roomy.put("/cnet/second", b"b" * (2 * MIB))
        assert roomy.ask("GET", "/cnet/second").body == b"b" * (2 * MIB)
    finally:
        set_quota(roomy.root, None)


def test_what_the_agent_protects_is_not_changed_here(roomy: Gateway) -> None:
    roomy.put("/cnet/kept/file", b"body")

    async def protect() -> None:
        async with open_store(roomy.root) as store:
            change = partial(queries.protect, bucket_name="cnet", prefix="kept/")
            await store.catalog.write(change)

    anyio.run(protect)
    body = b"<Delete><Object><Key>kept/file</Key></Object></Delete>"
    copied = {"x-amz-copy-source": "/cnet/kept/file"}
    assert roomy.ask("PUT", "/cnet/kept/file", {}, b"other").code == "AccessDenied"
    assert roomy.ask("PUT", "/cnet/kept/new", {}, b"other").code == "AccessDenied"
    assert roomy.ask("PUT", "/cnet/kept/copy", copied).code == "AccessDenied"
    assert roomy.ask("POST", "/cnet/kept/file?uploads").code == "AccessDenied"
    assert roomy.ask("DELETE", "/cnet/kept/file").code == "AccessDenied"
    digest = {"content-md5": md5(body)}
    assert roomy.ask("POST", "/cnet?delete", digest, body).texts("Error/Code") == ["AccessDenied"]
    assert roomy.ask("GET", "/cnet/kept/file").body == b"body"
    assert roomy.ask("PUT", "/cnet/copy-of-it", copied).status == 200
