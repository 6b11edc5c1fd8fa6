"""Every layout end to end in one process: exact boxes on originals of other proportions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnet.errors import CnetError, ConfigError
from cnet.inference.yolo.layouts import Layout
from cnet.inference.yolo.runtime import YoloRuntime
from tests.inference import models
from tests.inference.models import Floats, Truth

# The original is 192 x 64: scaled by 1/2 to 96 x 32 and centred, 16 rows of grey above and below.
ORIGINAL = np.zeros((64, 192, 3), np.uint8)
EXPECTED = [
    ("dog", 1, 0.9, (40, 0, 80, 48)),  # rows 10-40 of the input are -12-48 of the original
    ("bird", 2, 0.7, (44, 0, 76, 48)),
]

OUTPUTS = {
    Layout.COLUMNS: models.columns(),
    Layout.ROWS: models.rows(),
    Layout.OBJECTNESS: models.objectness(),
    Layout.END_TO_END: models.end_to_end(),
    Layout.END_TO_END_V7: models.end_to_end_v7(),
}


def found_by(runtime: YoloRuntime) -> list[tuple[str, int, object, tuple[int, int, int, int]]]:
    return [
        (d.label, d.class_id, pytest.approx(d.confidence, abs=2e-3), d.bbox)
        for d in runtime.detect(ORIGINAL)
    ]


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("layout", list(OUTPUTS))
def test_each_layout_gives_the_same_boxes(tmp_path: Path, layout: Layout, half: bool) -> None:
    path = models.save_constant(
        tmp_path / "m.onnx", OUTPUTS[layout], metadata=models.names_note(), half=half
    )
    runtime = YoloRuntime.load(path)
    assert runtime.info()["layout"] == layout
    assert found_by(runtime) == EXPECTED


@pytest.mark.parametrize("layout", list(OUTPUTS))
def test_layouts_are_told_apart_without_names(tmp_path: Path, layout: Layout) -> None:
    runtime = YoloRuntime.load(models.save_constant(tmp_path / "m.onnx", OUTPUTS[layout]))
    assert runtime.info()["layout"] == layout
    expected = [(f"class_{i}", i, score, box) for _, i, score, box in EXPECTED]
    assert found_by(runtime) == expected


def test_box_wholly_in_the_grey_margin_is_no_detection(tmp_path: Path) -> None:
    margin = (Truth((10, 2, 30, 12), 0, 0.9),)
    path = models.save_constant(tmp_path / "m.onnx", models.columns(margin))
    assert YoloRuntime.load(path).detect(ORIGINAL) == []


def test_not_finite_answers_are_left_out(tmp_path: Path) -> None:
    output = models.columns()
    output[0, 0, -1] = np.nan  # the surer dog's box
    output[0, 4:, 3] = np.nan
    output[0, 0, 5], output[0, 4, 5] = np.inf, 0.9
    path = models.save_constant(tmp_path / "m.onnx", output, metadata=models.names_note())
    assert [d.label for d in YoloRuntime.load(path).detect(ORIGINAL)] == ["bird", "dog"]


def test_one_class_of_v5_and_two_classes_of_rows_differ_from_v10(tmp_path: Path) -> None:
    """All three have six columns."""
    truth = (Truth((20, 20, 40, 40), 0, 0.8),)
    one = models.objectness(truth, classes=1)
    two = np.ascontiguousarray(models.columns(truth, classes=2).transpose(0, 2, 1))
    assert one.shape[2] == two.shape[2] == 6
    shown = []
    for output in (one, two, models.end_to_end(truth)):
        runtime = YoloRuntime.load(models.save_constant(tmp_path / "m.onnx", output))
        shown.append((runtime.info()["layout"], [d.bbox for d in runtime.detect(ORIGINAL)]))
    box = [(40, 8, 40, 40)]
    assert shown == [("objectness", box), ("rows", box), ("end_to_end", box)]


def test_raw_heads_behind_the_detections_are_ignored(tmp_path: Path) -> None:
    heads = [np.zeros((1, 3, s, s, 8), np.float32) for s in (8, 4, 2)]
    path = models.save_constant(tmp_path / "m.onnx", models.objectness(), *heads)
    assert YoloRuntime.load(path).info()["layout"] == "objectness"


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_free_input_size_gets_the_proportions_of_the_picture(tmp_path: Path, half: bool) -> None:
    runtime = YoloRuntime.load(models.save_bright_cells(tmp_path / "m.onnx", half=half))
    info = runtime.info()
    assert (info["takes_any_size"], info["input_size"]) == (True, [128, 128])
    picture = np.zeros((128, 512, 3), np.uint8)  # sent as 128 x 32: four cells
    picture[:, 256:384] = 255
    (found,) = runtime.detect(picture, confidence=0.9)
    assert (found.label, found.bbox) == ("light", (256, 0, 128, 128))


def test_fixed_input_size_is_kept(tmp_path: Path) -> None:
    path = models.save_bright_cells(tmp_path / "m.onnx", size=(64, 128))
    picture = np.zeros((64, 64, 3), np.uint8)  # 64 x 64 in the middle of 128 x 64
    picture[32:, 32:] = 255
    (found,) = YoloRuntime.load(path).detect(picture, confidence=0.9)
    assert found.bbox == (32, 32, 32, 32)


def test_size_called_free_but_fixed_inside_falls_back_to_square(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = models.columns(cells=10)  # only true of one input size
    path = models.save_constant(tmp_path / "m.onnx", output, size=("h", "w"))
    runtime = YoloRuntime.load(path)
    assert runtime.info()["layout"] == "columns"


@pytest.mark.parametrize("share", [1, 2])
def test_both_sessions_answer_alike(tmp_path: Path, share: int) -> None:
    path = models.save_bright_cells(tmp_path / "m.onnx")
    runtime = YoloRuntime.load(path, threads=2)
    picture = np.random.default_rng(5).integers(0, 256, (100, 300, 3), np.uint8)
    found = runtime.detect(picture, confidence=0.01, threads=share)
    assert found == YoloRuntime.load(path).detect(picture, confidence=0.01)
    assert len(found) == 8


def test_labels_of_the_command_line_replace_those_of_the_file(tmp_path: Path) -> None:
    path = models.save_constant(tmp_path / "m.onnx", models.columns(), metadata=models.names_note())
    found = YoloRuntime.load(path, labels="kitten, puppy,chick").detect(ORIGINAL)
    assert [d.label for d in found] == ["puppy", "chick"]


class TestRefusal:
    """What cannot be served is refused at load, with a sentence saying what is wrong."""

    @staticmethod
    def refusal(path: Path, **options: str) -> str:
        with pytest.raises(CnetError) as caught:
            YoloRuntime.load(path, **options)  # type: ignore[arg-type]
        return caught.value.message

    def test_missing_empty_folder_and_text(self, tmp_path: Path) -> None:
        assert "does not exist" in self.refusal(tmp_path / "none.onnx")
        (tmp_path / "empty.onnx").touch()
        assert "is empty" in self.refusal(tmp_path / "empty.onnx")
        assert "no regular file" in self.refusal(tmp_path)
        (tmp_path / "text.onnx").write_text("hello, I am no model")
        assert "cannot be loaded" in self.refusal(tmp_path / "text.onnx")

    def test_raw_heads(self, tmp_path: Path) -> None:
        heads = [np.zeros((1, 3, s, s, 85), np.float32) for s in (8, 4, 2)]
        said = self.refusal(models.save_constant(tmp_path / "m.onnx", *heads))
        assert "raw heads" in said
        assert "--grid" in said

    @pytest.mark.parametrize(
        "output",
        [
            np.zeros((1, 1000), np.float32),
            np.zeros((1, 3, 3), np.float32),
            np.zeros((4, 84, 126), np.float32),
            np.zeros((), np.float32),
        ],
        ids=["classifier", "too few columns", "batch of four", "scalar"],
    )
    def test_outputs_of_no_detector(self, tmp_path: Path, output: Floats) -> None:
        said = self.refusal(models.save_constant(tmp_path / "m.onnx", output))
        assert str(list(output.shape)) in said

    def test_segmentation_and_two_outputs(self, tmp_path: Path) -> None:
        mask = np.zeros((1, 32, 16, 24), np.float32)
        path = models.save_constant(tmp_path / "m.onnx", models.columns(), mask)
        assert "segmentation" in self.refusal(path)
        notes = {"task": "segment"}
        path = models.save_constant(tmp_path / "m.onnx", models.columns(), metadata=notes)
        assert "task is 'segment'" in self.refusal(path)

    def test_channels_last_and_grey(self, tmp_path: Path) -> None:
        path = models.save_constant(
            tmp_path / "m.onnx", models.columns(), channels=64, size=(96, 3)
        )
        assert "channels first" in self.refusal(path)
        path = models.save_constant(tmp_path / "m.onnx", models.columns(), channels=1)
        assert "1 channels" in self.refusal(path)

    def test_number_of_labels(self, tmp_path: Path) -> None:
        path = models.save_constant(tmp_path / "m.onnx", models.columns())
        assert "no YOLO layout" in self.refusal(path, labels="a,b,c,d,e,f,g,h")
        assert "3 classes but 2" in self.refusal(path, labels="a,b", layout="columns")

    def test_layout_asked_for_that_cannot_be(self, tmp_path: Path) -> None:
        path = models.save_constant(tmp_path / "m.onnx", models.columns())
        assert "cannot have the layout" in self.refusal(path, layout="end_to_end_v7")
        assert "cannot have the layout" in self.refusal(path, layout="end_to_end")

    def test_whole_numbers_as_answer(self, tmp_path: Path) -> None:
        output = np.zeros((1, 7, 126), np.int64)
        assert "int64" in self.refusal(models.save_constant(tmp_path / "m.onnx", output))

    def test_wrong_pixels_are_a_programming_error(self, tmp_path: Path) -> None:
        runtime = YoloRuntime.load(models.save_constant(tmp_path / "m.onnx", models.columns()))
        with pytest.raises(ValueError, match="uint8"):
            runtime.detect(np.zeros((4, 4), np.uint8))


def test_weights_outside_the_folder_of_the_model_are_refused(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper

    (tmp_path / "secret.bin").write_bytes(b"\0" * 64)
    folder = tmp_path / "models"
    folder.mkdir()
    tensor = numpy_helper.from_array(np.zeros(16, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    nodes = [helper.make_node("Identity", ["w"], ["output0"])]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [16])],
        [tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ConfigError, match=r"escapes model directory|[Ee]xternal data"):
        YoloRuntime.load(folder / "m.onnx")
