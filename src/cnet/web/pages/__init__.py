"""The pages, a module each."""

from cnet.web.pages import (
    data,
    docs,
    login,
    models,
    overview,
    submit,
    workload,
    workloads,
)

ROUTERS = (
    overview.router,
    workloads.router,
    workload.router,
    submit.router,
    models.router,
    data.router,
    login.router,
    docs.router,
)
"""In the order in which they are asked."""

NAVIGATION = (
    ("/", "activity", "overview"),
    ("/workloads", "layers", "workloads"),
    ("/submit", "plus-circle", "submit"),
    ("/models", "cpu", "models"),
    ("/data", "database", "data"),
    ("/docs", "code", "docs"),
)
"""Path, icon (web/icons.txt), and its name in messages/layout.toml below `nav`."""
