"""Between data workloads and the objects they store."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from cnet._support.clock import rfc3339
from cnet.errors import ConflictError, SpecError
from cnet.executors.data_config import DataConfig
from cnet.storage.base import FileInfo
from cnet.storage.names import check_relative_path
from cnet.storage.objects import Contents, DataObject, DataObjects


def object_of(config: DataConfig, *, workload_id: str, run: str, name: str) -> DataObject:
    """The object that a workload is to store."""
    tree = config.upload_method == "directory"
    return DataObject(
        data_key=config.data_key or workload_id,
        workload_id=workload_id,
        run=run,
        single=None if tree else config.filename or _name_of_source(config),
        name=name,
        data_type=config.data_type,
        access_mode=config.access_mode,
        upload_method=config.upload_method,
        tags=tuple(config.tags),
        metadata=config.metadata,
    )


def require_free(objects: DataObjects, data_key: str, *, workload_id: str | None = None) -> None:
    """Raises ConflictError when another workload holds the key."""
    item = objects.find(data_key)
    if item is not None and item.workload_id != workload_id:
        raise ConflictError(
            f"config.data_key: {data_key!r} belongs to workload {item.workload_id} on this node; "
            "delete that, or choose another key",
            code="data_key_taken",
        )


def describe(contents: Contents) -> dict[str, Any]:
    """An object as fields of its workload."""
    item = contents.object
    base = f"data://{item.data_key}"
    single = contents.single
    described: dict[str, Any] = {
        "data_key": item.data_key,
        "data_type": item.data_type,
        "content_type": single.content_type if single else None,
        "size": contents.size,
        "hash": single.etag if single else None,
        "sha256": single.sha256 if single else None,
        "access_mode": item.access_mode,
        "upload_method": item.upload_method,
        "tags": list(item.tags),
        "metadata": dict(item.metadata),
        "file_path": f"{base}/{item.single}" if item.single else None,
        "directory_path": None if item.single else base,
        "file_count": contents.file_count,
        "file_list": [describe_file(item, file) for file in contents.files],
    }
    return described


def describe_file(item: DataObject, file: FileInfo) -> dict[str, Any]:
    """A file of an object."""
    return {
        "path": file.key.removeprefix(item.prefix),
        "size": file.size,
        "hash": file.etag,
        "sha256": file.sha256,
        "content_type": file.content_type,
        "last_modified": rfc3339(file.modified_at),
    }


def _name_of_source(config: DataConfig) -> str:
    """The last part of the source's own path, if it can name a file."""
    if config.upload_method == "url":
        path = unquote(urlsplit(str(config.source_url)).path)
    else:
        path = config.source_path or ""
    name = PurePosixPath(path).name
    try:
        return check_relative_path(name)
    except SpecError:
        return "content"
