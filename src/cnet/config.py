"""The agent's settings: a YAML file, environment variables `CNET_AGENT__PORT`, then overrides.

Every default stands here with its unit. A key that is not known is an error that names it.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from cnet.errors import ConfigError
from cnet.model.resources import MIB
from cnet.model.workload import Strategy

ENV_PREFIX = "CNET_"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_ENDPOINT = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?/?")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AuthSettings(_Section):
    """Credentials that requests must carry when the agent listens beyond loopback."""

    token_file: Path | None = Field(None, description="default: what `cnet init` wrote")


class AgentSettings(_Section):
    """Who and where this agent is."""

    # CNET_AGENT__NODE_ID=7 is read as a number and means the name "7".
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    node_id: str | None = Field(None, min_length=1, max_length=128, pattern=r"^[^\s/]+$")
    address: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535, description="0: a free one")
    data_dir: Path | None = Field(None, description="default: per user and node")
    labels: dict[str, str] = Field(default_factory=dict)
    advertise: str | None = Field(
        None, description="`host:port` for others; default: the address they see, and our port"
    )
    auth: AuthSettings = Field(default_factory=AuthSettings)
    stop_workloads_on_exit: bool = False
    allow_exec: bool = Field(True, description="let users run commands inside its workloads")
    keep_ended: int = Field(10_000, ge=0, description="ended workloads kept for `cnet ps -a`")
    max_body_bytes: int = Field(1 * MIB, ge=1024, description="of a request to the API")


class ResourceSettings(_Section):
    """Capacity; a key that is absent is detected."""

    cpu: float | None = Field(None, ge=0, le=1_000_000, allow_inf_nan=False, description="cores")
    gpu: int | None = Field(None, ge=0, le=1024, description="devices")
    memory: int | None = Field(None, ge=0, le=2**62, description="bytes")
    storage: int | None = Field(None, ge=0, le=2**62, description="bytes")


class ParentSettings(_Section):
    """The agent above this one."""

    enabled: bool = False
    address: str | None = Field(None, description="`host:port` or URL of the parent")
    token_file: Path | None = Field(
        None, description="token that the parent asks for; default: this agent's own"
    )
    escalate: bool = Field(
        False, description="pass work up and across by way of the parent when nothing here fits"
    )


class PeersSettings(_Section):
    """Agents beside this one."""

    enabled: bool = False
    addresses: list[str] = Field(default_factory=list, description="each `host:port` or URL")
    token_file: Path | None = Field(
        None, description="token that peers ask for; default: this agent's own"
    )
    share: bool = Field(False, description="show peers the nodes below this one, for their work")


class LinkSettings(_Section):
    """Connections to other agents."""

    ping_s: float = Field(0.8, ge=0.05, le=60, description="seconds between pings")
    lost_after: int = Field(3, ge=2, le=100, description="silent pings until a link is given up")
    retry_min_s: float = Field(0.1, gt=0, le=60, description="first pause before dialling again")
    retry_max_s: float = Field(2, gt=0, le=600, description="longest pause before dialling again")


class SchedulerSettings(_Section):
    """How work is placed."""

    strategy: Strategy = "default"
    lease_s: float = Field(
        15,
        ge=0.5,
        le=3_600,
        description="seconds for which a node may go on with a workload marked "
        "`on_node_loss: reschedule` without hearing from its owner",
    )


class LoggingSettings(_Section):
    """The agent's own log, on stderr."""

    level: Literal["debug", "info", "warn", "error"] = "info"
    format: Literal["json", "text"] = "json"


class LogFileSettings(_Section):
    """Logs of workloads."""

    max_bytes: int = Field(10 * MIB, ge=4096, description="of one file, then it is rotated")
    files: int = Field(2, ge=1, le=100, description="kept per workload, the present one included")


class SqliteSettings(_Section):
    """Where the files of the store are."""

    db_path: Path | None = Field(None, description="default: `catalog.db` in the data path")
    data_path: Path | None = Field(None, description="default: `data` in the agent's own folder")


