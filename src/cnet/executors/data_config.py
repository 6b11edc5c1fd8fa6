"""What users say of data: the `config` of a data workload, and of an upload."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cnet.errors import SpecError
from cnet.storage.names import check_data_key, check_relative_path

KIND = "data"
SHA256 = re.compile(r"[0-9a-f]{64}")
_Tag = Annotated[str, Field(max_length=1024)]


class DataConfig(BaseModel):
    """`config` of a data workload."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    upload_method: Literal["file", "url", "path", "directory"]
    data_key: str | None = Field(None, description="name of the object; default: the workload's id")
    data_type: Literal["file", "directory", "dataset", "model", "config", "stream"] = "file"
    access_mode: Literal["readonly", "readwrite", "exclusive"] = "readonly"
    source_url: str | None = Field(None, max_length=8192, description="for `url`")
    source_path: str | None = Field(None, max_length=4096, description="for `path`, `directory`")
    content: str | None = Field(None, description="for `file`: text")
    content_base64: str | None = Field(None, description="for `file`: any bytes")
    filename: str | None = Field(
        None, description="path of a single file in the object; default: as the source has it"
    )
    content_type: str | None = Field(None, max_length=255, description="of a single file")
    sha256: str | None = Field(None, description="what a single file must turn out to be, in hex")
    tags: list[_Tag] = Field(default_factory=list, max_length=1000)
    metadata: dict[_Tag, _Tag] = Field(default_factory=dict, max_length=1000)
    storage_type: Literal["local", "sqlite", "badger", "s3"] = Field(
        "sqlite", description="of older clients; the node's own store is used in any case"
    )
    storage_backend: str | None = Field(None, max_length=255, description="of older clients")

    @field_validator("data_key")
    @classmethod
    def _sound_key(cls, key: str | None) -> str | None:
        return key if key is None else _checked(check_data_key, key)

    @field_validator("filename")
    @classmethod
    def _sound_name(cls, name: str | None) -> str | None:
        return name if name is None else _checked(check_relative_path, name)

    @field_validator("sha256")
    @classmethod
    def _sound_digest(cls, digest: str | None) -> str | None:
        if digest is not None and not SHA256.fullmatch(digest.lower()):
            raise ValueError("must be 64 hexadecimal digits")
        return digest and digest.lower()

    @field_validator("content_type")
    @classmethod
    def _sound_type(cls, media_type: str | None) -> str | None:
        if media_type is not None and not (media_type.isascii() and media_type.isprintable()):
            raise ValueError("must be printable ASCII")
        return media_type

    @field_validator("source_url")
    @classmethod
    def _web_url(cls, url: str | None) -> str | None:
        if url is not None:
            _check_url(url)
        return url

    @field_validator("content_base64")
    @classmethod
    def _base64(cls, text: str | None) -> str | None:
        try:
            base64.b64decode(text or "", validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("is not base64") from None
        return text

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.content is not None and self.content_base64 is not None:
            raise ValueError("content and content_base64: give one of them")
        if self.upload_method == "directory" and (self.sha256 or self.filename):
            raise ValueError("sha256 and filename are for single files")
        return self

    @property
    def source(self) -> str | None:
        """The URL or path to fetch, or the text of a file; None where there is none."""
        if self.upload_method == "file":
            return self.content_base64 if self.content is None else self.content
        return self.source_url if self.upload_method == "url" else self.source_path

    @property
    def encoded_content(self) -> str | None:
        """The content of `file` in base64."""
        if self.content is not None:
            return base64.b64encode(self.content.encode()).decode()
        return self.content_base64


class UploadConfig(DataConfig):
    """`config` of an upload: the content is in the form itself."""

    upload_method: Literal["path", "directory"] = "path"

    @model_validator(mode="after")
    def _no_source(self) -> Self:
        for name in ("source_url", "source_path", "content", "content_base64"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is not for uploads: the form holds the content")
        return self


def _checked(check: Any, text: str) -> str:
    try:
        checked: str = check(text, field="it")
    except SpecError as error:
        raise ValueError(error.message.removeprefix("it: ")) from None
    return checked


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from None
    if parts.scheme not in {"http", "https"} or not host or not url.isprintable() or " " in url:
        raise ValueError("must be a URL with http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold credentials: replies show it")
