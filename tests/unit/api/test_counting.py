"""What is counted of services, and until when."""

from __future__ import annotations

import pytest

from cnet.api.services.counting import Counting

pytestmark = pytest.mark.anyio


async def test_another_service_of_the_same_name_begins_anew() -> None:
    counting = Counting()
    for service, version, service_id in (
        ("m", "v1", "old"),
        ("m", "v2", "old"),
        ("n", "v1", "other"),
        ("m", "v1", "new"),
        ("m", "v1", "new"),
    ):
        with counting.one(service, version, service_id) as outcome:
            outcome.status = 200
    told = {key: tally.requests for key, tally in counting.served.items()}
    assert told == {("m", "v1"): 2, ("n", "v1"): 1}
