"""Metadata comes from whoever made the file."""

from __future__ import annotations

import logging

import pytest

from cnet.inference.onnx.labels import label_of, read_notes


def test_what_ultralytics_writes() -> None:
    notes = read_notes(
        {
            "names": "{0: 'person', 1: \"traffic light\", 2: 'caf\\u00e9'}",
            "stride": "32",
            "imgsz": "[480, 640]",
            "task": "detect",
            "end2end": "True",
        }
    )
    assert dict(notes.names) == {0: "person", 1: "traffic light", 2: "café"}
    assert (notes.stride, notes.size, notes.task) == (32, (480, 640), "detect")
    assert notes.is_end_to_end


def test_a_list_of_names_and_one_side() -> None:
    notes = read_notes({"names": "['a', 'b']", "imgsz": "320"})
    assert dict(notes.names) == {0: "a", 1: "b"}
    assert notes.size == (320, 320)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "{0: open('x')}",
        "{0: 'a'",
        "(" * 100_000,
        "7",
        "'just text'",
        "{[]: 'a'}",
        "x" * 2_000_000,
        "\0",
        "{0: 1, -1: 'a', True: 'b', 'c': 'd'}",
    ],
    ids=["call", "open", "cut off", "deep", "number", "text", "list key", "long", "nul", "types"],
)
def test_wrong_names_are_ignored_with_a_warning(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert read_notes({"names": text}).names == {}
    assert caplog.records


@pytest.mark.parametrize("text", ["-32", "0", "1e3", "'32'", "True", "[32]", "99999"])
def test_strange_strides_and_sizes_are_ignored(text: str) -> None:
    notes = read_notes({"stride": text, "imgsz": text})
    assert (notes.stride, notes.size) == (None, None)


def test_a_class_without_name() -> None:
    assert label_of({0: "cat", 1: ""}, 0) == "cat"
    assert label_of({0: "cat", 1: ""}, 1) == "class_1"
    assert label_of({}, 7) == "class_7"
