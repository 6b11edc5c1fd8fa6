"""A straight line through noisy points: train it, ask it, measure it.

    python3 simple_linear_regression.py train MODEL [SAMPLES]
    python3 simple_linear_regression.py predict MODEL X
    python3 simple_linear_regression.py evaluate MODEL

Each prints one JSON object. An input that is no number ends with status 2.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import joblib
import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.model_selection import train_test_split

SLOPE, INTERCEPT, NOISE = 2.5, 1.0, 0.5
SAMPLES = 1_000


class BadInputError(Exception):
    """The command line cannot be taken; the sentence says why."""


def points(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` points near the line: x as one column, and y."""
    random = np.random.default_rng(seed)
    x = random.uniform(0, 10, (count, 1))
    return x, SLOPE * x[:, 0] + INTERCEPT + random.normal(0, NOISE, count)


def train(path: Path, count: int) -> dict[str, object]:
    """Fit `count` points, four fifths of them; write the model."""
    x, y = points(count, seed=1)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=1)
    print(f"fitting {len(x_train)} points", file=sys.stderr)
    model = LinearRegression().fit(x_train, y_train)
    path.parent.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, path)
    return {
        "status": "success",
        "model_path": str(path),
        "training_samples": len(x_train),
        "test_samples": len(x_test),
        **quality(model, x_test, y_test),
        "model_info": about(model),
    }


def predict(path: Path, text: str) -> dict[str, object]:
    """The model's y for one x."""
    x = number(text)
    model = joblib.load(path)
    return {
        "status": "success",
        "input": x,
        "prediction": float(model.predict([[x]])[0]),
        "model_info": about(model),
    }


def evaluate(path: Path) -> dict[str, object]:
    """How well it does on points that it has not seen."""
    model = joblib.load(path)
    x, y = points(200, seed=2)
    return {
        "status": "success",
        "test_samples": len(x),
        **quality(model, x, y),
        "model_info": about(model),
    }


def quality(model: LinearRegression, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    found = model.predict(x)
    return {"mse": float(mean_squared_error(y, found)), "r2_score": float(r2_score(y, found))}


def about(model: LinearRegression) -> dict[str, float]:
    return {"coefficient": float(model.coef_[0]), "intercept": float(model.intercept_)}


def number(text: str) -> float:
    """A finite number, also as the one element of a JSON list."""
    try:
        value = float(text.strip().removeprefix("[").removesuffix("]"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadInputError(f"x must be a finite number, not {text!r}")
    return value


def samples(text: str) -> int:
    """How many points to train with: enough to set some aside."""
    if not text.isdigit() or int(text) < 10:
        raise BadInputError(f"SAMPLES must be a whole number from 10 on, not {text!r}")
    return int(text)


def main(argv: list[str]) -> dict[str, object]:
    match argv:
        case ["train", path]:
            return train(Path(path), SAMPLES)
        case ["train", path, count]:
            return train(Path(path), samples(count))
        case ["predict", path, x]:
            return predict(Path(path), x)
        case ["evaluate", path]:
            return evaluate(Path(path))
    raise BadInputError("usage: train MODEL [SAMPLES] | predict MODEL X | evaluate MODEL")


if __name__ == "__main__":
    try:
        print(json.dumps(main(sys.argv[1:])))
    except BadInputError as error:
        print(json.dumps({"status": "error", "error": str(error)}))
        sys.exit(2)
