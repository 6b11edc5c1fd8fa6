"""`make bench`: every figure of docs/benchmarks.md, one program after the other."""

from __future__ import annotations

import subprocess
import sys

PROGRAMS = (
    ("benchmarks.spawn", "--rounds", "3"),
    ("benchmarks.workloads",),
    ("benchmarks.containers",),
    ("benchmarks.placement",),
    ("benchmarks.root",),
    ("benchmarks.simulation", "--trees", "100x2000", "1000x10000"),
    ("benchmarks.links",),
    ("benchmarks.delegation",),
    ("benchmarks.service_route",),
    ("benchmarks.service_hops",),
    ("benchmarks.service_traffic",),
    ("benchmarks.yolo_predict",),
    ("benchmarks.yolo_predict", "--model", "examples/ml_models/shapes_yolo.onnx"),
    ("benchmarks.serving_overload",),
    ("benchmarks.s3",),
    ("benchmarks.web",),
)

for module, *options in PROGRAMS:
    print(f"\n== python -m {' '.join([module, *options])}", flush=True)
    subprocess.run([sys.executable, "-m", module, *options], check=True)
