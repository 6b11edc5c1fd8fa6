"""The agent's own OpenAPI document, aimed: generated submits reach the parts behind validation.

Left alone, a generator fills `config` and ids with noise, and nearly all requests end at the first
check. So the document is narrowed beside the original: ids from a small pool, so that requests meet
each other's workloads, configs by the models of the executors, and commands that are harmless.
"""

from __future__ import annotations

import copy
import uuid
from typing import Any

from cnet.api.document import inlined
from cnet.executors.inference import MlModelConfig, OpenCvConfig
from cnet.executors.process import ProcessConfig
from cnet.model.lifecycle import WIRE_STATUSES
from cnet.model.workload import WorkloadSpec

Json = dict[str, Any]

POOL = [str(uuid.UUID(int=number, version=4)) for number in range(6)]
COMMANDS = ["/bin/true", "/bin/false", "no-such-program"]
STREAMS = frozenset({"/api/events"})
"""Answers without an end, tried apart."""


def finite(document: Json) -> Json:
    """The document as it is, without the answers that have no end."""
    document = copy.deepcopy(document)
    for stream in STREAMS:
        del document["paths"][stream]
    for parameter in document["paths"]["/api/workloads/{workload_id}/logs"]["get"]["parameters"]:
        if parameter["name"] == "follow":
            parameter["schema"] = {"type": "boolean", "enum": [False]}
    return document


def aimed(document: Json) -> Json:
    """The document with the submit's body narrowed and every id drawn from the pool."""
    document = finite(document)
    content = document["paths"]["/api/workloads"]["post"]["requestBody"]["content"]
    content.pop("multipart/form-data")  # uploads are in `finite`
    media = content["application/json"]
    media.pop("example", None)
    media["schema"] = {"anyOf": [_process(), *_services()]}
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                _aim(parameter)
    return document


def _aim(parameter: Json) -> None:
    if parameter["name"] in {"workload_id", "cursor"}:
        parameter["schema"] = {"type": "string", "enum": [*POOL, "unknown"]}
    if parameter["name"] == "status":
        parameter["schema"] = {"type": "string", "enum": list(WIRE_STATUSES)}


def _process() -> Json:
    spec = _spec("process")
    config = inlined(ProcessConfig)
    config["properties"]["command"] = {"type": "string", "enum": COMMANDS}
    config["properties"]["args"]["maxItems"] = 3
    config["properties"]["inputs"] = {"enum": [{}, {"data://nowhere": "x"}, {"nowhere": "../x"}]}
    config["properties"].pop("working_dir")
    spec["properties"]["config"] = config
    spec["required"].append("id")  # so that they meet each other: asked twice, or taken
    return spec


def _services() -> list[Json]:
    """Whatever else is right about them, their files are not there: none is started."""
    models = []
    for kind, model, path in (
        ("mlmodel", MlModelConfig, "model_path"),
        ("opencv", OpenCvConfig, "cascade_path"),
    ):
        spec, config = _spec(kind), inlined(model)
        config["properties"][path] = {"type": "string", "enum": ["no-such-file", "a\0b"]}
        hosts = ["localhost", "127.0.0.1", "::1", "x" * 70, "a\0b", "256.0.0.1", ""]
        config["properties"]["service_host"] = {"type": "string", "enum": hosts}
        config["required"] = [path]
        spec["properties"]["config"] = config
        models.append(spec)
    return models


def _spec(kind: str) -> Json:
    spec = inlined(WorkloadSpec)
    properties = spec["properties"]
    properties["type"] = {"type": "string", "enum": [kind]}
    properties["id"] = {"type": "string", "enum": POOL}
    properties["requirements"]["properties"]["cpu"] = {"type": "number", "minimum": 0, "maximum": 3}
    properties["requirements"]["properties"]["memory"]["maximum"] = 1 << 32
    restart = properties["restart"]["anyOf"][0]["properties"]
    restart["attempts"]["maximum"] = 2
    restart["backoff_s"]["maximum"] = 0.1
    properties["name"] = {"type": "string", "pattern": "^[a-z0-9-]{1,20}$"}
    properties["labels"]["additionalProperties"] = {"type": "string", "pattern": "^[a-z]{0,9}$"}
    properties["labels"]["propertyNames"] = {"pattern": "^[a-z]{0,9}$"}
    properties.pop("run_as")
    spec["required"] = ["name", "type", "config"]
    return spec
