"""Cookies by which a browser shows that somebody has typed in the token.

A session is `<expiry>.<HMAC of it under the token>`: nothing is kept for it, it survives a restart
of the agent, and another token ends all of them.
"""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie

SESSION_S = 12 * 3600
"""A cookie is good for this long."""


class Sessions:
    """Makes and checks the cookies of one token."""

    def __init__(self, token: str) -> None:
        self._key = token.encode()
        # Cookies know no ports: agents of one machine with different tokens need different names.
        self.cookie = f"cnet_session_{self._sign('name')[:8]}"
        """name of the cookie"""

    def is_token(self, given: str) -> bool:
        """Whether somebody has typed in the token."""
        return hmac.compare_digest(given.strip().encode(), self._key)

    def issue(self, now: float) -> str:
        """Value of a cookie for somebody who knows the token; `now` in Unix seconds."""
        expiry = str(int(now) + SESSION_S)
        return f"{expiry}.{self._sign(expiry)}"

    def holds(self, header: str, now: float) -> bool:
        """Whether a `Cookie` header carries a session that is not over."""
        try:
            morsel = SimpleCookie(header).get(self.cookie)
        except CookieError:
            return False
        expiry, _, signature = ("" if morsel is None else morsel.value).partition(".")
        if not (expiry.isascii() and expiry.isdigit() and len(expiry) <= 12):
            return False
        return hmac.compare_digest(signature, self._sign(expiry)) and now < int(expiry)

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, f"web session {text}".encode(), hashlib.sha256).hexdigest()
