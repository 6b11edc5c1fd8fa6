"""The runtime `sklearn` through the real program: the same numbers as scikit-learn in-process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.inference.open_inference import infer, infer_binary
from tests.inference.services import Service, run_to_end, running

EXACT = 1e-12
CONVERTED = 1e-6
RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=(90, 4)) + np.repeat(np.eye(4)[:3] * 3, 30, axis=0)
KINDS = np.repeat(np.array(["low", "mid", "top"]), 30)


def predict(service: Service, rows: Any, *outputs: str) -> dict[str, Any]:
    body = {"inputs": rows, **({"outputs": list(outputs)} if outputs else {})}
    reply = service.client.post("/predict", json=body)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()["outputs"]
    return found


def refusal(service: Service, body: Any) -> tuple[int, str, str]:
    reply = service.client.post("/predict", json=body)
    problem = reply.json()
    return reply.status_code, problem["error"], problem["details"]


def check_numbers(service: Service, name: str, expected: Any, within: float = EXACT) -> None:
    """Alone and batched, by `/predict` and `/v2`."""
    batched = predict(service, ROWS.tolist(), name)[name]
    assert np.abs(np.array(batched) - expected).max() < within
    for ask in (infer, infer_binary):
        found = ask(service, "sklearn", {"input": (ROWS, "FP64")})
        if name in found:  # of several outputs only the first is given unasked
            assert np.abs(found[name] - expected).max() < within
    for index in range(0, len(ROWS), 15):
        alone = predict(service, [ROWS[index].tolist()], name)[name]
        assert np.abs(np.array(alone) - expected[index]).max() < within


def test_a_classifier(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, KINDS)
    skops.io.dump(model, tmp_path / "m.skops")
    with running(tmp_path, "sklearn", "--model", str(tmp_path / "m.skops")) as service:
        info = service.client.get("/info").json()
        assert (info["model_type"], info["format"]) == ("sklearn", "skops")
        assert info["served_by"].startswith("onnxruntime 1.")
        assert info["conversion"]["outputs"] == ["predict", "predict_proba"]
        assert (info["conversion"]["used"], info["conversion"]["precision"]) == (True, "FP64")
        assert info["estimator"] == "Pipeline(StandardScaler, LogisticRegression)"
        assert info["labels"] == ["low", "mid", "top"]
        assert info["inputs"] == [{"name": "input", "datatype": "FP64", "shape": [-1, 4]}]
        assert info["outputs"] == [
            {"name": "predict", "datatype": "BYTES", "shape": [-1]},
            {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 3]},
        ]
        check_numbers(service, "predict_proba", model.predict_proba(ROWS))
        assert predict(service, ROWS.tolist()) == {"predict": model.predict(ROWS).tolist()}
        both = predict(service, {"input": ROWS[:1].tolist()}, "predict", "predict_proba")
        assert (list(both), both["predict"]) == (["predict", "predict_proba"], [KINDS[0]])
        narrow = infer(service, "sklearn", {"input": (ROWS.astype(np.float32), "FP32")})
        assert narrow["predict"].tolist() == model.predict(ROWS.astype(np.float32)).tolist()
        for rows, words in [
            ([1, 2, 3, 4], "[-1, 4]"),
            ([[1, 2, 3]], "[-1, 4]"),
            ([[1, 2, 3, None]], "NaN"),
            ([["a", "b", "c", "d"]], "convert"),
        ]:
            status, _, details = refusal(service, {"inputs": rows})
            assert (status, words in details) == (422, True), details
        assert refusal(service, {"inputs": [[0] * 4], "outputs": ["transform"]})[0] == 422


def test_a_regressor_of_whole_numbers_and_a_transformer(tmp_path: Path) -> None:
    regressor = Ridge().fit(ROWS, ROWS @ [1, 2, 3, 4] + 7)
    skops.io.dump(regressor, tmp_path / "r.skops")
    with running(tmp_path, "sklearn", "--model", str(tmp_path / "r.skops")) as service:
        check_numbers(service, "predict", regressor.predict(ROWS))
        whole = [[1, 2, 3, 4]]
        assert predict(service, whole)["predict"] == pytest.approx(regressor.predict(whole))
    scaler = StandardScaler().fit(ROWS)
    skops.io.dump(scaler, tmp_path / "s.skops")
    with running(tmp_path, "sklearn", "--model", str(tmp_path / "s.skops")) as service:
        check_numbers(service, "transform", scaler.transform(ROWS))


def test_a_forest_needs_a_grant(tmp_path: Path) -> None:
    model = RandomForestClassifier(20, n_jobs=-1, random_state=1).fit(ROWS, KINDS)
    path = tmp_path / "forest.skops"
    skops.io.dump(model, path)
    done = run_to_end("sklearn", "--model", str(path))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "sklearn.tree._tree.Tree" in done.stderr
    assert "config.trusted_types" in done.stderr
    grants = [f"--trust={name}" for name in skops.io.get_untrusted_types(file=path)]
    with running(tmp_path, "sklearn", "--model", str(path), *grants) as service:
        assert service.client.get("/info").json()["conversion"]["used"] is True
        check_numbers(service, "predict_proba", model.predict_proba(ROWS), CONVERTED)
        assert predict(service, ROWS.tolist()) == {"predict": model.predict(ROWS).tolist()}


def test_joblib_only_where_it_is_allowed(tmp_path: Path) -> None:
    model = Ridge().fit(ROWS, ROWS[:, 0])
    path = tmp_path / "m.joblib"
    joblib.dump(model, path)
    done = run_to_end("sklearn", "--model", str(path))
    assert done.returncode == 2
    assert "config.allow_joblib" in done.stderr
    with running(tmp_path, "sklearn", "--model", str(path), "--allow-joblib") as service:
        assert service.client.get("/info").json()["format"] == "joblib"
        check_numbers(service, "predict", model.predict(ROWS))


def test_a_model_that_was_not_allowed_runs_nothing(tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.pkl", tmp_path / "trace"
    joblib.dump(_Touches(trace), path)
    assert run_to_end("sklearn", "--model", str(path)).returncode == 2
    assert not trace.exists()
    assert run_to_end("sklearn", "--model", str(path), "--allow-joblib").returncode == 2
    assert trace.exists(), "the file would not have done anything anyway"


class _Touches:
    """An object whose file makes another file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def test_texts(tmp_path: Path) -> None:
    lines = ["good day", "good night", "bad luck", "bad day", "very good", "too bad"]
    moods = [1, 1, 0, 0, 1, 0]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(lines, moods)
    joblib.dump(model, tmp_path / "m.joblib")
    arguments = ("sklearn", "--model", str(tmp_path / "m.joblib"), "--allow-joblib")
    with running(tmp_path, *arguments) as service:
        info = service.client.get("/info").json()
        assert info["inputs"] == [{"name": "input", "datatype": "BYTES", "shape": [-1]}]
        asked = ["good", "bad", "größe"]
        found = predict(service, asked, "predict", "predict_proba")
        assert found["predict"] == model.predict(asked).tolist()
        assert np.abs(np.array(found["predict_proba"]) - model.predict_proba(asked)).max() < EXACT
        encoded = np.array([each.encode() for each in asked], object)
        for ask in (infer, infer_binary):
            by_v2 = ask(service, "sklearn", {"input": (encoded, "BYTES")})
            assert by_v2["predict"].tolist() == found["predict"]
        assert refusal(service, {"inputs": [1, 2]})[1] == "invalid_field"


