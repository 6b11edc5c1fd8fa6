"""Forms: what fields there are, what spec they make, at which of them something is wrong."""

from __future__ import annotations

import json
import shlex
import string
import subprocess
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from cnet.executors.data_config import UploadConfig
from cnet.executors.inference import FIELDS_OF_TYPES
from cnet.model.workload import WorkloadSpec
from cnet.web.forms.fields import FormField
from cnet.web.forms.kinds import KINDS, UPLOADS, KindForm, form_of, offered
from cnet.web.forms.posted import WHOLE, Posted, read
from cnet.web.forms.snippets import as_command, as_curl, as_yaml, upload_fields

FORMS = {kind: form_of(kind, model, serves=serves) for kind, (model, serves) in KINDS.items()}


def filled(kind: str, **texts: str) -> Posted:
    """A new form in which some fields were changed."""
    form = FORMS[kind]
    changed = {name.replace("__", "."): text for name, text in texts.items()}
    assert not [name for name in changed if form.field(name) is None]
    return read(form, form.blank() | {"name": "it"} | changed)


def spec_of(posted: Posted) -> dict[str, Any]:
    assert not posted.problems
    return posted.spec


def test_the_seeds_defaults() -> None:
    mib = 1024**2
    assert spec_of(filled("process")) == {
        "name": "it",
        "type": "process",
        "config": {"command": "sleep", "args": ["60"]},
        "requirements": {"cpu": 1, "memory": 512 * mib},
    }
    model = spec_of(filled("mlmodel", config__model_path="m.onnx"))
    assert model["config"] == {"model_type": "yolo", "model_path": "m.onnx", "service_port": 9001}
    assert model["requirements"] == {"cpu": 2, "memory": 2048 * mib}
    assert spec_of(filled("opencv"))["config"] == {"service_port": 9000}
    assert spec_of(filled("container"))["config"]["image"] == "nginx:alpine"
    gateway = spec_of(filled("datagateway"))
    assert gateway["config"] == {"service_port": 9091}
    assert gateway["requirements"] == {"cpu": 0.2, "memory": 128 * mib}
    assert spec_of(filled("data"))["requirements"] == {"cpu": 0.1, "memory": 128 * mib}


@pytest.mark.parametrize("kind", FORMS)
def test_all_that_the_api_takes_can_be_said(kind: str) -> None:
    """A field that is added to a model is in the form, unless somebody has decided otherwise."""
    model, serves = KINDS[kind]
    missing = {
        f"config.{name}"
        for name in model.model_fields
        if not any(each.name.startswith(f"config.{name}") for each in FORMS[kind].fields)
    }
    hidden = {"config.framework", "config.content_base64", "config.storage_type"}
    assert missing <= hidden | {"config.storage_backend"}
    groups = set(FORMS[kind].groups)
    assert ("health" in groups) == serves
    assert {"basic", "room"} <= groups


