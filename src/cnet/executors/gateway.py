"""`datagateway`: this node's data over the S3 protocol, by the program `cnet-gateway`."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio.to_thread
from pydantic import Field, SecretStr, field_validator

from cnet.config import is_loopback
from cnet.errors import SpecError
from cnet.executors.base import Run, Task
from cnet.executors.commands import Command, LogLimits
from cnet.executors.handover import hand_over
from cnet.executors.roots import DataPlaces
from cnet.executors.services import ServiceConfig, ServiceExecutor
from cnet.storage.names import check_bucket
from cnet.supervision import Supervisor

TOKEN_FILE = "auth_token"  # noqa: S105  the name of a file
MIN_TOKEN_CHARACTERS = 8


class DataGatewayConfig(ServiceConfig):
    """`config` of a datagateway."""

    service_host: str = Field("127.0.0.1", min_length=1, max_length=253)
    base_path: str | None = Field(
        None, max_length=4096, description="folder of a store; default: the node's own"
    )
    bucket: str = Field("cnet", max_length=63, description="`*`: all there are")
    read_only: bool = True
    auth_token: SecretStr | None = Field(
        None, description="bearer token that requests must carry; never shown"
    )
    anonymous: bool | None = Field(
        None, description="answer whoever asks; default: on loopback, with neither token nor keys"
    )

    @field_validator("auth_token")
    @classmethod
    def _strong_token(cls, token: SecretStr | None) -> SecretStr | None:
        text = token.get_secret_value() if token is not None else None
        if text is not None and not (
            MIN_TOKEN_CHARACTERS <= len(text) <= 4096 and text.isascii() and text.isprintable()
        ):
            raise ValueError(f"must have {MIN_TOKEN_CHARACTERS} to 4096 printable ASCII characters")
        return token

    @field_validator("bucket")
    @classmethod
    def _sound_bucket(cls, bucket: str) -> str:
        try:
            return bucket if bucket == "*" else check_bucket(bucket)
        except SpecError as error:
            raise ValueError(error.message.removeprefix("bucket: ")) from None

    def is_open(self, *, keys: bool) -> bool:
        """Whether requests without credentials are answered, if there are access `keys` or none."""
        if self.anonymous is not None:
            return self.anonymous
        return not keys and self.auth_token is None and is_loopback(self.service_host)


class DataGatewayExecutor(ServiceExecutor):
    """Starts `cnet-gateway` over the store of this node."""

    kind = "datagateway"
    config_model = DataGatewayConfig

    def __init__(self, supervisor: Supervisor, logs: LogLimits, places: DataPlaces) -> None:
        super().__init__(supervisor, logs)
        self._places = places

    async def prepare(self, config: DataGatewayConfig) -> None:
        """The folder must be one of this node's, and beyond loopback there must be credentials."""
        await super().prepare(config)
        if config.base_path is not None:
            await anyio.to_thread.run_sync(self._places.require_store, config.base_path)
        if not is_loopback(config.service_host):
            self._require_credentials(config)

    def _require_credentials(self, config: DataGatewayConfig) -> None:
        if config.anonymous and not config.read_only:
            raise SpecError(
                "config.anonymous: not together with read_only: false on an address that other "
                "machines reach; anybody could write",
                field="config.anonymous",
            )
        if not (config.auth_token or config.anonymous or self._root(config).keys_file.exists()):
            raise SpecError(
                "config.auth_token: other machines reach this address, so requests must carry "
                "credentials: give auth_token, or make access keys, or say anonymous: true",
                field="config.auth_token",
            )

    def _root(self, config: DataGatewayConfig) -> DataPlaces:
        return self._places.of(config.base_path)

    def command(self, task: Task) -> Command:
        """The gateway; secrets go by files that only this user reads."""
        config: DataGatewayConfig = task.config
        places = self._root(config)
        arguments = [
            f"--base-path={places.root}",
            f"--bucket={config.bucket}",
            f"--host={config.service_host}",
            f"--port={task.port}",
            "--read-only" if config.read_only else "--writable",
        ]
        if places.database is not None:
            arguments.append(f"--db-path={places.database}")
        if config.auth_token is not None:
            arguments.append(f"--auth-token-file={self._token_file(task.workload_id)}")
        if config.is_open(keys=places.keys_file.exists()):
            arguments.append("--anonymous")
        return Command(
            argv=(sys.executable, "-m", "cnet.gateway", *arguments), env={"PYTHONUNBUFFERED": "1"}
        )

    async def start(self, task: Task) -> Run:
        """Write the token down, then start."""
        if task.spec.run_as is not None:
            raise SpecError(
                "run_as: a gateway runs as the agent does: the data are the agent's",
                field="run_as",
            )
        token: SecretStr | None = task.config.auth_token
        if token is not None:
            await anyio.to_thread.run_sync(
                hand_over, self._token_file(task.workload_id), token.get_secret_value().encode()
            )
        return await super().start(task)

    def _token_file(self, workload_id: str) -> Path:
        return self._supervisor.workload_dir(workload_id) / TOKEN_FILE
