"""Gateways that the tests of one module share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.gateways import Gateway, keys_file, running

_numbers = itertools.count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the module's store and logs lie."""
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[Gateway]:
    """Writable, for holders of keys; nothing in its log may speak of a fault."""
    with running(folder, "--writable", "--keys-file", str(keys_file(folder))) as gateway:
        yield gateway
        said = gateway.log.read_text()
        assert "Traceback" not in said, said


@pytest.fixture(scope="module")
def s3(gateway: Gateway) -> Any:
    """boto3's client of it."""
    return gateway.client()


@pytest.fixture
def bucket(gateway: Gateway) -> str:
    """A new empty bucket."""
    name = f"test-{next(_numbers)}"
    assert gateway.ask("PUT", f"/{name}").status == 200
    return name