def test_every_field_makes_its_value() -> None:
    posted = filled(
        "container",
        config__ports="8080:80\n53/udp",
        config__command="sh -c 'echo \"a b\"'",
        config__env="A=1\nB=x=y",
        config__volumes="/srv:/srv:ro",
        config__init="true",
        config__pull="always",
        requirements__memory="1.5GiB",
        requirements__cpu="0.25",
        labels="team=blue",
        affinity="gpu\nworkload:app=web",
        prefer="zone=east",
        priority="7",
        queue="",
        restart__attempts="5",
    )
    assert spec_of(posted) == {
        "name": "it",
        "type": "container",
        "config": {
            "image": "nginx:alpine",
            "command": ["sh", "-c", 'echo "a b"'],
            "ports": ["8080:80", "53/udp"],
            "env": {"A": "1", "B": "x=y"},
            "volumes": ["/srv:/srv:ro"],
            "init": True,
            "pull": "always",
        },
        "requirements": {"cpu": 0.25, "memory": 3 * 1024**3 // 2},
        "labels": {"team": "blue"},
        "affinity": [
            {"node_labels": {"gpu": "*"}},
            {"workload_labels": {"app": "web"}},
            {"node_labels": {"zone": "east"}, "required": False},
        ],
        "priority": 7,
        "queue": False,
        "restart": {"attempts": 5, "policy": "never"},
    }
    WorkloadSpec.model_validate(posted.spec)


@pytest.mark.parametrize(
    ("kind", "texts", "field"),
    [
        ("process", {"name": ""}, "name"),
        ("process", {"name": "a/b"}, "name"),
        ("process", {"config__command": " "}, "config.command"),
        ("process", {"config__args": "'open"}, "config.args"),
        ("process", {"config__env": "NOPE"}, "config.env"),
        ("process", {"requirements__cpu": "two"}, "requirements.cpu"),
        ("process", {"requirements__cpu": "-1"}, "requirements.cpu"),
        ("process", {"requirements__memory": "1 parsec"}, "requirements.memory"),
        ("process", {"requirements__gpu": "0.5"}, "requirements.gpu"),
        ("process", {"requirements__cpu": "nan"}, "requirements.cpu"),
        ("process", {"requirements__gpu": "inf"}, "requirements.gpu"),
        ("process", {"priority": "5000"}, "priority"),
        ("process", {"strategy": "luck"}, "strategy"),
        ("process", {"affinity": "=x"}, "affinity"),
        ("process", {"reservation": "that one"}, "reservation"),
        ("container", {"config__image": "Not An Image"}, "config.image"),
        ("container", {"config__ports": "80:80\n80:81"}, "config.ports"),
        ("container", {"config__ports": "99999"}, "config.ports"),
        ("opencv", {"config__service_port": "70000"}, "config.service_port"),
        ("mlmodel", {}, "config.model_path"),
        ("datagateway", {"config__auth_token": "short"}, "config.auth_token"),
        (
            "data",
            {"config__upload_method": "url", "config__source_url": "ftp://x"},
            "config.source_url",
        ),
        ("data", {"config__data_key": "../up"}, "config.data_key"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(kind: str, texts: dict[str, str], field: str) -> None:
    posted = filled(kind, **texts)
    assert list(posted.problems) == [field]
    assert posted.problems[field].message


def test_all_problems_are_told_at_once() -> None:
    posted = filled("process", name="", requirements__cpu="x", priority="y")
    assert set(posted.problems) == {"name", "requirements.cpu", "priority"}


def test_fields_of_another_model_type_do_not_count() -> None:
    texts = {"config__model_path": "m.skops", "config__labels": "a\nb"}
    assert "labels" in spec_of(filled("mlmodel", **texts))["config"]
    assert (
        "labels" not in spec_of(filled("mlmodel", config__model_type="sklearn", **texts))["config"]
    )


def test_what_only_some_model_types_heed_is_shown_with_them_only() -> None:
    for name, types in FIELDS_OF_TYPES.items():
        field = FORMS["mlmodel"].field(f"config.{name}")
        assert field is not None
        assert field.when == ("config.model_type", types)


@pytest.mark.parametrize("how", UPLOADS)
def test_uploads_are_forms_of_their_own(how: str) -> None:
    posted = filled(
        "data",
        config__upload_method=how,
        config__data_key="k",
        config__source_url="https://not.counted",
        node="elsewhere",
    )
    parts = upload_fields(spec_of(posted))
    assert parts["name"] == "it"
    assert json.loads(parts["config"]) == {"data_key": "k"}
    UploadConfig.model_validate(json.loads(parts["config"]))
    assert "node" not in posted.spec


def test_the_agents_answer_is_put_at_its_field() -> None:
    posted = filled("mlmodel", config__model_path="m.onnx")
    posted.blame("config.model_path", "config.model_path: no file", code="invalid_field")
    assert posted.problems["config.model_path"].message == "no file"
    posted.blame(None, "port 9001 is held by x", code="port_taken")
    assert "config.service_port" in posted.problems
    posted.blame("elsewhere.entirely", "there is something else", code="conflict")
    assert posted.problems[WHOLE].message == "there is something else"


class PluginConfig(BaseModel):
    """As others may write them."""

    url: str
    depth: int = 3
    token: SecretStr | None = None
    either: int | str = 1
    table: dict[str, list[int]] = {}


def test_a_plug_in_gets_a_form_of_its_schema() -> None:
    form = form_of("crawler", PluginConfig, serves=False)
    widgets = {each.name: each.widget for each in form.fields if each.name.startswith("config")}
    assert widgets == {
        "config.url": "text",
        "config.depth": "number",
        "config.token": "secret",
        "config.either": "json",
        "config.table": "json",
    }
    basic = [each.name for each in form.groups["basic"]]
    assert basic == ["name", "config.url"]
    sent = form.blank() | {"name": "c", "config.url": "u", "config.table": '{"a": [1]}'}
    assert spec_of(read(form, sent))["config"] == {"url": "u", "table": {"a": [1]}}
    assert "config.table" in read(form, sent | {"config.table": "{"}).problems


def test_kinds_are_offered_in_order_plug_ins_last() -> None:
    assert offered(["crawler", "opencv", "process"]) == ["process", "opencv", "crawler"]


_ANY = st.text(f"{string.printable}\0é中😀\ud800", max_size=30)


@pytest.mark.parametrize("kind", FORMS)
@given(data=st.data())
def test_any_text_makes_a_sound_spec_or_a_problem(kind: str, data: st.DataObject) -> None:
    form = FORMS[kind]
    names = data.draw(st.lists(st.sampled_from([each.name for each in form.fields]), max_size=4))
    texts = form.blank() | {"name": "it"} | {name: data.draw(_ANY) for name in names}
    posted = read(form, texts)
    if not posted.problems:
        WorkloadSpec.model_validate(posted.spec)
        assert yaml.safe_load(as_yaml(posted.spec)) == posted.spec


@given(words=st.lists(st.text(f"{string.printable}é中", max_size=20), max_size=4))
def test_words_that_are_shown_are_read_back(words: list[str]) -> None:
    args = form_and_field(FORMS["process"], "config.args")
    assert (args.read(args.show(words)) or []) == words


def test_curl_sends_what_was_filled_in_without_secrets_on_its_command_line() -> None:
    posted = filled("process", config__args="'it''s' \"$HOME\"", config__secret_env="P=top secret")
    text = as_curl(spec_of(posted), "http://localhost:8080")
    head, _, _ = text.partition("\n")
    assert "top secret" not in head
    script = f"curl() {{ cat; }}\n{text}"
    sent = subprocess.run(["sh", "-c", script], capture_output=True, check=True, text=True).stdout
    assert json.loads(sent) == posted.spec
    words = shlex.split(head.partition("<<")[0])
    assert words[:4] == ["curl", "-X", "POST", "http://localhost:8080/api/workloads"]
    token = as_curl(posted.spec, "http://h", token=True)
    assert "$CNET_TOKEN" in token.partition("\n")[0]


def test_the_command_is_given_yaml() -> None:
    posted = filled("opencv")
    script = f"cnet() {{ cat; }}\n{as_command(posted.spec)}"
    sent = subprocess.run(["sh", "-c", script], capture_output=True, check=True, text=True).stdout
    assert yaml.safe_load(sent) == posted.spec


def form_and_field(form: KindForm, name: str) -> FormField:
    found = form.field(name)
    assert found is not None
    return found


def test_sizes_are_shown_in_mebibytes() -> None:
    memory = form_and_field(FORMS["process"], "requirements.memory")
    assert memory.show(3 * 1024**3 // 2) == "1536"
    assert memory.read("0.5") == 512 * 1024
