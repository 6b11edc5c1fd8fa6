"""Shapes of the answers, for the OpenAPI document only; `render` makes the answers themselves."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["pending", "running", "completed", "failed", "stopped"]


class Body(BaseModel):
    """A shape of an answer; pydantic works it out when the document is first asked for."""

    model_config = ConfigDict(defer_build=True)


class ErrorBody(Body):
    """Every error of the API."""

    model_config = ConfigDict(extra="allow")

    error: str = Field(description="a stable word", examples=["invalid_field"])
    details: str = Field(description="a sentence that names the field and what is allowed")


class ResourcesBody(Body):
    """Amounts of the four resources."""

    cpu: float = Field(description="cores")
    gpu: int = Field(description="devices")
    memory: int = Field(description="bytes")
    storage: int = Field(description="bytes")


class WorkloadBody(Body):
    """A workload; fields of its kind's config stand beside these."""

    model_config = ConfigDict(extra="allow")

    id: str
    name: str
    type: str
    status: Status
    status_reason: str | None = Field(description="a stable word")
    status_detail: str | None = Field(description="a sentence")
    desired: Literal["running", "stopped", "deleted"]
    requirements: ResourcesBody
    config: dict[str, Any]
    metadata: dict[str, Any] = Field(description="the config again, where older clients look")
    labels: dict[str, str]
    node_id: str = Field(description="where it runs, or is asked to run")
    owner: str = Field(description="the agent that took the request")
    attempt: int = Field(description="number of the present or last run")
    restarts: int = Field(description="runs that the restart policy added")
    limits: dict[str, str] = Field(description="how each limit is enforced")
    gpu_devices: list[int]
    endpoint: str | None = Field(None, description="where a service answers")
    direct_endpoint: str | None = Field(
        None, description="where it answers on its own node, when that is another one"
    )
    process_pid: int | None = None
    pid: int | None = None
    exit_code: int | None = Field(None, description="once ended; -1 when a signal ended it")
    exit_signal: str | None = None
    log_tail: list[str] = Field(default_factory=list, description="last lines, where it failed")
    created_at: str
    updated_at: str
    started_at: str | None = None
    ended_at: str | None = None


class ModelLimits(Body):
    """What a model asked for."""

    cpu_limit: float
    memory_limit: int
    disk_limit: int
    gpu_limit: int


class ModelBody(WorkloadBody):
    """A model: the workload of its training, with what it is served from."""

    model_type: str | None = None
    model_path: str | None = None
    script_path: str | None = None
    resources: ModelLimits
    stopped_at: str | None = None


class ModelFiles(Body):
    """What a model is made of."""

    model_path: str | None
    script_path: str | None
    model_type: str | None
    served_by: str | None = Field(description="type of its service; null: nothing to serve yet")


class ModelServiceBody(Body):
    """The service of a model."""

    id: str
    status: Status
    status_reason: str | None
    endpoint: str | None
    started_at: str | None


class ModelInfoBody(ModelBody):
    """A model with what is told of its file and its service."""

    ml_specific: ModelFiles
    service: ModelServiceBody | None = Field(description="null: not loaded since it was made")


class ModelHealthBody(Body):
    """That a model answers predictions."""

    status: Literal["healthy"]
    model_status: Status
    loaded: bool = Field(description="false: the next prediction loads it")


class PredictionBody(Body):
    """What a model says."""

    prediction: Any
    confidence: Any = Field(None, description="0 to 1, or one for each row; where it tells one")
    metadata: dict[str, Any]
    duration: int = Field(description="nanoseconds, loading included")


class WorkloadList(Body):
    """A page of workloads, oldest first."""

    workloads: list[WorkloadBody]
    count: int
    next_cursor: str | None = Field(description="null at the end")


class MessageBody(Body):
    """That something was done."""

    message: str


class StopBody(MessageBody):
    """That a workload was stopped, and how it stands now."""

    workload: WorkloadBody


class LogsBody(Body):
    """Lines of a log, oldest first."""

    logs: list[str]
    count: int


class DataFile(Body):
    """A file of a data object."""

    path: str
    size: int = Field(description="bytes")
    hash: str = Field(description="its ETag: MD5 in hex, but for uploads in parts")
    sha256: str = Field(description="in hex")
    content_type: str
    last_modified: str


