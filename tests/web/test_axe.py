"""That pages are judged by axe means something: it finds what is wrong with a bad one."""

from __future__ import annotations

import pytest

from tests.web.browser import AXE
from tests.web.pages import Visit


@pytest.mark.skipif(not AXE.exists(), reason="no page is judged: axe-core is missing (make web)")
def test_a_page_that_is_not_accessible_is_found(visit: Visit) -> None:
    shown = visit("about:blank")
    shown.page.set_content("<main><h1>Bad</h1><input><button></button></main>")
    with pytest.raises(AssertionError, match="critical"):
        shown.accessible()