class S3Settings(_Section):
    """The object store that holds the bytes of data, with `storage.type: s3`."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    bucket: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{2,254}$")
    prefix: str | None = Field(
        None,
        max_length=512,
        pattern=r"^[A-Za-z0-9!_.*'()=+@-]+(/[A-Za-z0-9!_.*'()=+@-]+)*$",
        description="of all keys, without `/` at either end",
    )
    endpoint: str | None = Field(None, description="URL; default: Amazon's in the region")
    region: str = Field("us-east-1", pattern=r"^[a-z0-9-]{1,64}$")
    credentials_file: Path | None = Field(
        None,
        description="as AWS's tools have it, section `default`; else AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, else the role of the machine",
    )
    path_style: bool = Field(True, description="false: the bucket is part of the host's name")
    allow_http: bool = Field(False, description="take an endpoint without TLS")
    max_bytes: int | None = Field(
        None, ge=0, le=2**62, description="of all that is stored; default: no bound"
    )

    @field_validator("endpoint")
    @classmethod
    def _is_url(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not _ENDPOINT.fullmatch(endpoint):
            raise PydanticCustomError(
                "endpoint",
                "{given} must be http:// or https://, a host and at most a port",
                {"given": repr(endpoint)},
            )
        return None if endpoint is None else endpoint.rstrip("/")


class StorageSettings(_Section):
    """Where data objects live, and from where they may come."""

    type: Literal["sqlite", "s3"] = "sqlite"
    sqlite: SqliteSettings = Field(default_factory=SqliteSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    roots: list[str] = Field(
        default_factory=list, description="folders below which a `source_path` may lie"
    )
    allow_private_urls: bool = Field(
        False, description="fetch a `source_url` from addresses that are not public, too"
    )
    url_timeout_s: float = Field(3_600, gt=0, le=604_800, description="seconds for one fetch")
    max_object_bytes: int = Field(1024**4, ge=1, le=2**62, description="of one upload or fetch")
    max_files: int = Field(100_000, ge=1, le=10_000_000, description="of one data object")
    cache_bytes: int = Field(
        10 * 1024**3, ge=0, le=2**62, description="of copies of data that other nodes store"
    )


class ModelSettings(_Section):
    """Models of `/api/ml/models`, which are loaded when somebody asks them."""

    idle_s: float = Field(
        300,
        gt=0,
        le=31_536_000,
        allow_inf_nan=False,
        description="seconds without a prediction until a model is unloaded",
    )


class DockerTlsSettings(_Section):
    """TLS with an engine that listens on a port of this machine, `docker.host: tcp://…`."""

    enabled: bool = False
    ca_file: Path | None = Field(None, description="who vouches for it; default: the system's")
    cert_file: Path | None = Field(None, description="what this agent shows to it")
    key_file: Path | None = Field(None, description="of cert_file; default: in it")
    verify: bool = Field(True, description="false: the engine may be anybody")


class DockerSettings(_Section):
    """Containers on this node, by the Docker Engine API."""

    enabled: bool = Field(True, description="false: this node runs no containers")
    host: str | None = Field(
        None,
        description="unix:///path or tcp://host:port of the engine; default: DOCKER_HOST, or the "
        "first of the usual sockets that answers",
    )
    volume_roots: list[str] = Field(
        default_factory=list, description="folders below which a container may be given some"
    )
    tls: DockerTlsSettings = Field(default_factory=DockerTlsSettings)
    registry_auth_file: Path | None = Field(
        None, description="credentials for pulls, as `docker login` writes them"
    )


class Settings(_Section):
    """All of it."""

    agent: AgentSettings = Field(default_factory=AgentSettings)
    resources: ResourceSettings = Field(default_factory=ResourceSettings)
    parent: ParentSettings = Field(default_factory=ParentSettings)
    peers: PeersSettings = Field(default_factory=PeersSettings)
    links: LinkSettings = Field(default_factory=LinkSettings)
    scheduler: SchedulerSettings = Field(default_factory=SchedulerSettings)
    logging: LoggingSettings = Field(default_factory=LoggingSettings)
    workload_logs: LogFileSettings = Field(default_factory=LogFileSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    models: ModelSettings = Field(default_factory=ModelSettings)
    docker: DockerSettings = Field(default_factory=DockerSettings)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the agent."""
        return is_loopback(self.agent.address)

    @property
    def data_dir(self) -> Path:
        """Where this node's state, logs and run directories are."""
        if self.agent.data_dir is not None:
            return self.agent.data_dir.expanduser().absolute()
        name = self.agent.node_id or f"{socket.gethostname()}-{self.agent.port}"
        return _xdg("XDG_STATE_HOME", ".local/state") / "cnet" / name

    @property
    def data_root(self) -> Path:
        """Where the bytes of data objects are."""
        path = self.storage.sqlite.data_path
        return self.data_dir / "data" if path is None else path.expanduser().absolute()

    @property
    def token_file(self) -> Path:
        """Where the token is that requests must carry."""
        return self.agent.auth.token_file or default_token_file()


