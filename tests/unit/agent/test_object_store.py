"""Which object store the settings mean, and with which credentials."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnet import config
from cnet.agent.object_store import place_of
from cnet.config import StorageSettings
from cnet.errors import ConfigError
from cnet.storage.place import Keys

ENV = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "a-secret"}


def settings(**s3: object) -> StorageSettings:
    tree = {"storage.type": "s3", "storage.s3.bucket": "data"}
    overrides = {**tree, **{f"storage.s3.{name}": value for name, value in s3.items()}}
    return config.load(env={}, overrides=overrides).storage


def test_there_is_none_by_default() -> None:
    assert place_of(config.load(env={}).storage, ENV) is None


def test_keys_of_the_environment() -> None:
    place = place_of(settings(), ENV)
    assert place is not None
    assert place.keys == Keys(access_key_id="AK", secret_access_key="a-secret")
    with_token = place_of(settings(), ENV | {"AWS_SESSION_TOKEN": "t"})
    assert with_token is not None and with_token.keys is not None
    assert with_token.keys.session_token == "t"
    none = place_of(settings(), {})
    assert none is not None and none.keys is None


@pytest.mark.parametrize("name", ENV)
def test_half_a_pair_of_keys_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"storage\.s3: .* has only one"):
        place_of(settings(), {name: ENV[name]})


def test_a_file_goes_before_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = A\naws_secret_access_key = B\n")
    file.chmod(0o600)
    place = place_of(settings(credentials_file=str(file)), ENV)
    assert place is not None
    assert (place.credentials_file, place.keys) == (str(file), None)
    file.unlink()
    with pytest.raises(ConfigError, match=r"storage\.s3\.credentials_file: "):
        place_of(settings(credentials_file=str(file)), ENV)
