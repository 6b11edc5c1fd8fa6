"""Requests that wait at the same time are answered in one call, and nobody can tell."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families as parsed

from tests.inference.networks import Trained
from tests.inference.open_inference import infer, infer_binary
from tests.inference.services import Service, running, wait_for

EXACT = 1e-6
AT_ONCE = 24

HELD = """
import time
from pathlib import Path
import numpy as np

inputs = outputs = {"x": ("FP64", [-1, 2])}
batching = True

def predict(inputs):
    x = inputs["x"]
    while (x == 7).any() and not Path(__file__).with_name("go").exists():
        time.sleep(0.01)
    if np.isnan(x).any():
        raise ValueError("NaN is no measurement")
    return {"x": x}
"""


def figures(service: Service) -> dict[str, float]:
    """Values of all metrics without labels, and those of histograms."""
    text = service.client.get("/metrics").text
    return {sample.name: sample.value for family in parsed(text) for sample in family.samples}


def test_answers_are_those_of_requests_alone(service: Service, trained: Trained) -> None:
    classes, odds = trained.in_process(trained.rows)
    assert service.client.get("/info").json()["batching"]["max_rows"] > 1

    def by_predict(index: int) -> list[float]:
        body = {"inputs": [trained.rows[index].tolist()]}
        reply = service.client.post("/predict", json=body)
        assert reply.status_code == 200, reply.text
        found = reply.json()["outputs"]
        assert found["class"] == [classes[index]]
        return list(found["odds"][0])

    def by_v2(index: int) -> list[float]:
        ask = (infer, infer_binary)[index % 2]
        rows = trained.rows[index : index + 1]
        return list(ask(service, "kinds", {"rows": (rows, "FP32")})["odds"][0])

    for ask in (by_predict, by_v2):
        every: Callable[[int], list[float]] = ask
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(every, range(len(trained.rows))))
        assert np.abs(np.array(found) - odds).max() < EXACT


def test_a_bad_row_does_not_fail_its_neighbours(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(HELD)
    with running(tmp_path, "custom", "--model", str(path), "--threads", "1") as service:
        url = f"{service.client.base_url}/predict"

        def ask(value: float | None) -> tuple[int, object]:
            reply = httpx.post(url, json={"inputs": [[value, 0]]}, timeout=60)
            return reply.status_code, reply.json().get("outputs", {}).get("x")

        with ThreadPoolExecutor(AT_ONCE) as pool:
            held = pool.submit(ask, 7)
            wait_for(lambda: figures(service)["cnet_inference_running"] == 1)
            others = [pool.submit(ask, None if n == 5 else n / 10) for n in range(AT_ONCE - 1)]
            wait_for(lambda: figures(service)["cnet_inference_queue_length"] == len(others))
            (tmp_path / "go").touch()
            answers = [each.result() for each in others]
            assert held.result() == (200, [[7, 0]])
        for number, (status, found) in enumerate(answers):
            expected = (422, None) if number == 5 else (200, [[number / 10, 0]])
            assert (status, found) == expected
        seen = figures(service)
        assert seen["cnet_inference_batch_requests_sum"] == AT_ONCE
        assert seen["cnet_inference_batch_requests_count"] == 2
        assert seen["cnet_inference_batches_retried_total"] == 1
