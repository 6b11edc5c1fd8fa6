"""What the API, or the command line, is asked by a form that was sent."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from cnet.web.forms import snippets
from cnet.web.forms.posted import Posted

SERVICES: Final = "/api/services"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """One request that changes something, and the same for a shell."""

    method: str
    path: str
    body: dict[str, Any]
    file: dict[str, Any]
    """what `command` reads as YAML"""
    command: str

    def as_curl(self, base_url: str, *, token: bool) -> str:
        """As a command for a shell."""
        return snippets.as_curl(
            self.body, base_url, token=token, method=self.method, path=self.path
        )

    def as_command(self) -> str:
        """By the command line of CNET."""
        return snippets.as_command(self.file, self.command)


def request_of(posted: Posted) -> ApiRequest:
    """A workload, a service, or a new version of one."""
    spec, service = posted.spec, posted.service
    if not posted.is_service:
        return ApiRequest(
            method="POST", path="/api/workloads", body=spec, file=spec, command="cnet run"
        )
    template = {name: value for name, value in spec.items() if name != "name"}
    if not posted.form.of_update:
        body = {"name": spec.get("name", ""), "template": template, **service}
        return ApiRequest(
            method="POST", path=SERVICES, body=body, file=body, command="cnet service create"
        )
    words = ["cnet", "service", "update"]
    for name, option in (("version", "--as"), ("weight", "--weight")):
        if name in service:
            words += [option, str(service[name])]
    return ApiRequest(
        method="PUT",
        path=f"{SERVICES}/{quote(str(spec['name']), safe='')}",
        body={"template": template, **service},
        file=spec,
        command=shlex.join(words),
    )
