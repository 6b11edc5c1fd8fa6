"""The file that says where bytes are, and the files that hold credentials."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cnet.errors import ConfigError
from cnet.storage import open_store
from cnet.storage.place import Keys, Place, read_credentials, read_place, write_place

KEYS = Keys(access_key_id="AK", secret_access_key="the-secret", session_token="the-token")
PLACE = Place(
    bucket="b",
    prefix="p/q",
    endpoint="https://s3.example",
    region="eu-1",
    path_style=False,
    allow_http=False,
    credentials_file=None,
    keys=KEYS,
)


def test_a_place_is_told_and_forgotten(tmp_path: Path) -> None:
    assert read_place(tmp_path) is None
    write_place(tmp_path, PLACE)
    assert read_place(tmp_path) == PLACE
    assert (tmp_path / "s3.json").stat().st_mode & 0o777 == 0o600
    write_place(tmp_path, None)
    write_place(tmp_path, None)
    assert read_place(tmp_path) is None


def test_secrets_are_not_shown() -> None:
    assert "the-" not in repr(PLACE)
    assert str(PLACE) == "s3://b/p/q"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"bucket": "b"}', b'{"keys": null}'])
def test_a_damaged_file_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s3.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"s3\.json is damaged"):
        read_place(tmp_path)


def test_credentials_as_the_tools_of_aws_have_them(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        "[default]\naws_access_key_id = AK\naws_secret_access_key=the-secret\n"
        "aws_session_token = the-token\n[other]\naws_access_key_id = no\n"
    )
    file.chmod(0o600)
    assert read_credentials(file) == KEYS


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (None, 0o600, "No such file"),
        ("[default]\naws_access_key_id = AK", 0o600, "lacks aws_secret_access_key"),
        ("[other]\naws_access_key_id = AK", 0o600, r"section \[default\]"),
        ("the-secret", 0o600, r"section \[default\]"),
        ("[default]\nthe-secret", 0o600, r"section \[default\]"),
        ("[default]\naws_access_key_id = AK", 0o644, "mode 0600"),
    ],
)
def test_files_that_are_no_credentials(
    tmp_path: Path, content: str | None, mode: int, says: str
) -> None:
    file = tmp_path / "credentials"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    with pytest.raises(ConfigError, match=says) as refused:
        read_credentials(file)
    assert refused.value.message.startswith("storage.s3.credentials_file: ")
    assert "the-secret" not in refused.value.message


@pytest.mark.anyio
async def test_without_the_extra_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("cnet.storage.s3", "cnet.storage.layered"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "obstore", None)
    write_place(tmp_path, PLACE)
    with pytest.raises(ConfigError, match=r"storage\.type: .*pip install 'cnet\[s3\]'"):
        async with open_store(tmp_path):
            pass
