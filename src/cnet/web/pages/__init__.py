"""The pages, a module each."""

from cnet.web.pages import (
    data,
    docs,
    events,
    login,
    models,
    nodes,
    overview,
    service,
    service_update,
    services,
    submit,
    topology,
    workload,
    workloads,
)

ROUTERS = (
    overview.router,
    topology.router,
    nodes.router,
    workloads.router,
    workload.router,
    submit.router,
    services.router,
    service.router,
    service_update.router,
    models.router,
    data.router,
    events.router,
    login.router,
    docs.router,
)
"""In the order in which they are asked."""

NAVIGATION = (
    ("/", "activity", "overview"),
    ("/topology", "share-2", "topology"),
    ("/workloads", "layers", "workloads"),
    ("/submit", "plus-circle", "submit"),
    ("/services", "server", "services"),
    ("/models", "cpu", "models"),
    ("/data", "database", "data"),
    ("/events", "list", "events"),
    ("/docs", "code", "docs"),
)
"""Path, icon (web/icons.txt), and its name in messages/layout.toml below `nav`."""
