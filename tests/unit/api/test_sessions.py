"""Cookies of those who have typed in the token."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cnet.api.sessions import SESSION_S, Sessions

TOKEN = "t" * 43
NOW = 1_795_000_000.0


def test_a_session_holds_until_it_is_over() -> None:
    sessions = Sessions(TOKEN)
    header = f"other=1; {sessions.cookie}={sessions.issue(NOW)}; theme=dark"
    assert sessions.holds(header, NOW)
    assert sessions.holds(header, NOW + SESSION_S - 1)
    assert not sessions.holds(header, NOW + SESSION_S)


def test_another_token_ends_it() -> None:
    before, after = Sessions(TOKEN), Sessions("u" * 43)
    assert before.cookie != after.cookie
    assert not after.holds(f"{after.cookie}={before.issue(NOW)}", NOW)


def test_the_token_is_not_in_it() -> None:
    sessions = Sessions(TOKEN)
    assert TOKEN not in sessions.cookie + sessions.issue(NOW)


def test_its_end_cannot_be_put_off() -> None:
    sessions = Sessions(TOKEN)
    expiry, _, signature = sessions.issue(NOW).partition(".")
    assert not sessions.holds(f"{sessions.cookie}={int(expiry) + 1}.{signature}", NOW)


@given(st.text())
def test_no_other_cookie(value: str) -> None:
    sessions = Sessions(TOKEN)
    assert not sessions.holds(f"{sessions.cookie}={value}", NOW)
    assert not sessions.holds(value, NOW)


def test_the_token_itself() -> None:
    assert Sessions(TOKEN).is_token(f" {TOKEN}\n")
    assert not Sessions(TOKEN).is_token(TOKEN[:-1])
    assert not Sessions(TOKEN).is_token("ü")
