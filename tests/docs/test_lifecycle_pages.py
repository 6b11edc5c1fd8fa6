"""The drawing and the table of phases say what `model/lifecycle.py` says."""

from __future__ import annotations

import re

from cnet.model.lifecycle import HOLDS_ROOM, TRANSITIONS, Phase, wire_status
from tests.docs import pages

_ARROW = re.compile(r"^\s*(\w+) --> (\w+): (\w+)$", re.MULTILINE)


def test_the_drawing_equals_the_table() -> None:
    (drawing,) = pages.blocks("docs/architecture.md", "mermaid")
    drawn = _ARROW.findall(drawing)
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == {
        (before.value, after.value, event.value)
        for (before, event), (after, _) in TRANSITIONS.items()
    }
    assert f"[*] --> {Phase.PENDING.value}\n" in drawing


def test_every_phase_has_a_row() -> None:
    table = {
        pages.codes(phase)[0]: (pages.codes(word)[0], room)
        for phase, word, room, _ in pages.rows(pages.section("docs/vocabulary.md", "Phases"))
    }
    assert table == {
        phase.value: (wire_status(phase), "yes" if phase in HOLDS_ROOM else "no") for phase in Phase
    }
