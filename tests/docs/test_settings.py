"""docs/configuration.md names every setting with its default and its environment variable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from cnet import config
from cnet.config import ENV_PREFIX, Settings
from cnet.errors import ConfigError
from tests.docs import pages

PAGE = "docs/configuration.md"


def settings(section: type[BaseModel] = Settings, above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and default of every setting."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from settings(kind, f"{above}{name}.")
        else:
            yield above + name, field.get_default(call_default_factory=True)


def documented() -> dict[str, tuple[str, str]]:
    """Key → its default and its environment variable as the page says."""
    found = {}
    for key, default, _, variable in pages.rows(pages.section(PAGE, "Keys")):
        found[pages.codes(key)[0]] = (default, pages.codes(variable)[0])
    return found


def test_every_setting_is_documented_and_no_other() -> None:
    known = [key for key, _ in settings()]
    assert "agent.auth.token_file" in known, "nested sections are not looked into"
    assert sorted(documented()) == sorted(known)


def test_defaults_are_those_of_the_code() -> None:
    page = documented()
    for key, default in settings():
        if default is not None:
            text = default if isinstance(default, str) else json.dumps(default)
            assert pages.codes(page[key][0]) == [text], f"default of {key}"


def test_environment_variables_reach_their_setting() -> None:
    samples = {"agent.labels": "{zone: a}", "peers.addresses": "[b]", "storage.roots": "[/srv]"}
    samples["docker.volume_roots"] = "[/srv]"
    for key, (_, variable) in documented().items():
        assert variable == ENV_PREFIX + key.upper().replace(".", "__")
        given = samples.get(key, "'nonsense'")
        try:
            loaded: Any = config.load(env={variable: given})
        except ConfigError as error:
            assert key in error.message
            continue
        for part in key.split("."):
            loaded = getattr(loaded, part)
        value = loaded if isinstance(loaded, dict | list) else str(loaded)
        assert value == yaml.safe_load(given), f"{variable} does not set {key}"


def test_examples_load(tmp_path: Path) -> None:
    examples = pages.blocks(PAGE, "yaml")
    assert examples
    for number, text in enumerate(examples):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text, encoding="utf-8")
        config.load(file, env={})


def test_the_file_that_comes_along_loads() -> None:
    assert config.load(pages.ROOT / "config.yaml", env={}).agent.port == 8080
