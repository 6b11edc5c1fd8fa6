"""Two interleaved half moons, told apart by a small neural network.

    python3 neural_network.py train MODEL [SAMPLES]
    python3 neural_network.py predict MODEL "[X, Y]"
    python3 neural_network.py evaluate MODEL

Each prints one JSON object; a prediction is 0 (upper moon) or 1 (lower moon) with the network's
confidence in it. An input that is no point ends with status 2.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

LAYERS = (16, 16)
NOISE = 0.15
SAMPLES = 1_000


class BadInputError(Exception):
    """The command line cannot be taken; the sentence says why."""


def train(path: Path, count: int) -> dict[str, object]:
    """Fit `count` points, four fifths of them; write the model."""
    x, y = make_moons(count, noise=NOISE, random_state=1)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=1)
    network = MLPClassifier(LAYERS, max_iter=500, random_state=1)
    model = make_pipeline(StandardScaler(), network).fit(x_train, y_train)
    print(f"loss {network.loss_:.4f} after {network.n_iter_} rounds", file=sys.stderr)
    path.parent.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, path)
    return {
        "status": "success",
        "model_path": str(path),
        "training_samples": len(x_train),
        "test_samples": len(x_test),
        "accuracy": float(model.score(x_test, y_test)),
        "model_info": about(model),
    }


def predict(path: Path, text: str) -> dict[str, object]:
    """The moon that a point belongs to."""
    point = coordinates(text)
    model = joblib.load(path)
    odds = model.predict_proba([point])[0]
    return {
        "status": "success",
        "input": point,
        "prediction": int(np.argmax(odds)),
        "confidence": float(np.max(odds)),
        "model_info": about(model),
    }


def evaluate(path: Path) -> dict[str, object]:
    """How well it does on points that it has not seen."""
    model = joblib.load(path)
    x, y = make_moons(500, noise=NOISE, random_state=2)
    return {
        "status": "success",
        "test_samples": len(x),
        "accuracy": float(model.score(x, y)),
        "model_info": about(model),
    }


def about(model: Pipeline) -> dict[str, object]:
    network = model[-1]
    return {"layers": list(network.hidden_layer_sizes), "rounds": int(network.n_iter_)}


def coordinates(text: str) -> list[float]:
    """Two finite numbers, as a JSON list."""
    try:
        point = [float(value) for value in json.loads(text)]
    except (TypeError, ValueError):
        point = []
    if len(point) != 2 or not all(map(math.isfinite, point)):
        raise BadInputError(f"a point is two finite numbers like [0.5, 0.2], not {text!r}")
    return point


def samples(text: str) -> int:
    """How many points to train with: enough to set some aside."""
    if not text.isdigit() or int(text) < 50:
        raise BadInputError(f"SAMPLES must be a whole number from 50 on, not {text!r}")
    return int(text)


def main(argv: list[str]) -> dict[str, object]:
    match argv:
        case ["train", path]:
            return train(Path(path), SAMPLES)
        case ["train", path, count]:
            return train(Path(path), samples(count))
        case ["predict", path, point]:
            return predict(Path(path), point)
        case ["evaluate", path]:
            return evaluate(Path(path))
    raise BadInputError('usage: train MODEL [SAMPLES] | predict MODEL "[X, Y]" | evaluate MODEL')


if __name__ == "__main__":
    try:
        print(json.dumps(main(sys.argv[1:])))
    except BadInputError as error:
        print(json.dumps({"status": "error", "error": str(error)}))
        sys.exit(2)
