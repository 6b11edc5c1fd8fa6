"""Where pages of services are: not below `/services/`, which belongs to the services themselves."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

SERVICES: Final = "/services"
"""The list."""


def service_page(name: str) -> str:
    """The page of one."""
    return f"/service/{quote(name, safe='')}"
