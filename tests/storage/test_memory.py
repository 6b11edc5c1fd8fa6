"""Memory does not grow with the size of what is stored."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_KIB = 64 * 1024

PROGRAM = """
import json, re, sys
from pathlib import Path
import anyio
from cnet.storage import open_store
from cnet.storage.base import Expected

MIB = 1024 * 1024

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1))

async def stream(size):
    for number in range(size // MIB):
        yield number.to_bytes(4, "big") * (MIB // 4)

async def main():
    async with open_store(Path(sys.argv[1])) as store:
        checked = Expected(checksums={"crc64nvme": ""})
        file = await store.put("cnet", "warm", stream(MIB), expected=checked)
        async with store.open(file) as chunks:
            async for _ in chunks:
                pass
        before = peak()
        file = await store.put("cnet", "big", stream(256 * MIB), expected=checked)
        upload = await store.create_upload("cnet", "parts", checksum="crc32c")
        parts = []
        for number in range(1, 17):
            part, _ = await store.put_part("cnet", "parts", upload, number, stream(8 * MIB))
            parts.append((number, part.md5))
        joined = await store.complete_upload("cnet", "parts", upload, parts)
        size = 0
        for each in (file, joined):
            async with store.open(each) as chunks:
                async for chunk in chunks:
                    size += len(chunk)
        print(json.dumps({"size": size, "grown_kib": peak() - before}))

anyio.run(main)
"""


@pytest.mark.timeout(300)
def test_large_files_go_through(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "data")], capture_output=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["size"] == (256 + 128) * 1024 * 1024
    assert found["grown_kib"] < LIMIT_KIB
    print(found)
