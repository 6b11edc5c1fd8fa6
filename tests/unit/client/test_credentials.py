"""The user's token: where it is found, when it is refused, how it is made."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cnet.client import create_token, find_token
from cnet.errors import AuthError, ConflictError


@pytest.fixture
def token_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("CNET_TOKEN", raising=False)
    return tmp_path / "cnet" / "token"


def test_created_token_is_private_and_found_again(token_file: Path) -> None:
    token = create_token(token_file)
    assert find_token() == token
    assert len(token) >= 43  # 32 random bytes in base64
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(token_file.parent.stat().st_mode) == 0o700
    assert [path.name for path in token_file.parent.iterdir()] == ["token"]


def test_variable_goes_before_the_file(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_token(token_file)
    monkeypatch.setenv("CNET_TOKEN", " from-variable\n")
    assert find_token() == "from-variable"


def test_no_file_is_no_token(token_file: Path) -> None:
    assert not token_file.exists()
    assert find_token() is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_file_that_others_can_read_is_refused(token_file: Path, mode: int) -> None:
    create_token(token_file)
    token_file.chmod(mode)
    with pytest.raises(AuthError, match="chmod 600") as caught:
        find_token()
    assert token_file.read_text().strip() not in caught.value.message


@pytest.mark.parametrize("content", [b"", b"two words", b"a\nb", b"\xff\xfe", "schlüssel".encode()])
def test_file_without_a_usable_token_is_refused(token_file: Path, content: bytes) -> None:
    create_token(token_file)
    token_file.write_bytes(content)
    with pytest.raises(AuthError, match="token file"):
        find_token()


def test_existing_token_is_replaced_only_when_asked(token_file: Path) -> None:
    first = create_token(token_file)
    with pytest.raises(ConflictError, match="--force"):
        create_token(token_file)
    assert find_token() == first
    second = create_token(token_file, replace=True)
    assert find_token() == second != first
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600


def test_of_many_makers_at_once_one_wins(token_file: Path) -> None:
    def attempt(_n: int) -> str | None:
        try:
            return create_token(token_file)
        except ConflictError:
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [token for token in pool.map(attempt, range(16)) if token]
    assert made == [find_token()]
    assert [path.name for path in token_file.parent.iterdir()] == ["token"]
