"""`bentoml serve bentoml_service:Iris`."""

from __future__ import annotations

import os

import bentoml
import joblib


@bentoml.service(workers=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Iris:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api
    def predict(self, rows: list[list[float]]) -> list[int]:
        found: list[int] = self.model.predict(rows).tolist()
        return found
