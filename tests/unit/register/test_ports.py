"""One holder a port."""

from __future__ import annotations

import pytest

from cnet.errors import PortTakenError
from cnet.register import PortBook


def test_a_held_port_names_its_holder() -> None:
    book = PortBook()
    book.claim(9000, "a")
    book.claim(9000, "a")
    with pytest.raises(PortTakenError, match="9000 is held by workload a"):
        book.claim(9000, "b")
    book.release("a")
    book.release("a")
    book.claim(9000, "b")
    assert book.holder(9000) == "b"
