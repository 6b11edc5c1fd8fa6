"""Language and colours of the reader: a cookie once chosen, else what the browser asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, cast
from urllib.parse import urlsplit

from starlette.requests import Request

Language = Literal["en", "zh"]
Theme = Literal["system", "light", "dark"]

LANGUAGES: Final = ("en", "zh")
THEMES: Final = ("system", "light", "dark")
LANGUAGE_COOKIE: Final = "cnet_language"
THEME_COOKIE: Final = "cnet_theme"
YEAR_S: Final = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Preferences:
    """How somebody wants to read."""

    language: Language
    theme: Theme


def preferences_of(request: Request) -> Preferences:
    """Of whoever asks."""
    language = request.cookies.get(LANGUAGE_COOKIE, "")
    if language not in LANGUAGES:
        language = accepted(request.headers.get("accept-language", ""))
    theme = request.cookies.get(THEME_COOKIE, "")
    return Preferences(
        cast("Language", language), cast("Theme", theme if theme in THEMES else "system")
    )


def accepted(header: str) -> Language:
    """The language that `Accept-Language` ranks highest of those there are (RFC 9110 12.5.4)."""
    best: tuple[float, Language] = (0.0, "en")
    for item in header.split(","):
        tag, _, parameter = item.partition(";")
        language = tag.strip().lower().partition("-")[0]
        try:
            weight = float(parameter.partition("=")[2]) if parameter.strip() else 1.0
        except ValueError:
            continue
        if language in LANGUAGES and weight > best[0]:
            best = (weight, cast("Language", language))
    return best[1]


def own_path(address: str) -> str:
    """The address if it is a path of this agent, else `/`: nobody is sent elsewhere."""
    parts = urlsplit(address)
    is_path = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if is_path and not parts.netloc and address.isprintable() else "/"
