"""What a user may say about a container."""

from __future__ import annotations

import re
import shlex
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from cnet.executors.data_refs import is_ref, parse_ref
from cnet.executors.environment import Text, WithEnvironment, as_texts, require_text
from cnet.model.workload import RestartPolicy

_IMAGE = re.compile(
    r"(?P<domain>(?:[a-zA-Z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,})?"
)
_PORT = re.compile(
    r"(?:(?:(?P<ip>\[[0-9a-fA-F:]+\]|[\d.]+):)?(?P<host>\d+):)?(?P<inside>\d+)(?:/(?P<how>tcp|udp))?"
)
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_RESTART: dict[str, Literal["never", "on_failure", "always"]] = {
    "no": "never",
    "on-failure": "on_failure",
    "always": "always",
    "unless-stopped": "always",
}
OWN_LABELS = "cnet."
"""Labels that begin so are CNET's: by them it knows its containers."""


class PublishedPort(BaseModel):
    """A port of the container that is reached at a port of the node."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    container_port: int = Field(ge=1, le=65_535)
    host_port: int = Field(0, ge=0, le=65_535, description="0 or absent: a free one")
    protocol: Literal["tcp", "udp"] = "tcp"
    host_ip: str = Field("127.0.0.1", description="the address of the node to listen on")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"container_port": value}
        if not isinstance(value, str):
            return value
        found = _PORT.fullmatch(value)
        if found is None:
            raise ValueError(f"{value!r} is not [[address:]host_port:]container_port[/tcp|/udp]")
        given = {
            "container_port": found["inside"],
            "host_port": found["host"],
            "protocol": found["how"],
            "host_ip": found["ip"] and found["ip"].strip("[]"),
        }
        return {name: part for name, part in given.items() if part is not None}

    @field_validator("host_ip")
    @classmethod
    def _an_address(cls, text: str) -> str:
        try:
            return str(ip_address(text))
        except ValueError:
            raise ValueError(f"{text!r} is no IP address") from None


class Volume(BaseModel):
    """A folder of the node, a volume of the engine, or stored data, inside the container."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host_path: str | None = Field(None, max_length=4096)
    name: str | None = Field(None, max_length=128)
    data: str | None = Field(None, max_length=4096, description="data://<data_key>[/path]")
    container_path: str = Field(min_length=1, max_length=4096)
    read_only: bool = False

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if is_ref(value):
            # A key may hold colons, a path in a container may not.
            source, _, inside = value.removesuffix(":ro").rpartition(":")
            return {"data": source, "container_path": inside}
        source, *rest = value.split(":")
        if not source or len(rest) not in {1, 2} or rest[1:] not in ([], ["ro"], ["rw"]):
            raise ValueError(f"{value!r} is not source:container_path[:ro|:rw]")
        kind = "host_path" if "/" in source else "name"
        return {kind: source, "container_path": rest[0], "read_only": rest[1:] == ["ro"]}

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = (self.host_path, self.name, self.data)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("give one of host_path, name and data")
        if self.data is not None and "read_only" in self.model_fields_set and not self.read_only:
            raise ValueError("read_only: stored data are never written to by a container")
        if self.host_path is not None and not self.host_path.startswith("/"):
            raise ValueError(f"host_path {self.host_path!r} must be absolute")
        if self.name is not None and _NAME.fullmatch(self.name) is None:
            raise ValueError(f"name {self.name!r} must be letters, digits, '_', '.' and '-'")
        return self

    @field_validator("container_path")
    @classmethod
    def _absolute(cls, path: str) -> str:
        require_text(path)
        if not path.startswith("/") or ".." in PurePosixPath(path).parts or ":" in path:
            raise ValueError('must be absolute, without ".." and ":"')
        return path

    @field_validator("data")
    @classmethod
    def _a_reference(cls, data: str | None) -> str | None:
        if data is not None:
            parse_ref(data)
        return data

    @field_validator("host_path")
    @classmethod
    def _no_nul(cls, path: str | None) -> str | None:
        if path is not None:
            require_text(path)
        return path


