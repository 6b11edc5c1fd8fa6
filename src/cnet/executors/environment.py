"""What configs of commands have in common: texts that can be handed to exec, and variables."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

Text = Annotated[str, Field(max_length=131_072)]


def as_text(value: Any) -> Any:
    """Numbers and booleans are taken as text, as the original did; anything else is refused."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def as_texts(value: Any) -> Any:
    """The same for the values of a mapping, or of a list."""
    if isinstance(value, dict):
        return {key: as_text(text) for key, text in value.items()}
    return [as_text(text) for text in value] if isinstance(value, list) else value


def require_text(text: str) -> None:
    """What cannot be handed to exec is refused here, not discovered in a shim."""
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    require_unicode(text)


def require_unicode(text: str) -> None:
    """What has no form in UTF-8 is refused."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode (a lone surrogate was found)") from None


def require_variables(env: dict[str, str]) -> dict[str, str]:
    """The same, for names and values of an environment."""
    for name, value in env.items():
        require_text(value)
        require_text(name)
        if not name or "=" in name:
            raise ValueError('names must not be empty nor contain "="')
    return env


class WithEnvironment(BaseModel):
    """A config with variables for what it starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: dict[str, Text] = Field(default_factory=dict, max_length=10_000)
    secret_env: dict[str, Text] = Field(
        default_factory=dict, max_length=10_000, description="like env, never shown in replies"
    )

    @field_validator("env", "secret_env", mode="before")
    @classmethod
    def _text_values(cls, env: Any) -> Any:
        return as_texts(env) if isinstance(env, dict) else env

    @field_validator("env", "secret_env")
    @classmethod
    def _sound_env(cls, env: dict[str, str]) -> dict[str, str]:
        return require_variables(env)
