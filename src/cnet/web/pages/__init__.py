"""The pages, a module each."""

from cnet.web.pages import docs, events, login, nodes, overview, topology, workload, workloads

ROUTERS = (
    overview.router,
    topology.router,
    nodes.router,
    workloads.router,
    workload.router,
    events.router,
    login.router,
    docs.router,
)
"""In the order in which they are asked."""

NAVIGATION = (
    ("/", "activity", "overview"),
    ("/topology", "share-2", "topology"),
    ("/workloads", "layers", "workloads"),
    ("/events", "list", "events"),
    ("/docs", "code", "docs"),
)
"""Path, icon (web/icons.txt), and its name in messages/layout.toml below `nav`."""
