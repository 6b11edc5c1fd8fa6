"""The pages, a module each."""

from cnet.web.pages import docs, login, overview, workload, workloads

ROUTERS = (overview.router, workloads.router, workload.router, login.router, docs.router)
"""In the order in which they are asked."""

NAVIGATION = (
    ("/", "activity", "overview"),
    ("/workloads", "layers", "workloads"),
    ("/docs", "code", "docs"),
)
"""Path, icon (web/icons.txt), and its name in messages/layout.toml below `nav`."""