def test_columns_of_words_come_out_dense(tmp_path: Path) -> None:
    rows = np.array([["red", "s"], ["blue", "m"], ["red", "l"]], object)
    model = OneHotEncoder().fit(rows)
    joblib.dump(model, tmp_path / "m.joblib")
    arguments = ("sklearn", "--model", str(tmp_path / "m.joblib"), "--allow-joblib")
    with running(tmp_path, *arguments) as service:
        found = predict(service, rows.tolist())["transform"]
        assert found == model.transform(rows).toarray().tolist()
        status, code, details = refusal(service, {"inputs": [["green", "s"]]})
        assert (status, code, "green" in details) == (422, "model_failed", True)


def test_methods_with_several_arrays_are_left_out(tmp_path: Path) -> None:
    two = np.stack([KINDS == "low", KINDS == "top"], axis=1).astype(int)
    model = MultiOutputClassifier(LogisticRegression()).fit(ROWS, two)
    joblib.dump(model, tmp_path / "m.joblib")
    arguments = ("sklearn", "--model", str(tmp_path / "m.joblib"), "--allow-joblib")
    with running(tmp_path, *arguments) as service:
        outputs = service.client.get("/info").json()["outputs"]
        assert [each["name"] for each in outputs] == ["predict"]
        assert predict(service, ROWS.tolist())["predict"] == model.predict(ROWS).tolist()


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        ({"a": 1}, "holds a dict"),
        (LogisticRegression(), "is not fitted"),
    ],
)
def test_what_cannot_be_served(tmp_path: Path, thing: Any, words: str) -> None:
    joblib.dump(thing, tmp_path / "m.joblib")
    done = run_to_end("sklearn", "--model", str(tmp_path / "m.joblib"), "--allow-joblib")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert words in done.stderr


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "m.joblib").write_bytes(b"no model at all")
    done = run_to_end("sklearn", "--model", str(tmp_path / "m.joblib"), "--allow-joblib")
    assert (done.returncode, "cannot be loaded" in done.stderr) == (2, True)
    done = run_to_end("sklearn", "--model", str(tmp_path / "none.skops"))
    assert (done.returncode, "does not exist" in done.stderr) == (2, True)


