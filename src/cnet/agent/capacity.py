"""What this machine has, where the configuration does not say."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cnet.config import ResourceSettings
from cnet.model.resources import Resources, millicores
from cnet.supervision import gpus


def detect(settings: ResourceSettings, data_dir: Path, *, stored: int = 0) -> Resources:
    """Configured capacity, with absent keys measured: CPUs this process may use, physical memory,
    bytes of the file system that holds `data_dir` that are free or (`stored`) taken by data of this
    node, and GPUs the NVIDIA driver shows."""
    return Resources(
        cpu=millicores(settings.cpu)
        if settings.cpu is not None
        else len(os.sched_getaffinity(0)) * 1000,
        gpu=settings.gpu if settings.gpu is not None else gpus.count(),
        memory=settings.memory
        if settings.memory is not None
        else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        storage=settings.storage
        if settings.storage is not None
        else shutil.disk_usage(data_dir).free + stored,
    )
