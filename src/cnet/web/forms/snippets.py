"""A spec as others may send it: by curl, or from a YAML file with `cnet run`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from cnet.web.forms.kinds import UPLOADS

END = "EOF"


def as_json(spec: Mapping[str, Any]) -> str:
    """Indented, for people."""
    return json.dumps(spec, ensure_ascii=False, indent=2)


def as_yaml(spec: Mapping[str, Any]) -> str:
    """What `cnet run --file` reads."""
    text: str = yaml.safe_dump(dict(spec), allow_unicode=True, sort_keys=False)
    return text


def as_curl(
    spec: Mapping[str, Any],
    base_url: str,
    *,
    token: bool = False,
    method: str = "POST",
    path: str = "/api/workloads",
) -> str:
    """A command for a shell. The request goes by stdin: others read command lines, and it may
    hold secrets. `token`: the agent wants one, which is in the variable CNET_TOKEN.
    """
    head = ["curl", "-X", method, f"{base_url}{path}"]
    credentials = ' -H "Authorization: Bearer $CNET_TOKEN"' if token else ""
    how = spec.get("config", {}).get("upload_method")
    if how in UPLOADS:
        return shlex.join(head) + credentials + _as_form(spec, tree=how == UPLOADS[1])
    return (
        f"{shlex.join(head)}{credentials} -H 'Content-Type: application/json' "
        f"--data-binary @- <<'{END}'\n{as_json(spec)}\n{END}"
    )


def as_command(spec: Mapping[str, Any], command: str = "cnet run") -> str:
    """The same by the command line of CNET."""
    how = spec.get("config", {}).get("upload_method")
    if how in UPLOADS:
        key = spec["config"].get("data_key")
        return "cnet data put PATH" + (f" --key {shlex.quote(key)}" if key else "")
    return f"{command} --file - <<'{END}'\n{as_yaml(spec)}{END}"


def upload_fields(spec: Mapping[str, Any]) -> dict[str, str]:
    """The parts of an upload's form beside the files (docs/data.md)."""
    config = {name: value for name, value in spec["config"].items() if name != "upload_method"}
    return {
        "name": spec.get("name", ""),
        "requirements": json.dumps(spec.get("requirements", {})),
        "config": json.dumps(config, ensure_ascii=False),
    }


def _as_form(spec: Mapping[str, Any], *, tree: bool) -> str:
    fields = upload_fields(spec)
    parts = [f"-F {shlex.quote(f'{name}={text}')}" for name, text in fields.items()]
    files = ["-F 'files=@FOLDER/FILE;filename=FILE'"] if tree else ["-F 'file=@FILE'"]
    return " \\\n  ".join(["", *parts, *files])
