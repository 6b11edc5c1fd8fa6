"""Services in forms: what the API is asked, what a new version begins with, shares in percent."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cnet.model.workload import WorkloadTemplate
from cnet.services.record import ServiceScale, ServiceSpec, ServiceUpdate
from cnet.web.forms.kinds import KINDS, KindForm, form_of, update_form
from cnet.web.forms.posted import WHOLE, Posted, read
from cnet.web.forms.present import left_out, texts_of
from cnet.web.forms.requests import request_of
from cnet.web.forms.scale import present, read_scale
from cnet.web.forms.texts import label
from cnet.web.forms.traffic import read_weights, shares
from cnet.web.messages import catalogue

MIB = 1024**2


def form(kind: str) -> KindForm:
    model, serves = KINDS[kind]
    return form_of(kind, model, serves=serves)


def filled(kind: str, **texts: str) -> Posted:
    changed = {name.replace("__", "."): text for name, text in texts.items()}
    assert not [name for name in changed if form(kind).field(name) is None]
    return read(form(kind), form(kind).blank() | {"name": "it"} | changed)


def template(**fields: Any) -> dict[str, Any]:
    """As the API shows one."""
    shown = WorkloadTemplate.model_validate({"type": "mlmodel", **fields})
    return shown.model_dump(mode="json")


def update_of(shown: dict[str, Any], **texts: str) -> Posted:
    changed = {name.replace("__", "."): text for name, text in texts.items()}
    of_kind = update_form(form(shown["type"]))
    return read(of_kind, texts_of(of_kind, shown) | changed, name="it")


def test_a_workload_as_before() -> None:
    posted = filled("opencv")
    wish = request_of(posted)
    assert (wish.method, wish.path, wish.body) == ("POST", "/api/workloads", posted.spec)
    assert "service" not in posted.spec


def test_a_service_with_replicas() -> None:
    posted = filled("opencv", service__mode="replicas", service__replicas="2", queue="true")
    wish = request_of(posted)
    assert (wish.method, wish.path) == ("POST", "/api/services")
    ServiceSpec.model_validate(wish.body)
    assert (wish.body["name"], wish.body["replicas"]) == ("it", 2)
    assert wish.body["template"] == {
        "type": "opencv",
        "requirements": {"cpu": 0.5, "memory": 512 * MIB},
    }  # no port, no queue: replicas have none
    assert wish.as_command().startswith("cnet service create --file - <<")
    assert yaml.safe_load(wish.as_command().partition("\n")[2].removesuffix("EOF")) == wish.body


def test_a_service_by_load() -> None:
    texts = {"service__mode": "load", "service__autoscale__max": "3", "service__replicas": "7"}
    body = request_of(filled("opencv", **texts)).body
    assert (body["autoscale"], "replicas" in body) == ({"max": 3}, False)
    faulty = filled("opencv", **texts, service__autoscale__min="4")
    assert faulty.problems["service.autoscale.min"].message == "min (4) is more than max (3)"
    missing = filled("opencv", service__mode="load")
    assert set(missing.problems) == {"service.autoscale.max"}


def test_what_the_agent_finds_is_said_at_its_field() -> None:
    posted = filled("opencv", service__mode="replicas")
    posted.blame("template.labels", "template.labels: no", code="invalid_field")
    posted.blame("replicas", "replicas: too many", code="invalid_field")
    posted.blame(None, "name: there is one", code="conflict")
    said = {name: problem.message for name, problem in posted.problems.items()}
    assert said == {
        "labels": "no",
        "service.replicas": "too many",
        WHOLE: "name: there is one",
    }


def test_processes_are_no_services() -> None:
    for kind in ("process", "data", "reservation", "ml"):
        assert "service" not in form(kind).groups


@pytest.mark.parametrize("ports", [80, "80", ["80", "443/tcp"]])
def test_a_container_of_a_service(ports: object) -> None:
    shown = template(type="container", config={"image": "nginx", "ports": ports})
    made = request_of(update_of(shown, config__image="caddy")).body["template"]["config"]
    wanted = ports if isinstance(ports, list) else [str(ports)]
    assert made == {"image": "caddy", "ports": wanted}


def test_volumes_that_are_no_lines_are_named() -> None:
    volumes = [{"source": "a", "target": "/a"}]
    shown = template(type="container", config={"image": "nginx", "volumes": volumes})
    posted = update_of(shown)
    made = {name: value for name, value in posted.spec.items() if name != "name"}
    assert left_out(posted.form, shown, made) == ["config.volumes"]


def test_a_new_version_begins_with_what_holds() -> None:
    shown = template(
        config={"model_type": "yolo", "model_path": "/m.onnx", "confidence": 0.3},
        requirements={"cpu": 2, "memory": 1024 * MIB},
        labels={"team": "vision"},
        restart={"policy": "always", "attempts": 7},
        affinity=[
            {"node_labels": {"gpu": "*"}},
            {"workload_labels": {"a": "b"}, "required": False},
        ],
    )
    posted = update_of(shown, config__model_path="/n.onnx", service__weight="10")
    assert not posted.problems
    wish = request_of(posted)
    assert (wish.method, wish.path) == ("PUT", "/api/services/it")
    assert ServiceUpdate.model_validate(wish.body).weight == 10
    made = template(**wish.body["template"])
    assert made == shown | {"config": shown["config"] | {"model_path": "/n.onnx"}}
    assert wish.as_command().startswith("cnet service update --weight 10 --file - <<")


def test_what_a_form_cannot_say_is_named() -> None:
    shown = template(
        config={"model_type": "yolo", "model_path": "/m.onnx", "secret_env": {"KEY": "***"}},
        anti_affinity=[{"node_labels": {"a": "b", "c": "d"}}],
    )
    posted = update_of(shown)
    lost = left_out(posted.form, shown, posted.spec | {"config": posted.spec["config"]})
    assert lost == []  # `name` makes it no template: nothing is claimed
    made = {name: value for name, value in posted.spec.items() if name != "name"}
    assert left_out(posted.form, shown, made) == ["anti_affinity", "config.secret_env"]


@pytest.mark.parametrize(
    ("texts", "by_load_now", "wish"),
    [
        ({"service.mode": "replicas", "service.replicas": "3"}, False, {"replicas": 3}),
        (
            {"service.mode": "replicas", "service.replicas": "0"},
            True,
            {"replicas": 0, "autoscale": None},
        ),
        (
            {"service.mode": "load", "service.autoscale.max": "3"},
            True,
            {"autoscale": {"max": 3}},
        ),
    ],
)
def test_scale(texts: dict[str, str], by_load_now: bool, wish: dict[str, Any]) -> None:
    posted = read_scale(texts, by_load_now=by_load_now)
    assert (posted.problems, posted.service) == ({}, wish)
    ServiceScale.model_validate(wish)


def test_scale_begins_with_what_holds() -> None:
    texts = present({"replicas": 4, "autoscale": {"min": 0, "max": 3, "target": 2.5}})
    assert texts["service.mode"] == "load"
    assert texts["service.autoscale.target"] == "2.5"
    assert present({"replicas": 4, "autoscale": None})["service.replicas"] == "4"
    assert set(read_scale({}, by_load_now=False).problems) == {"service.mode"}


Weights = st.dictionaries(
    st.sampled_from(["v1", "v2", "v3", "v4"]),
    st.none() | st.integers(min_value=0, max_value=1_000_000),
)


@given(Weights)
def test_shares_make_a_hundred(weights: dict[str, int | None]) -> None:
    found = shares(weights)
    assert set(found) == set(weights)
    given_shares = [share for share in found.values() if share is not None]
    total = sum(weight for weight in weights.values() if weight is not None)
    assert sum(given_shares) == (100 if total else 0)
    for name, weight in weights.items():
        assert (found[name] is None) == (weight is None)
        if total and weight is not None:
            assert abs((found[name] or 0) - 100 * weight / total) < 1


def test_weights_are_read() -> None:
    texts = {"weight.v1": "70", "weight.v2": " 30 ", "weight.v3": ""}
    assert read_weights(["v1", "v2", "v3"], texts) == ({"v1": 70, "v2": 30}, {})
    _, problems = read_weights(["v1"], {"weight.v1": "70"})
    assert problems[WHOLE].type == "share_sum"
    _, problems = read_weights(["v1"], {"weight.v1": "-1"})
    assert set(problems) == {"weight.v1"}
    _, problems = read_weights(["v1"], {"weight.v1": "101"})
    assert set(problems) == {"weight.v1"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_a_name_in_both_languages(kind: str) -> None:
    assert {"en", "zh"} == set(catalogue()[f"submit.kind.{kind}"])
    unnamed = [
        field.name
        for each in (form(kind), update_form(form(kind)))
        for field in each.fields
        if f"forms.field.{field.name}" not in catalogue()
    ]
    assert unnamed == []
    assert all(label(field, "zh") for field in form(kind).fields)
