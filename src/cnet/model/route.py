"""Which replicas of a service get requests, as its owner tells everybody who routes."""

from __future__ import annotations

from dataclasses import dataclass

RESERVED = "cnet."
"""Begins the labels that replicas are known by."""
SERVICE_LABEL = "cnet.service"
"""name of the service"""
SERVICE_ID_LABEL = "cnet.service_id"
VERSION_LABEL = "cnet.version"
"""name of the version"""
REPLICA_LABEL = "cnet.replica"
"""revision of the version and number of the replica: `2.7`"""


@dataclass(frozen=True, slots=True)
class RouteVersion:
    """The replicas of one version that may get requests once they are ready."""

    version: str
    weight: int | None
    """its share among the weights of all; None: shares with the others by what each has ready"""
    replicas: tuple[str, ...] = ()
    """ids of workloads; one that is being drained is no longer among them"""
    ready: tuple[str, ...] = ()
    """those that are ready as far as the owner knows: for routers that do not see their nodes"""


@dataclass(frozen=True, slots=True)
class ServiceRoute:
    """A service as a router sees it."""

    created_at: float
    """Unix seconds; of two services of one name the older one is meant"""
    versions: tuple[RouteVersion, ...] = ()
    retry: bool = False
    """a request may be sent again after a replica broke off, whatever its method"""
    hold_s: float = 0.0
    """seconds a request waits for a replica while none is ready"""
