"""Specs out of flags and files, sizes out of words."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cnet.cli import specs
from cnet.cli.sizes import format_age
from cnet.errors import SpecError
from cnet.model.notation import affinities, parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1000", 1000),
        ("64 B", 64),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("512MiB", 512 * 1024**2),
        ("512mib", 512 * 1024**2),
        (" 1.5GiB ", 3 * 1024**3 // 2),
        ("2TB", 2 * 1000**4),
        ("0.1GiB", 107374182),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_size(text, field="--memory") == expected


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", "1e3", "512M", "1,5GiB", "1 MiB 2", "٣MiB", "nan"]
)
def test_what_is_no_size_is_refused_naming_the_field_and_the_units(text: str) -> None:
    with pytest.raises(SpecError, match=r"--memory.*KiB.*GB") as caught:
        parse_size(text, field="--memory")
    assert caught.value.field == "--memory"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86400 * 12, "12d"), (-5, "0s")],
)
def test_ages(seconds: int, expected: str) -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    created = datetime.fromtimestamp(now.timestamp() - seconds, UTC).isoformat()
    assert format_age(created.replace("+00:00", "Z"), now=now) == expected


def test_file_of_several_documents_with_units(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(
        "name: a\ntype: process\nrequirements: {memory: 64MiB, storage: 1KB, cpu: 0.5}\n"
        "---\n- {name: b, type: opencv}\n- {name: c, type: opencv}\n---\n"
    )
    found = specs.read_file(str(file))
    assert [each["name"] for each in found] == ["a", "b", "c"]
    assert found[0]["requirements"] == {"memory": 64 * 1024**2, "storage": 1000, "cpu": 0.5}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "holds no workload"),
        ("just text", "must be a mapping"),
        ("a: [", "neither JSON nor YAML"),
        ("{requirements: {memory: lots}}", "requirements.memory"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: str, complaint: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(SpecError, match=complaint):
        specs.read_file(str(file))


def test_absent_file_is_named() -> None:
    with pytest.raises(SpecError, match="/nowhere: No such file"):
        specs.read_file("/nowhere")


def test_config_values_are_json_where_they_can_be() -> None:
    given = ["confidence=0.4", 'labels=["a"]', "model_path=/m=1.onnx", "flag=true", "empty="]
    assert specs.config_values(given) == {
        "confidence": 0.4,
        "labels": ["a"],
        "model_path": "/m=1.onnx",
        "flag": True,
        "empty": "",
    }


def test_environment_takes_pairs_and_own_values() -> None:
    assert specs.environment(["A=1", "B", "C="], {"B": "2"}) == {"A": "1", "B": "2", "C": ""}
    with pytest.raises(SpecError, match="'B' is not set"):
        specs.environment(["B"], {})


def test_a_secret_on_the_command_line_is_refused_without_repeating_it() -> None:
    assert specs.secrets(["KEY"], {"KEY": "s"}) == {"KEY": "s"}
    with pytest.raises(SpecError, match="others can read") as caught:
        specs.secrets(["KEY=hunter2"], {})
    assert "hunter2" not in caught.value.message


def flags(**given: Any) -> dict[str, Any]:
    return {"name": None, "type": None, "config": {}, **given}


def of_flags(given: dict[str, Any], **source: Any) -> dict[str, Any]:
    nothing: dict[str, Any] = {"command": [], "file": None, "model": None}
    nothing |= {"cascade": None, "image": None}
    return specs.workloads(given, **(nothing | source))[0]


def test_command_becomes_a_process_with_a_name_and_an_id() -> None:
    spec = of_flags(flags(requirements={"cpu": 0.5, "gpu": None}), command=["/bin/sh", "-c", "x"])
    assert spec["type"] == "process"
    assert spec["config"] == {"command": "/bin/sh", "args": ["-c", "x"]}
    assert spec["requirements"] == {"cpu": 0.5}
    assert spec["name"] == f"sh-{spec['id'][:6]}"


def test_model_and_cascade_become_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = of_flags(flags(name="s", config={"confidence": 0.3}), model=Path("shapes.onnx"))
    assert (spec["type"], spec["name"]) == ("mlmodel", "s")
    assert spec["config"] == {
        "model_type": "yolo",
        "model_path": str(tmp_path / "shapes.onnx"),
        "confidence": 0.3,
    }
    assert of_flags(flags(), cascade="face")["config"] == {"cascade_type": "face"}


@pytest.mark.parametrize(
    ("name", "model_type"),
    [
        ("m.onnx", "yolo"),
        ("m.JOBLIB", "sklearn"),
        ("m.v1.pt2", "pytorch"),
        ("saved", "tensorflow"),
        ("m.py", "custom"),
        ("m.bin", None),
    ],
)
def test_a_model_is_what_its_ending_says(name: str, model_type: str | None) -> None:
    assert of_flags(flags(), model=Path(name))["config"].get("model_type") == model_type
    said = flags(config={"model_type": "onnx"})
    assert of_flags(said, model=Path(name))["config"]["model_type"] == "onnx"


def test_an_image_becomes_a_container() -> None:
    spec = of_flags(flags(), image="example.org/team/web:1.2@sha256:0")
    assert (spec["type"], spec["name"].rpartition("-")[0]) == ("container", "web")
    assert spec["config"] == {"image": "example.org/team/web:1.2@sha256:0"}
    spec = of_flags(flags(), image="busybox", command=["echo", "a b"])
    assert spec["config"] == {"image": "busybox", "command": ["echo", "a b"]}


@pytest.mark.parametrize(
    ("given", "source", "complaint"),
    [
        (flags(), {}, "give one of"),
        (flags(), {"image": "x", "cascade": "face"}, "give one of"),
        (flags(type="process"), {"image": "x"}, "--type process does not go"),
        (flags(), {"command": ["x"], "cascade": "face"}, "give one of"),
        (flags(type="process"), {"cascade": "face"}, "--type process does not go"),
        (flags(name="x"), {"file": "w.yaml"}, "stands alone"),
    ],
)
def test_unclear_sources_are_refused(
    given: dict[str, Any], source: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(SpecError, match=complaint):
        of_flags(given, **source)


def test_affinities_name_labels_of_nodes_or_workloads() -> None:
    given = ["zone=a=b", "gpu", "workload:app=web", "workload:app"]
    assert affinities(given, option="--affinity") == [
        {"node_labels": {"zone": "a=b"}},
        {"node_labels": {"gpu": "*"}},
        {"workload_labels": {"app": "web"}},
        {"workload_labels": {"app": "*"}},
    ]
    assert affinities(["a"], option="--prefer", required=False) == [
        {"node_labels": {"a": "*"}, "required": False}
    ]


@pytest.mark.parametrize("item", ["", "=x", "workload:", "workload:=x"])
def test_an_affinity_without_a_name_is_refused(item: str) -> None:
    with pytest.raises(SpecError, match="--avoid"):
        affinities([item], option="--avoid")
