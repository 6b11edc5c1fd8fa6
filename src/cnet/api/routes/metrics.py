"""`/metrics`: what this node holds and what it has done for services, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.responses import Response

from cnet.api.context import ApiContext, Context
from cnet.api.document import errors
from cnet.api.services.counting import BUCKETS_S
from cnet.model.lifecycle import WIRE_STATUSES

router = APIRouter(tags=["node"])

_BOUNDS = (*(f"{bound:g}" for bound in BUCKETS_S), "+Inf")


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **errors(),
    },
)
async def metrics(context: Context) -> Response:
    """The node's room and workloads, and the requests that it has carried to services."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Agent(context))
    return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})


class _Agent(Collector):
    """Reads what is counted anyway; nothing is kept twice."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self._node()
        yield from self._served()
        yield from self._routed()

    def _node(self) -> Iterator[Metric]:
        manager = self._context.manager
        ledger = manager.ledger
        parts = {"total": ledger.capacity, "available": ledger.available}
        room = GaugeMetricFamily(
            "cnet_node_room", "Cores, devices and bytes of this node.", labels=["resource", "part"]
        )
        for part, resources in parts.items():
            for name, amount in resources.to_wire().items():
                room.add_metric([name, part], amount)
        yield room
        workloads = GaugeMetricFamily("cnet_workloads", "Workloads by status.", labels=["status"])
        counts = manager.counts()
        for status in WIRE_STATUSES:
            workloads.add_metric([status], counts.get(status, 0))
        yield workloads
        nodes = GaugeMetricFamily(
            "cnet_known_nodes", "Nodes this agent knows, by status.", labels=["status"]
        )
        known = [node.status for node in self._context.exchange.view.nodes()]
        for word in ("active", "draining", "unreachable"):
            nodes.add_metric([word], known.count(word))
        yield nodes
        yield GaugeMetricFamily(
            "cnet_agent_start_time_seconds", "Unix time.", value=self._context.started_at
        )

    def _served(self) -> Iterator[Metric]:
        labels = ["service", "version"]
        total = CounterMetricFamily(
            "cnet_service_requests", "Requests that replicas here have had.", labels=labels
        )
        failed = CounterMetricFamily(
            "cnet_service_errors", "Of these, answered with 5xx or broken off.", labels=labels
        )
        in_flight = GaugeMetricFamily(
            "cnet_service_requests_in_flight", "Requests at replicas here now.", labels=labels
        )
        duration = HistogramMetricFamily(
            "cnet_service_request_duration_seconds", "At replicas here.", labels=labels
        )
        for key, tally in self._context.counting.served.items():
            total.add_metric(key, tally.requests)
            failed.add_metric(key, tally.errors)
            in_flight.add_metric(key, tally.in_flight)
            buckets = list(zip(_BOUNDS, accumulate(tally.buckets), strict=True))
            duration.add_metric(key, buckets, sum_value=tally.seconds)
        yield from (total, failed, in_flight, duration)

    def _routed(self) -> Iterator[Metric]:
        counting = self._context.counting
        repeated = CounterMetricFamily(
            "cnet_service_repeats",
            "Requests that came in here and were sent to another replica after one broke off.",
            labels=["service"],
        )
        unanswered = CounterMetricFamily(
            "cnet_service_unanswered",
            "Requests that came in here and got no answer of a replica.",
            labels=["service"],
        )
        held = GaugeMetricFamily(
            "cnet_service_requests_waiting",
            "Requests that came in here and wait for a replica now.",
            labels=["service"],
        )
        for family, counts in (
            (repeated, counting.repeated),
            (unanswered, counting.unanswered),
            (held, counting.held),
        ):
            for service, count in counts.items():
                family.add_metric([service], count)
            yield family
        replicas = GaugeMetricFamily(
            "cnet_service_replicas_ready",
            "Replicas that this agent may send requests to.",
            labels=["service", "version"],
        )
        for routed in self._context.directory.all_routed():
            for share in routed.shares:
                replicas.add_metric([routed.name, share.version], len(share.replicas))
        yield replicas
