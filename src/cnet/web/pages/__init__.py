"""The pages, a module each."""

from cnet.web.pages import docs, login, overview

ROUTERS = (overview.router, login.router, docs.router)
"""In the order in which they are asked."""

NAVIGATION = (
    ("/", "activity", "overview"),
    ("/docs", "code", "docs"),
)
"""Path, icon (web/icons.txt), and its name in messages/layout.toml below `nav`."""