def test_a_missing_extra_is_told_with_the_command_that_installs_it(tmp_path: Path) -> None:
    (tmp_path / "sklearn.py").write_text(
        "raise ModuleNotFoundError('No module named sklearn', name='sklearn')"
    )
    skops.io.dump(LogisticRegression().fit(ROWS, KINDS), tmp_path / "m.skops")
    environment = {"PYTHONPATH": str(tmp_path)}
    done = run_to_end("sklearn", "--model", str(tmp_path / "m.skops"), environment=environment)
    assert done.returncode == 2
    assert "sklearn is missing" in done.stderr
    assert "-m pip install 'cnet[sklearn]'" in done.stderr


def test_the_next_start_needs_no_scikit_learn(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, KINDS)
    path = tmp_path / "m.skops"
    skops.io.dump(model, path)
    arguments = ("sklearn", "--model", str(path), "--cache-dir", str(tmp_path / "cache"))
    told = []
    for start in range(2):
        with running(tmp_path, *arguments) as service:
            maps = Path(f"/proc/{service.process.pid}/maps")
            assert ("/sklearn/" in maps.read_text()) == (start == 0)
            told.append(service.client.get("/info").json())
            check_numbers(service, "predict_proba", model.predict_proba(ROWS))
            assert ("/sklearn/" in maps.read_text()) == (start == 0)
            # What was not compared brings it in.
            status, code, details = refusal(service, {"inputs": [[1, 2, 3, None]]})
            assert (status, code, "NaN" in details) == (422, "model_failed", True)
            assert "/sklearn/" in maps.read_text()
    for info in told:
        info["conversion"].pop("reason")
        info.pop("batching")
    assert told[0] == told[1]


def test_conversion_can_be_switched_off(tmp_path: Path) -> None:
    skops.io.dump(LogisticRegression().fit(ROWS, KINDS), tmp_path / "m.skops")
    arguments = ("sklearn", "--model", str(tmp_path / "m.skops"), "--no-convert")
    with running(tmp_path, *arguments) as service:
        info = service.client.get("/info").json()
        assert info["served_by"].startswith("scikit-learn 1.")
        assert info["conversion"] == {"used": False, "reason": "it is switched off"}
