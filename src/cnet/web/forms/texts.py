"""What fields are called and what they are for, in the language of the reader.

What a plug-in or a newer version brings is called by its name in the API, with the API's own
description.
"""

from __future__ import annotations

from cnet.web.forms.fields import FormField
from cnet.web.forms.posted import Problem
from cnet.web.messages import catalogue
from cnet.web.preferences import Language


def label(field: FormField, language: Language) -> str:
    """What it is called."""
    found = _text("field", field.name, language)
    return found or field.name.rpartition(".")[2].replace("_", " ").capitalize()


def help_text(field: FormField, language: Language) -> str:
    """A line on what to put there; may be empty."""
    if _text("field", field.name, language) is None:
        return field.description
    return _text("help", field.name, language) or ""


def choice(field: FormField, value: str, language: Language) -> str:
    """What one of its values is called."""
    return _text("choice", f"{field.name}.{value}", language) or value or "—"


def sentence(problem: Problem, language: Language) -> str:
    """What is wrong; what only the API can say is in its own words."""
    words = _text("problem", problem.type, language)
    if words is None:
        return problem.message
    return words.format(**{"message": problem.message, **problem.context})


def _text(section: str, key: str, language: Language) -> str | None:
    found = catalogue().get(f"forms.{section}.{key}")  # message:forms.
    return None if found is None else found[language]