def is_loopback(address: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    if address in LOOPBACK_NAMES:
        return True
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def default_token_file() -> Path:
    """Where `cnet init` puts the token and the command line finds it."""
    return _xdg("XDG_CONFIG_HOME", ".config") / "cnet" / "token"


def _xdg(variable: str, fallback: str) -> Path:
    base = os.environ.get(variable)
    # The XDG specification: a relative path is to be ignored.
    return Path(base) if base and Path(base).is_absolute() else Path.home() / fallback


def load(
    path: Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Settings from a file, then the environment, then dotted overrides; the later ones win.

    Raises ConfigError that names the key and what is allowed.
    """
    tree = _read_yaml(path) if path is not None else {}
    for name, text in sorted((os.environ if env is None else env).items()):
        if name.startswith(ENV_PREFIX) and "__" in name:
            _set(tree, name[len(ENV_PREFIX) :].lower().split("__"), _parse(name, text))
    for dotted, value in (overrides or {}).items():
        _set(tree, dotted.split("."), value)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_in_words(error, path)) from None
    _require_addresses(settings)
    _require_absolute("storage.roots", settings.storage.roots)
    _require_absolute("docker.volume_roots", settings.docker.volume_roots)
    _require_object_store(settings.storage)
    if settings.docker.tls.enabled and settings.docker.host is None:
        raise ConfigError(
            "docker.tls.enabled: goes with docker.host, which must be given; for DOCKER_HOST set "
            "DOCKER_TLS_VERIFY and DOCKER_CERT_PATH"
        )
    return settings


def _require_addresses(settings: Settings) -> None:
    if settings.parent.enabled and not settings.parent.address:
        raise ConfigError("parent.address: must be given when parent.enabled is true")
    if settings.peers.enabled and not settings.peers.addresses:
        raise ConfigError("peers.addresses: at least one is needed when peers.enabled is true")


def _require_absolute(key: str, roots: Iterable[str]) -> None:
    for root in roots:
        if not Path(root).is_absolute():
            raise ConfigError(f"{key}: {root!r} must be an absolute path")


def _require_object_store(storage: StorageSettings) -> None:
    if storage.type != "s3":
        return
    if storage.s3.bucket is None:
        raise ConfigError("storage.s3.bucket: must be given when storage.type is s3")
    if (storage.s3.endpoint or "").startswith("http:") and not storage.s3.allow_http:
        raise ConfigError(
            f"storage.s3.endpoint: {storage.s3.endpoint} would carry the data without TLS; say "
            "storage.s3.allow_http: true if that may be"
        )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {_yaml_fault(error)}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: the top level must be a mapping of sections")
    return tree


def _parse(name: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not a YAML value: {_yaml_fault(error)}") from error


def _yaml_fault(error: Exception) -> str:
    """On one line, without the excerpt: `line 6, column 23: mapping values are not allowed`."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    mark = error.problem_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"


def _set(tree: dict[str, Any], keys: list[str], value: object) -> None:
    for key in keys[:-1]:
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            raise ConfigError(f"{'.'.join(keys)}: {key} is not a section")
        tree = below
    tree[keys[-1]] = value


def _in_words(error: ValidationError, path: Path | None) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            allowed = _keys_beside(problem["loc"][:-1])
            close = get_close_matches(str(problem["loc"][-1]), allowed, n=1)
            hint = f"did you mean {close[0]}?" if close else f"allowed: {', '.join(allowed)}"
            lines.append(f"{key}: unknown key; {hint}")
        else:
            lines.append(f"{key}: {problem['msg'][0].lower()}{problem['msg'][1:]}")
    where = f"{path}: " if path is not None else ""
    return where + "; ".join(lines)


def _keys_beside(location: Iterable[int | str]) -> list[str]:
    section: type[BaseModel] = Settings
    for part in location:
        annotation = section.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return sorted(section.model_fields)
