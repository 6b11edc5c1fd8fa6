"""What the pages work with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from cnet.api.context import ApiContext
from cnet.api.sessions import Sessions
from cnet.errors import ForbiddenError, NotFoundError
from cnet.manager import Workload
from cnet.web import messages
from cnet.web.asking import Api
from cnet.web.preferences import preferences_of


@dataclass(slots=True, kw_only=True)
class WebState:
    """One agent as its pages see it."""

    context: ApiContext
    api: Api
    sessions: Sessions | None
    """None where nobody has to log in"""
    navigation: tuple[tuple[str, str, str], ...]
    """path, icon and name of each page"""

    def workloads(self) -> list[Workload]:
        """All there are, oldest first, without those that are told to be gone."""
        return [item for item in self.context.manager.workloads() if not item.being_forgotten]

    def workload(self, workload_id: str) -> Workload:
        """Raises NotFoundError."""
        item = self.context.manager.get(workload_id)
        if item.being_forgotten:
            raise NotFoundError(f"no workload {workload_id}")
        return item


def mark_of(context: ApiContext) -> str:
    """Stands for what there is to see now: a page made at another mark has missed something."""
    held = context.manager.ledger.allocated
    services = sum(each.record.updated_at for each in context.services.all())
    return (
        f"{services}.{context.manager.events.last_seq}.{context.exchange.view.revision}."
        f"{held.cpu}.{held.gpu}.{held.memory}.{held.storage}"
    )


async def _web(request: Request) -> WebState:
    web: WebState = request.app.state.web
    request.state.mark = mark_of(web.context)  # before anything is looked at
    return web


Web = Annotated[WebState, Depends(_web)]


def may_write(request: Request) -> bool:
    """Whether the reader may change something: `cnet.may_write` of the scope, set by the guard.

    Without roles, whoever gets past the guard may.
    """
    return bool(request.scope.get("cnet.may_write", True))


async def require_write(request: Request) -> None:
    """Raises ForbiddenError where the reader may only look."""
    if not may_write(request):
        language = preferences_of(request).language
        raise ForbiddenError(messages.text(language, "problem.read_only"))


RequireWrite = Depends(require_write)
"""Of every route that changes something: `dependencies=[RequireWrite]`."""
