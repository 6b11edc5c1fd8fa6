"""Thousands of damaged pictures, requests and model files: refusals in words, never a 5xx.

`CNET_FUZZ_SEED` chooses another run; the seed is in the name of each test's parameters.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from cnet.inference.images.pictures import FORMATS
from tests.inference import load_models, models
from tests.inference.mutations import mutate, splice
from tests.inference.services import Service, base64_of, run_to_end

SEED = int(os.environ.get("CNET_FUZZ_SEED", "20261121"))
PICTURES = 4_200
REQUESTS = 800
MODELS = 1_000
STARTED_MODELS = 12
SLOWEST_S = 60.0  # for one small picture, whatever its header says, however busy the machine
PEAK_MEMORY_KIB = 400_000

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(600)]

BOUNDARY = "fuzzXboundary"


def originals() -> list[bytes]:
    """Small pictures of every format, some with metadata, palettes, depth and transparency."""
    pixels = np.random.default_rng(1).integers(0, 256, (24, 36, 3), np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    found = []
    for kind in FORMATS:
        plain: dict[str, Any] = {}
        for mode, options in (("RGB", plain), ("L", plain), ("RGB", {"exif": exif})):
            if options and kind in ("BMP", "GIF"):
                continue
            stream = BytesIO()
            image.convert(mode).save(stream, kind, **options)
            found.append(stream.getvalue())
    special: list[tuple[str, str, dict[str, Any]]] = [
        ("CMYK", "JPEG", {}),
        ("RGB", "JPEG", {"progressive": True}),
        ("P", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("RGBA", "WEBP", {"lossless": True}),
        ("RGB", "TIFF", {"compression": "tiff_lzw"}),
        ("1", "TIFF", {"compression": "group4"}),
    ]
    for mode, kind, options in special:
        stream = BytesIO()
        image.convert(mode).save(stream, kind, **options)
        found.append(stream.getvalue())
    return found


def damaged_pictures(rng: random.Random, count: int) -> Iterator[bytes]:
    whole = originals()
    for _ in range(count):
        kind = rng.random()
        if kind < 0.85:
            yield mutate(rng, rng.choice(whole))
        elif kind < 0.95:
            yield splice(rng, rng.choice(whole), rng.choice(whole))
        else:
            yield rng.choice(whole)[: rng.choice((2, 4, 8, 12))] + rng.randbytes(rng.randrange(200))


def picture_request(rng: random.Random, picture: bytes) -> tuple[str, bytes]:
    """One of the three forms, itself whole."""
    form = rng.choice(("raw", "json", "multipart"))
    if form == "raw":
        return rng.choice(("image/jpeg", "image/png", "application/octet-stream")), picture
    if form == "json":
        return "application/json", json.dumps({"image": base64_of(picture)}).encode()
    return f"multipart/form-data; boundary={BOUNDARY}", multipart(picture)


def multipart(picture: bytes) -> bytes:
    return (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n'
        f"Content-Type: image/png\r\n\r\n"
    ).encode() + picture + (
        f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="confidence"\r\n\r\n0.3\r\n'
        f"--{BOUNDARY}--\r\n"
    ).encode()  # fmt: skip


def damaged_requests(rng: random.Random, count: int) -> Iterator[tuple[str, bytes]]:
    """Whole pictures in damaged bodies."""
    whole = originals()
    for _ in range(count):
        content_type, body = picture_request(rng, rng.choice(whole))
        if rng.random() < 0.2:
            text = mutate(rng, content_type.encode()).decode("latin-1")
            content_type = "".join(c for c in text if " " <= c <= "~")
        yield content_type, mutate(rng, body, header=200)


def send_all(service: Service, requests: list[tuple[str, bytes]]) -> Counter[int]:
    """Statuses of the answers; any that is no JSON object of the right form fails."""

    def send(part: list[tuple[str, bytes]]) -> Counter[int]:
        statuses: Counter[int] = Counter()
        with httpx.Client(base_url=service.client.base_url, timeout=120) as client:
            for content_type, body in part:
                headers = {"content-type": content_type}
                reply = client.post("/predict", content=body, headers=headers)
                assert reply.elapsed.total_seconds() < SLOWEST_S, (content_type, body)
                expected = "detections" if reply.status_code == 200 else "error"
                assert expected in reply.json(), (content_type, body)
                assert reply.status_code < 500, (reply.text, content_type, body)
                statuses[reply.status_code] += 1
        return statuses

    with ThreadPoolExecutor(2) as pool:
        halves = pool.map(send, (requests[::2], requests[1::2]))
        return sum(halves, Counter())


def assert_well(service: Service) -> None:
    """The service still lives and still answers rightly."""
    assert service.process.poll() is None
    stream = BytesIO()
    Image.new("RGB", (192, 64)).save(stream, "PNG")
    headers = {"content-type": "image/png"}
    reply = service.client.post("/predict", content=stream.getvalue(), headers=headers)
    assert [found["class"] for found in reply.json()["detections"]] == ["dog", "bird"]
    assert "Traceback" not in service.log.read_text()
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    assert int(peak.group(1)) < PEAK_MEMORY_KIB


def test_damaged_pictures(
    yolo: Service, record_testsuite_property: Callable[[str, object], None]
) -> None:
    rng = random.Random(SEED)
    requests = [picture_request(rng, picture) for picture in damaged_pictures(rng, PICTURES)]
    statuses = send_all(yolo, requests)
    record_testsuite_property("statuses", dict(statuses))
    assert set(statuses) <= {200, 400, 413}
    assert statuses[200] > 100  # damage that decoders forgive; the mutations are no mere noise
    assert statuses[400] > 1_000
    assert statuses.total() == PICTURES
    assert_well(yolo)


def test_damaged_requests(
    yolo: Service, record_testsuite_property: Callable[[str, object], None]
) -> None:
    requests = list(damaged_requests(random.Random(SEED + 1), REQUESTS))
    statuses = send_all(yolo, requests)
    record_testsuite_property("statuses", dict(statuses))
    assert set(statuses) <= {200, 400, 413, 415, 422}
    assert {200, 400, 415, 422} <= set(statuses)
    assert_well(yolo)


@pytest.fixture(scope="module")
def damaged_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ONNX files damaged in a thousand ways."""
    folder = tmp_path_factory.mktemp("models")
    rng = random.Random(SEED + 2)
    whole = [
        models.save_constant(folder / "a.onnx", models.columns(), metadata=models.names_note()),
        models.save_constant(folder / "b.onnx", models.end_to_end(), metadata=models.names_note()),
        models.save_bright_cells(folder / "c.onnx"),
        models.save_bright_cells(folder / "d.onnx", size=(64, 96)),
    ]
    contents = [path.read_bytes() for path in whole]
    for path in whole:
        path.unlink()
    for number in range(MODELS):
        # Constants are dull; what matters lies in the first and last few hundred bytes.
        damaged = mutate(rng, rng.choice(contents), header=600)
        (folder / f"{number:04}.onnx").write_bytes(damaged)
    return folder


def test_damaged_models(
    damaged_models: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Each loads or is refused in words: no crash of the interpreter, no hang, no traceback."""
    command = [sys.executable, "-m", "tests.inference.load_models", str(damaged_models)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    ends: dict[str, int] = json.loads(done.stdout)
    counts = Counter(ends.values())
    record_testsuite_property("ends", dict(counts))
    assert len(ends) == MODELS
    assert -signal.SIGALRM not in counts, "a model made loading hang"
    assert load_models.UNEXPECTED not in counts, done.stderr[-2000:]
    assert counts[load_models.REFUSED] > MODELS / 5
    assert counts[load_models.LOADED] > 0
    assert set(counts) <= {load_models.REFUSED, load_models.LOADED}, counts


def test_damaged_models_end_the_program_with_one_line(damaged_models: Path) -> None:
    """Those cut off in the middle are refused for certain."""

    def end_of(number: int) -> subprocess.CompletedProcess[str]:
        path = damaged_models / f"cut-{number}.bin"
        content = (damaged_models / f"{number:04}.onnx").read_bytes()
        path.write_bytes(content[: len(content) // 2])
        return run_to_end("yolo", "--model", str(path))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(end_of, range(STARTED_MODELS)):
            assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
