"""Estimators converted to ONNX: the same answers, or scikit-learn's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from cnet.inference.sklearn import cache
from cnet.inference.sklearn.about import About
from cnet.inference.sklearn.cache import ConversionCache
from cnet.inference.sklearn.conversion import NotConvertibleError, convert
from cnet.inference.sklearn.converted import TOLERANCE, Conversion, ConvertedModel
from cnet.inference.sklearn.estimators import Estimator
from cnet.inference.sklearn.originals import Original
from cnet.inference.tensors.datatypes import conform

pytestmark = pytest.mark.filterwarnings("ignore")

RNG = np.random.default_rng(9)
ROWS = RNG.normal(size=(90, 4)) + np.repeat(np.eye(4)[:3] * 3, 30, axis=0)
KINDS = np.repeat(np.array(["low", "mid", "top"]), 30)
VALUES = ROWS @ [1, -2, 3, 0.5] + 7
OTHERS = np.concatenate([RNG.normal(size=(150, 4)) * 4, np.round(RNG.normal(size=(50, 4)) * 3)])


def converted(tmp_path: Path, estimator: Any) -> tuple[ConvertedModel, Estimator]:
    (tmp_path / "m").touch()
    served = Estimator(estimator, form="skops")
    return convert(served, tmp_path / "m", threads=1).model, served


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(20, random_state=1),
        DecisionTreeClassifier(max_depth=4),
        KNeighborsClassifier(),
        Ridge(),
        RandomForestRegressor(10, random_state=1),
        MLPRegressor(hidden_layer_sizes=(8,), max_iter=50),
        StandardScaler(),
        KMeans(3, n_init=1, random_state=1),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_same_answers(tmp_path: Path, estimator: Any) -> None:
    is_regressor = "Regressor" in type(estimator).__name__ or isinstance(estimator, Ridge)
    model, served = converted(tmp_path, estimator.fit(ROWS, VALUES if is_regressor else KINDS))
    names = list(model.conversion.outputs)
    assert names
    answered = 0
    for row in OTHERS:
        given = row.reshape(1, -1)
        found = model.infer(given, names, threads=1)
        if found is None:
            continue
        answered += 1
        expected = served.infer({"input": given}, outputs=names)
        for name in names:
            wanted = conform(expected[name], name=name)
            assert found[name].dtype == wanted.dtype
            assert found[name].shape == wanted.shape
            if wanted.dtype.kind == "f":
                assert np.allclose(found[name], wanted, rtol=TOLERANCE, atol=TOLERANCE)
            else:
                assert conform(found[name], name=name).tolist() == wanted.tolist()
    assert answered > len(OTHERS) / 2


def test_undecided_rows_are_left_to_scikit_learn(tmp_path: Path) -> None:
    """Even votes of a forest: the sums of single precision would decide by their last bit."""
    forest = RandomForestClassifier(10, max_depth=2, random_state=3).fit(ROWS, KINDS)
    model, _ = converted(tmp_path, forest)
    grid = RNG.normal(size=(3000, 4)) * 2 + ROWS.mean(axis=0)
    odds = np.sort(forest.predict_proba(grid), axis=1)
    even = grid[odds[:, -1] - odds[:, -2] < 1e-9]
    if len(even):
        assert model.infer(even[:1], ["predict"], threads=1) is None
    clear = grid[odds[:, -1] - odds[:, -2] > 0.1][:50]
    found = model.infer(clear, ["predict"], threads=1)
    assert found is not None
    assert list(found["predict"]) == forest.predict(clear).tolist()


def test_what_was_not_compared_is_left_to_scikit_learn(tmp_path: Path) -> None:
    model, _ = converted(tmp_path, LogisticRegression().fit(ROWS, KINDS))
    good = ROWS[:2]
    assert model.infer(good, ["predict"], threads=1) is not None
    assert model.infer(good.astype(np.float32), ["predict"], threads=1) is not None
    for bad in (np.nan, np.inf, -np.inf, model.conversion.bound * 2):
        given = good.copy()
        given[1, 2] = bad
        assert model.infer(given, ["predict"], threads=1) is None
    assert model.infer(good[:0], ["predict"], threads=1) is None
    assert model.infer(good.astype(str).astype(object), ["predict"], threads=1) is None
    assert model.infer(good, ["transform"], threads=1) is None


@pytest.mark.parametrize(
    ("estimator", "targets", "words"),
    [
        (make_pipeline(OrdinalEncoder(), LogisticRegression()), KINDS, "has not seen"),
        (OneVsRestClassifier(LogisticRegression()), np.eye(3, dtype=int)[:, :2].repeat(30, 0),
         "several classes"),
        (MultinomialNB(), KINDS, ""),
    ],
    ids=["encoder", "several", "negative"],
)  # fmt: skip
def test_not_converted(tmp_path: Path, estimator: Any, targets: Any, words: str) -> None:
    rows = np.round(np.abs(ROWS))
    with pytest.raises(NotConvertibleError, match=words):
        model, served = converted(tmp_path, estimator.fit(rows, targets))
        # Where it was converted all the same, it must have been right to be.
        expected = served.infer({"input": OTHERS}, outputs=["predict"])["predict"]
        found = model.infer(OTHERS, ["predict"], threads=1)
        assert found is None or [*found["predict"]] == [*expected]
        raise NotConvertibleError


def test_what_is_kept_is_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"model")
    estimator = Estimator(LogisticRegression().fit(ROWS, KINDS), form="skops")
    made = convert(estimator, tmp_path / "m", threads=1)
    kept = ConversionCache(tmp_path / "cache")
    key = kept.key(tmp_path / "m", trusted=())
    assert kept.find(key) is None
    kept.keep(key, made.content, {"conversion": made.model.conversion.as_json()})
    found = kept.find(key)
    assert found is not None
    again = Conversion.from_json(found.about["conversion"])
    assert again == made.model.conversion
    assert found.content == made.content
    assert kept.key(tmp_path / "m", trusted=("a.B",)) != key
    (tmp_path / "cache" / f"{key}.onnx").write_bytes(made.content[:-1])
    assert kept.find(key) is None
    (tmp_path / "cache" / f"{key}.json").write_text("[")
    assert kept.find(key) is None
    (tmp_path / "m").write_bytes(b"another model")
    assert kept.key(tmp_path / "m", trusted=()) != key


def test_many_kept_conversions_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_MOST_KEPT", 3)
    kept = ConversionCache(tmp_path)
    for number in range(5):
        kept.keep(f"k{number}", b"x", {})
    assert len(list(tmp_path.iterdir())) == 6
    assert kept.find("k4") is not None


def test_a_folder_that_cannot_be_used_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = ConversionCache(tmp_path / "file" / "below")
    kept.keep("k", b"x", {})
    assert kept.find("k") is None


def test_words_about_an_estimator_come_back_as_they_were(tmp_path: Path) -> None:
    original = Original(tmp_path / "m", "skops", trusted=())
    original._loaded = Estimator(LogisticRegression().fit(ROWS, KINDS), form="skops")
    about = original.about()
    assert About.from_json(about.as_json()) == about
    assert about.labels == ["low", "mid", "top"]
