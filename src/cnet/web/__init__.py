"""The web page of an agent: server-rendered, live, in Chinese and English (docs/web.md)."""

from cnet.web.entrance import Pages

__all__ = ["Pages"]
