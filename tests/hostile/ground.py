"""A folder with a canary in it, and what there must be around it when everything is over."""

from __future__ import annotations

import hashlib
import re
import stat
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import httpx

_STORE = re.compile(
    r"catalog\.db(-wal|-shm)?|ballast|agent\.lock|\.?keys\.json(\.lock)?|tmp|tmp/[0-9a-f]{32}|blobs"
    r"|blobs/[0-9a-f]{2}|blobs/[0-9a-f]{2}/[0-9a-f]{32}(/\d+)?|cache|cache/[0-9a-f]{64}"
)
"""All names that a store may have on the disk: none is a user's."""


@dataclass
class Ground:
    """`outside/canary.txt` beside `site`, which is all that a program under test may change."""

    root: Path
    token: str = field(default_factory=lambda: f"canary-{uuid.uuid4().hex}")
    before: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.outside.mkdir()
        self.site.mkdir()
        self.canary.write_text(self.token)
        self.canary.chmod(0o644)
        (self.outside / "folder").mkdir()
        (self.outside / "folder" / "link").symlink_to(self.canary)
        self.before = self.around()

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    @property
    def canary(self) -> Path:
        return self.outside / "canary.txt"

    @property
    def site(self) -> Path:
        return self.root / "site"

    def around(self) -> dict[str, str]:
        """Everything that is not in `site`, down to the bytes, and what stands above."""
        found = {
            str(path.relative_to(self.root)): _described(path)
            for path in self.root.rglob("*")
            if not path.is_relative_to(self.site)
        }
        # Where too many steps up would lead to.
        found |= {
            str(above / self.outside.name): "there"
            for above in [self.site, *self.root.parents]
            if (above / self.outside.name).exists()
        }
        return found

    def require_untouched(self) -> None:
        """Nothing new, nothing gone, nothing changed."""
        assert self.around() == self.before

    def require_own_names(self, store: Path) -> None:
        """A store's files have names of its own making."""
        strange = [
            name
            for path in store.rglob("*")
            if not _STORE.fullmatch(name := str(path.relative_to(store)))
        ]
        assert strange == []

    def check(self, reply: httpx.Response) -> httpx.Response:
        """No fault, and nothing of what stands in the canary."""
        self.check_answer(reply.status_code, reply.content, str(reply.request.url))
        assert "x-injected" not in reply.headers
        return reply

    def check_answer(self, status: int, body: bytes, what: object) -> None:
        """The same of an answer in pieces."""
        assert status < 500, (status, body, what)
        assert self.token.encode() not in body, what


def _described(path: Path) -> str:
    status = path.lstat()
    kind = stat.filemode(status.st_mode)
    if stat.S_ISREG(status.st_mode):
        return f"{kind} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return f"{kind} {path.readlink()}" if stat.S_ISLNK(status.st_mode) else kind
