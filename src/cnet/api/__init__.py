"""The HTTP edge of an agent: translates between the wire and the manager, decides nothing."""

from cnet.api.app import create_app

__all__ = ["create_app"]
