"""The HTTP client of an agent: the command line, tests and other agents all use this one.

It knows the wire (contract 0–4) and turns error replies back into the classes of `cnet.errors`.
It prints nothing and reads no configuration besides the user's token.
"""

from cnet.client.agent import AgentClient, JsonObject
from cnet.client.credentials import create_token, find_token, read_token
from cnet.client.events import Event
from cnet.client.services import predict

__all__ = [
    "AgentClient",
    "Event",
    "JsonObject",
    "create_token",
    "find_token",
    "predict",
    "read_token",
]
