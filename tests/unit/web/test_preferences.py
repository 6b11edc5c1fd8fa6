"""What a browser asks for, and where a reader may be sent."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.web.preferences import accepted, own_path


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("en;q=0.2, zh-TW;q=0.7", "zh"),
        ("fr, zh;q=0.5", "zh"),
        ("fr", "en"),
        ("zh;q=0", "en"),
        ("ZH", "zh"),
        ("zh;q=much, en", "en"),
    ],
)
def test_accept_language(header: str, language: str) -> None:
    assert accepted(header) == language


@given(st.text())
def test_any_header(header: str) -> None:
    assert accepted(header) in {"en", "zh"}


@pytest.mark.parametrize("path", ["/", "/workloads?status=failed", "/nodes/a%20b"])
def test_paths_of_this_agent(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "",
        "x",
        "/\t/evil.example",
        "/a\r\nset-cookie: a=b",
    ],
)
def test_nobody_is_sent_elsewhere(address: str) -> None:
    assert own_path(address) == "/"


@given(st.text(alphabet="/\\:.evil@?#\t\n x"))
def test_never_to_another_host(address: str) -> None:
    base = "http://agent.example/login"
    assert urlsplit(urljoin(base, own_path(address))).netloc == "agent.example"
