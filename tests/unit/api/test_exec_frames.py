"""Pieces of a conversation with a command, however they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.api.execs.frames import Frames, Kind, pack, said
from cnet.errors import MalformedError

PIECES = st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=40)), max_size=8)


@given(pieces=PIECES, cuts=st.lists(st.integers(0, 400), max_size=8))
def test_pieces_come_out_however_they_are_cut(
    pieces: list[tuple[Kind, bytes]], cuts: list[int]
) -> None:
    whole = b"".join(pack(kind, data) for kind, data in pieces)
    places = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    frames = Frames()
    found = []
    for start, end in pairwise(places):
        found += frames.feed(whole[start:end])
    assert found == pieces


@given(st.binary(min_size=5))
def test_whatever_comes_is_taken_or_refused(data: bytes) -> None:
    try:
        Frames().feed(data)
    except MalformedError:
        assert data[0] > Kind.ERROR_DATA or int.from_bytes(data[1:5]) > 0


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b"{", b"\xff"])
def test_words_are_an_object(data: bytes) -> None:
    with pytest.raises(MalformedError):
        said(data)
