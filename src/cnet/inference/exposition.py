"""The metrics of a service as Prometheus and OpenMetrics want them.

Imported by the first scrape: the library takes longer to import than a small model to load.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from cnet.inference.metrics import Histogram, Metrics

_PREFIX = "cnet_inference_"


class Exposition:
    """Writes `metrics`; `about` are the labels of `cnet_inference_info`."""

    def __init__(self, metrics: Metrics, about: Mapping[str, str]) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._registry.register(_ServiceCollector(metrics, about))

    def write(self, accept: str) -> tuple[bytes, str]:
        """The text in the form that the header `accept` asks for, and its content type."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type


class _ServiceCollector(Collector):
    def __init__(self, metrics: Metrics, about: Mapping[str, str]) -> None:
        self._metrics = metrics
        self._about = dict(about)

    def collect(self) -> Iterator[Metric]:
        """All figures as they are now."""
        yield from self._of_requests()
        yield from self._of_work()
        yield InfoMetricFamily(f"{_PREFIX}service", "What is served.", value=self._about)

    def _of_requests(self) -> Iterator[Metric]:
        seen = self._metrics
        requests = CounterMetricFamily(
            f"{_PREFIX}requests", "Answers, by route and status.", labels=("route", "status")
        )
        for (route, status), count in dict(seen.requests).items():
            requests.add_metric((route, str(status)), count)
        yield requests
        latency = HistogramMetricFamily(
            f"{_PREFIX}request_seconds",
            "From the headers of a request to its answer.",
            labels=("route",),
        )
        for route, histogram in dict(seen.latency).items():
            latency.add_metric((route,), *_buckets(histogram))
        yield latency
        errors = CounterMetricFamily(
            f"{_PREFIX}errors", "Answers that tell of an error, by its word.", labels=("code",)
        )
        for code, count in dict(seen.errors).items():
            errors.add_metric((code,), count)
        yield errors
        yield CounterMetricFamily(
            f"{_PREFIX}clients_gone", "Requests whose client hung up first.", value=seen.gone
        )

    def _of_work(self) -> Iterator[Metric]:
        seen = self._metrics
        for name, text, histogram in (
            ("queue_wait_seconds", "In line, of requests that began.", seen.wait),
            ("run_seconds", "Of one call of the model, or one work of a thread.", seen.run),
            ("batch_requests", "Requests in one call of the model.", seen.batch_requests),
            ("batch_rows", "Rows in one call of the model.", seen.batch_rows),
        ):
            family = HistogramMetricFamily(f"{_PREFIX}{name}", text)
            family.add_metric((), *_buckets(histogram))
            yield family
        yield CounterMetricFamily(
            f"{_PREFIX}batches_retried",
            "Batches that failed and were answered one by one.",
            value=seen.retried,
        )
        for name, text, value in (
            ("queue_length", "Requests in line.", seen.waiting),
            ("running", "Calls of the model, or works of threads, under way.", seen.running),
            ("model_load_seconds", "Loading and trying the model took.", seen.load_s),
        ):
            yield GaugeMetricFamily(f"{_PREFIX}{name}", text, value=value)


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    counts = list(accumulate(histogram.counts))
    bounds = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    return [(bound, float(count)) for bound, count in zip(bounds, counts, strict=True)], (
        histogram.sum
    )
