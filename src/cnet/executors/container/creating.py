"""From a task to what the engine is asked to create. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnet.executors.base import Task
from cnet.executors.commands import LogLimits
from cnet.executors.container.config import ContainerConfig, Volume
from cnet.model.resources import millicores

LABEL_WORKLOAD = "cnet.workload_id"
LABEL_ATTEMPT = "cnet.attempt"
LABEL_NODE = "cnet.node_id"
LABEL_NAME = "cnet.workload_name"
LABEL_INSTANCE = "cnet.instance"
"""Of the agent's data directory: several agents may use one engine, and names may be alike."""
MIN_MEMORY_BYTES = 6 * 1024**2
"""What an engine takes as a limit at least."""
MIN_ENGINE_LOG_BYTES = 16 * 1024**2
_LIMIT_SUPPORT = {"memory": "MemoryLimit", "cpu": "CpuCfsQuota", "pids": "PidsLimit"}


def container_name(task: Task) -> str:
    """Unique for a run."""
    return f"cnet-{task.run_id}"


def labels(task: Task, instance: str) -> dict[str, str]:
    """By which a container is known again."""
    return {
        LABEL_WORKLOAD: task.workload_id,
        LABEL_ATTEMPT: str(task.attempt),
        LABEL_NODE: task.node_id,
        LABEL_NAME: task.spec.name,
        LABEL_INSTANCE: instance,
    }


def body(
    task: Task, instance: str, logs: LogLimits, data: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The request of `POST /containers/create`; `data`: where stored data are on this node."""
    config: ContainerConfig = task.config
    wanted: dict[str, Any] = {
        "Image": config.image,
        "Env": [f"{name}={value}" for name, value in _environment(task).items()],
        "Labels": {**config.labels, **labels(task, instance)},
        "Healthcheck": {"Test": ["NONE"]},  # the agent asks itself, see `health`
        "ExposedPorts": {f"{each.container_port}/{each.protocol}": {} for each in config.ports},
        "HostConfig": {
            **_limits(task),
            "PortBindings": _bindings(task),
            "Mounts": [_mount(volume, data or {}) for volume in config.volumes],
            "Init": config.init,
            "LogConfig": {
                "Type": "json-file",
                "Config": {"max-size": str(_engine_log_bytes(logs)), "max-file": "2"},
            },
        },
    }
    if config.network is not None:
        wanted["HostConfig"]["NetworkMode"] = config.network
    if config.command is not None or config.args:
        wanted["Cmd"] = [*(config.command or ()), *config.args]
    if config.entrypoint is not None:
        wanted["Entrypoint"] = config.entrypoint
    if config.working_dir is not None:
        wanted["WorkingDir"] = config.working_dir
    if config.user is not None:
        wanted["User"] = config.user
    return wanted


def enforced(task: Task, engine_info: Mapping[str, Any]) -> dict[str, str]:
    """How each limit of the task is enforced: by the engine, or not at all."""
    spec = task.spec
    asked = {
        "memory": bool(spec.requirements.memory),
        "cpu": spec.limits.cpu is not None,
        "pids": spec.limits.pids is not None,
    }
    return {
        name: "engine" if engine_info.get(_LIMIT_SUPPORT[name], True) else "none"
        for name, is_asked in asked.items()
        if is_asked
    }


def _engine_log_bytes(logs: LogLimits) -> int:
    """Room for what was not copied yet: an engine that is short of it drops output."""
    return max(MIN_ENGINE_LOG_BYTES, 2 * logs.max_bytes)


def _environment(task: Task) -> dict[str, str]:
    config: ContainerConfig = task.config
    return {
        "CNET_NODE_ID": task.node_id,
        "CNET_WORKLOAD_ID": task.workload_id,
        "CNET_WORKLOAD_NAME": task.spec.name,
        "CNET_RUN_ID": task.run_id,
        **config.env,
        **config.secret_env,
    }


def _limits(task: Task) -> dict[str, Any]:
    spec = task.spec
    limits: dict[str, Any] = {}
    if spec.requirements.memory:
        # The same with swap: none of it.
        limits |= {"Memory": spec.requirements.memory, "MemorySwap": spec.requirements.memory}
    if weight := millicores(spec.requirements.cpu):
        limits["CpuShares"] = max(2, weight * 1024 // 1000)
    if spec.limits.cpu is not None:
        limits["NanoCpus"] = millicores(spec.limits.cpu) * 1_000_000
    if spec.limits.pids is not None:
        limits["PidsLimit"] = spec.limits.pids
    if task.gpu_devices:
        limits["DeviceRequests"] = [_gpus(task.gpu_devices)]
    return limits


def _gpus(devices: Sequence[int]) -> dict[str, Any]:
    return {"DeviceIDs": [str(device) for device in devices], "Capabilities": [["gpu"]]}


def _bindings(task: Task) -> dict[str, list[dict[str, str]]]:
    config: ContainerConfig = task.config
    bindings: dict[str, list[dict[str, str]]] = {}
    for wanted, host_port in zip(config.ports, task.ports, strict=True):
        inside = f"{wanted.container_port}/{wanted.protocol}"
        binding = {"HostIp": wanted.host_ip, "HostPort": str(host_port)}
        bindings.setdefault(inside, []).append(binding)
    return bindings


def _mount(volume: Volume, data: Mapping[str, str]) -> dict[str, Any]:
    # A mount, not a bind of the older form: that would make a folder that is not there.
    path = volume.host_path if volume.data is None else data[volume.container_path]
    return {
        "Type": "volume" if path is None else "bind",
        "Source": volume.name or path,
        "Target": volume.container_path,
        "ReadOnly": volume.read_only or volume.data is not None,
    }