class DataBody(Body):
    """What a data workload has stored."""

    data_key: str
    name: str
    workload_id: str
    node_id: str
    data_type: str
    access_mode: Literal["readonly", "readwrite", "exclusive"]
    upload_method: str
    content_type: str | None = Field(description="of a single file")
    size: int = Field(description="bytes, of all files")
    hash: str | None = Field(description="MD5 of a single file")
    sha256: str | None = Field(description="of a single file")
    tags: list[str]
    metadata: dict[str, str]
    file_path: str | None = Field(description="`data://…` of a single file")
    directory_path: str | None = Field(description="`data://…` of a tree")
    file_count: int
    created_at: str
    updated_at: str


class DataList(Body):
    """A page of data objects, by key."""

    data: list[DataBody]
    count: int
    next_cursor: str | None = Field(description="null at the end")
    unreachable: list[str] | None = Field(
        None, description="with `scope=tree`: nodes that gave no answer"
    )


class DataDetails(DataBody):
    """A data object with a page of its files."""

    file_list: list[DataFile]
    next_cursor: str | None = Field(description="null at the end")


class AccessKeyBody(Body):
    """An access key of the data gateways."""

    access_key_id: str
    buckets: list[str] | None = Field(description="null: all")
    read_only: bool
    created_at: str | None = Field(description="null: made by hand")


class AccessKeyList(Body):
    """All of them."""

    access_keys: list[AccessKeyBody]
    count: int


class NewAccessKey(AccessKeyBody):
    """A key with its secret, which is told once."""

    secret_access_key: str


class UploadBody(Body):
    """What an upload has become; `hash` for a single file only."""

    workload: WorkloadBody
    data_key: str
    size: int
    hash: str | None = None
    status: Literal["uploaded"]
    path: str = Field(description="`data://…`")


class RejectionBody(Body):
    """A node that does not do."""

    node_id: str
    reasons: list[str] = Field(description="every constraint that it fails")


class PlanBody(Body):
    """Where a workload would go now."""

    node: str | None = Field(description="the best node; null when it fits nowhere now")
    candidates: list[str] = Field(description="nodes that fit, best first")
    rejections: list[RejectionBody]
    impossible: bool = Field(description="no known node could ever hold it")
    preempts: str | None = Field(
        description="the node where workloads of lower priority would be ended for it"
    )


class WhyBody(Body):
    """Why a workload is where it is."""

    workload_id: str
    node: str | None = Field(description="where it is; null while it waits")
    status: Status
    status_reason: str | None
    status_detail: str | None
    candidates: list[str]
    rejections: list[RejectionBody]


class GpuBody(Body):
    """A GPU now; null where the driver does not tell."""

    index: int = Field(description="as on the PCI bus, from 0")
    name: str | None
    uuid: str | None
    memory_total: int | None = Field(description="bytes")
    memory_used: int | None = Field(description="bytes, by whatever runs on it")
    utilization: int | None = Field(description="per cent")
    workload_id: str | None = Field(description="who holds it")


class GpuList(Body):
    """The GPUs that a node gives to workloads."""

    gpus: list[GpuBody]
    count: int


class UsageBody(Body):
    """What a run uses now, all its processes together."""

    cpu_s: float = Field(description="CPU seconds so far")
    rss_bytes: int
    processes: int
    received_bytes: int | None = Field(description="over networks so far; containers only")
    sent_bytes: int | None
    read_bytes: int | None = Field(description="from block devices so far; containers only")
    written_bytes: int | None
    at: str
    gpus: list[GpuBody] | None = Field(None, description="the devices it holds; absent: none")


class ExecBody(Body):
    """How a command inside a workload has ended."""

    exit_code: int = Field(description="128 + n: ended by signal n")
    stdout: str
    stderr: str
    cut_off: bool = Field(description="more than 1 MiB was said, which is left out here")


class NodeBody(Body):
    """A node and its room, as its agent has last described it."""

    node_id: str
    node_type: Literal["local", "child", "peer", "parent"] = Field(
        description="child: anything below; parent: anything reached by way of the parent"
    )
    total: ResourcesBody
    available: ResourcesBody
    used: ResourcesBody
    last_updated: str
    status: Literal["active", "unreachable", "draining"]
    address: str = Field(description="`host:port`; empty for the own node and where not known")
    metadata: dict[str, str]
    parent_id: str | None
    depth: int = Field(description="levels below the own node; 0 for what is not below it")
    labels: dict[str, str]
    kinds: list[str] = Field(description="kinds of workload it can run")
    peers: list[str]
    hops: int = Field(description="links to cross from here")
    via: str | None = Field(description="the linked agent through which it is reached")
    workloads: int = Field(description="how many hold room there")