_SHELL = ("/bin/sh", "-c")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class HealthCheck(BaseModel):
    """How to ask a container whether it is well: a command in it, an HTTP path, or a TCP port."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    test: list[Text] | None = Field(
        None,
        min_length=1,
        max_length=1_000,
        validation_alias=AliasChoices("test", "command"),
        description="a command in the container, as a list, or as text for /bin/sh; well when 0",
    )
    http: str | None = Field(
        None, max_length=4096, pattern=r"^/[^\s#]*$", description="a path; well below 400"
    )
    tcp: int | None = Field(None, ge=1, le=65_535, description="a port of the container")
    port: int | None = Field(
        None, ge=1, le=65_535, description="for http; default: the first TCP port of `ports`"
    )
    interval: _Seconds | None = Field(None, description="seconds; default: health.interval_s")
    timeout: _Seconds | None = Field(None, description="seconds; default: health.timeout_s")
    retries: int | None = Field(None, ge=1, le=1_000, description="default: health.failures")
    start_period: _Seconds | None = Field(
        None, description="seconds to become ready in; default: health.ready_timeout_s"
    )
    disable: bool = Field(False, description="it is not asked, whatever its image says")

    @field_validator("test", mode="before")
    @classmethod
    def _as_others_write_it(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [*_SHELL, value]
        if not isinstance(value, list) or not value:
            return value
        if value[0] == "CMD-SHELL":
            return [*_SHELL, *value[1:]]
        return as_texts(value[1:] if value[0] == "CMD" else value)

    @field_validator("test")
    @classmethod
    def _sound_words(cls, words: list[str] | None) -> list[str] | None:
        for word in words or ():
            require_text(word)
        return words

    @field_validator("interval", "timeout", "start_period", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if found is None or not value:
            return value
        hours, minutes, seconds = (float(part or 0) for part in found.groups())
        return hours * 3600 + minutes * 60 + seconds

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = sum(way is not None for way in (self.test, self.http, self.tcp))
        if ways != (0 if self.disable else 1):
            raise ValueError("give one of test, http and tcp, or none")
        if self.port is not None and self.http is None:
            raise ValueError("port: goes with http only")
        return self


class ContainerConfig(WithEnvironment):
    """`config` of a container."""

    image: str = Field(min_length=1, max_length=512, description="name[:tag|@digest]")
    command: list[Text] | None = Field(
        None, max_length=10_000, description="a list, or text split as a shell does; image's own"
    )
    args: list[Text] = Field(
        default_factory=list, max_length=10_000, description="appended to the command"
    )
    entrypoint: list[Text] | None = Field(
        None, max_length=1_000, description="a list or text; default: the image's own"
    )
    working_dir: str | None = Field(
        None, max_length=4096, description="in the container; default: the image's own"
    )
    user: str | None = Field(
        None, min_length=1, max_length=128, description="in the container: name or uid[:gid]"
    )
    ports: list[PublishedPort] = Field(
        default_factory=list,
        max_length=256,
        description="each `[[address:]host_port:]container_port[/udp]` or an object",
    )
    volumes: list[Volume] = Field(
        default_factory=list,
        max_length=256,
        description="each `source:container_path[:ro]` (a path, a name or data://…) or an object",
    )
    network: str | None = Field(
        None, max_length=128, description="none, host, or a network of the engine; its default"
    )
    labels: dict[str, Text] = Field(default_factory=dict, max_length=256)
    init: bool = Field(False, description="a small init as process 1, which passes signals on")
    pull: Literal["missing", "always", "never"] = "missing"
    healthcheck: HealthCheck | None = Field(
        None, description="none, or an object; default: the image's own"
    )
    restart_policy: str | None = Field(
        None,
        pattern=r"^(no|always|unless-stopped|on-failure(:\d{1,6})?)$",
        description="as engines write it: no, on-failure[:N], always; or say `restart`",
    )

    @field_validator("image")
    @classmethod
    def _an_image(cls, image: str) -> str:
        if _IMAGE.fullmatch(image) is None:
            raise ValueError(f"{image!r} is no name of an image: [registry/]name[:tag][@digest]")
        return image

    @field_validator("command", "args", "entrypoint", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        if isinstance(value, str):
            return shlex.split(value)  # its ValueError tells of the quote that is not closed
        return as_texts(value) if isinstance(value, list) else value

    @field_validator("labels", mode="before")
    @classmethod
    def _text_labels(cls, labels: Any) -> Any:
        return as_texts(labels) if isinstance(labels, dict) else labels

    @field_validator("command", "args", "entrypoint")
    @classmethod
    def _sound_words(cls, words: list[str] | None) -> list[str] | None:
        for word in words or ():
            require_text(word)
        return words

    @field_validator("labels")
    @classmethod
    def _others_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        for name, value in labels.items():
            require_text(name)
            require_text(value)
            if not name or name.startswith(OWN_LABELS):
                raise ValueError(f'names must not be empty nor begin with "{OWN_LABELS}"')
        return labels

    @field_validator("working_dir")
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        if path is not None:
            require_text(path)
            if not path.startswith("/"):
                raise ValueError("must be an absolute path in the container")
        return path

    @field_validator("user")
    @classmethod
    def _plain_user(cls, user: str | None) -> str | None:
        if user is not None and re.fullmatch(r"[\w.-]+(:[\w.-]+)?", user) is None:
            raise ValueError("must be a name or a number, and perhaps a group after a colon")
        return user

    @field_validator("network")
    @classmethod
    def _a_network(cls, network: str | None) -> str | None:
        if network is not None and _NAME.fullmatch(network) is None:
            raise ValueError(f"{network!r} is no name of a network")
        return network

    @field_validator("healthcheck", mode="before")
    @classmethod
    def _disabled(cls, value: Any) -> Any:
        nothing = value == "none" or (isinstance(value, dict) and value.get("test") == ["NONE"])
        return {"disable": True} if nothing else value

    @property
    def restart(self) -> RestartPolicy | None:
        """What `restart_policy` means."""
        if self.restart_policy is None:
            return None
        word, _, attempts = self.restart_policy.partition(":")
        more = {"attempts": int(attempts)} if attempts else {}
        return RestartPolicy(policy=_RESTART[word], **more)

    @model_validator(mode="after")
    def _checked_by_http(self) -> Self:
        check = self.healthcheck
        if check is None or check.disable or check.test is not None:
            return self
        if self.network == "none":
            raise ValueError("healthcheck: with network 'none' only a test can tell")
        if check.http is None or check.port is not None:
            return self
        ports = (each.container_port for each in self.ports if each.protocol == "tcp")
        port = next(ports, None)
        if port is None:
            raise ValueError("healthcheck.port: must be given where ports has none")
        return self.model_copy(update={"healthcheck": check.model_copy(update={"port": port})})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        published = [(each.host_ip, each.host_port, each.protocol) for each in self.ports]
        fixed = [each for each in published if each[1]]
        if len(set(fixed)) < len(fixed):
            raise ValueError("ports: one host_port is given twice")
        if self.ports and self.network in {"host", "none"}:
            raise ValueError(f"ports: cannot be published with network {self.network!r}")
        inside = [PurePosixPath(each.container_path) for each in self.volumes]
        if len(set(inside)) < len(inside):
            raise ValueError("volumes: one container_path is given twice")
        return self