class ChangedNodeBody(Body):
    """That a node was changed, and how it stands now."""

    message: str
    node: NodeBody


class LinkBody(Body):
    """A link, as the agent at one end sees it."""

    node_id: str = Field(description="the agent at the other end")
    role: Literal["parent", "child", "peer"] = Field(description="what that one is to this one")
    round_trip_ms: float | None = Field(description="null: no answer within 2 s")


class LinksBody(Body):
    """The links of a node."""

    node_id: str
    links: list[LinkBody]


class NodeAddress(Body):
    """Where an agent answers."""

    node_id: str
    address: str


class RegisteredBody(Body):
    """That a node is registered, and with whom."""

    message: str
    parent_node: NodeAddress


class ResourcesAnswer(Body):
    """The local node, wrapped."""

    resources: NodeBody


class LocalResources(Body):
    """Room of the local node."""

    total: ResourcesBody
    available: ResourcesBody
    used: ResourcesBody


class StatsBody(Body):
    """Counts for dashboards."""

    local_resources: LocalResources
    child_nodes_count: int
    peer_nodes_count: int
    workloads_count: int
    workloads_by_status: dict[str, int]


class HistorySample(Body):
    """One look at the node."""

    at: str
    held: ResourcesBody = Field(description="by workloads and stored data")
    busy_cpu: float = Field(description="cores that all processes of the machine kept busy")
    memory_used: int = Field(description="bytes in use on the machine, by whomever")


class HistoryBody(Body):
    """The last hour of this node."""

    interval_s: int
    total: ResourcesBody
    samples: list[HistorySample]


class NodesBody(Body):
    """A page of the nodes known here: the own one, then the others by name."""

    node_id: str
    nodes: list[NodeBody]
    count: int = Field(description="of this page")
    next_cursor: str | None = Field(description="null at the end")
    parent: NodeBody | None
    children: list[NodeBody] = Field(description="linked or registered below this node")
    peers: list[NodeBody] = Field(description="linked or registered beside this node")
    total: int = Field(description="of all pages")


class HealthBody(Body):
    """That the agent answers."""

    status: Literal["healthy"]
    message: str
    node_id: str
    version: str


class VersionLoadBody(Body):
    """What replicas of a version on one node have done since its agent started."""

    requests: int
    errors: int = Field(description="answered with a status of 500 or more, or broken off")
    in_flight: int
    seconds: float = Field(description="of all requests together")
    busy_s: float = Field(description="integral of in_flight over time")
    buckets: list[int] = Field(description="requests by latency, as in /metrics")


class ServiceLoadBody(Body):
    """By version."""

    versions: dict[str, VersionLoadBody]


class ServiceInstanceBody(Body):
    """One replica of a service."""

    workload_id: str
    version: str | None
    number: int
    node_id: str
    status: Literal["waiting", "starting", "ready", "unreachable", "draining", "ending", "ended"]
    detail: str | None = Field(description="what keeps it from being ready")


class ServiceVersionBody(Body):
    """One version of a service."""

    model_config = ConfigDict(extra="allow")

    version: str
    weight: int | None = Field(description="its share of the requests; null: it serves no more")
    ready: int = Field(description="replicas that are ready")


class ServiceBody(Body):
    """A service; the agents that do not own it know less."""

    model_config = ConfigDict(extra="allow")

    name: str
    owner: str = Field(description="the node whose agent keeps it")
    status: Literal["ready", "idle", "starting", "updating", "degraded", "failed", "deleting"]
    ready: int = Field(description="replicas that are ready")
    versions: list[ServiceVersionBody]
    retry: Literal["idempotent", "never"]
    hold_s: float
    path: str = Field(description="where any agent answers for it")
    status_reason: str | None = None
    status_detail: str | None = None
    replicas: int = Field(0, description="wanted of each version that serves")
    instances: list[ServiceInstanceBody] = Field(default_factory=list)


class ServiceList(Body):
    """Services by name."""

    services: list[ServiceBody]
    count: int
