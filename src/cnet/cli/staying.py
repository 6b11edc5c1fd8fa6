"""What `cnet run` does with a workload from its submit until the command ends."""

from __future__ import annotations

from cnet.cli import exit_codes
from cnet.cli.exit_codes import ExitCode
from cnet.cli.output import emit, emit_bytes, emit_json_line, note, printable
from cnet.cli.progress import FetchProgress
from cnet.client import AgentClient, JsonObject
from cnet.client.agent import ENDED

_FOLLOWED_ENDED_S = 30.0
"""How long the status may lag behind the end of the log."""

_WAITING = frozenset({"no_capacity", "node_unreachable"})
"""Why a pending workload may stay so for long; other reasons pass within moments."""


class Stay:
    """What is done with a submitted workload until the command ends."""

    def __init__(self, client: AgentClient, *, as_json: bool, quiet: bool) -> None:
        self._client = client
        self._as_json = as_json
        self._quiet = quiet

    def submit(self, spec: JsonObject, *, detach: bool) -> JsonObject:
        """Submit; return once it has started, is ready, has failed or is queued.

        A service may take minutes to be ready, so that is waited for by events rather than in
        one request.
        """
        is_process = spec.get("type") == "process"
        workload = self._client.submit(spec, wait=is_process and not detach)
        if not detach and workload["status"] == "pending":
            workload = self._until_settled(workload)
        self._show(workload)
        return workload

    def _until_settled(self, workload: JsonObject) -> JsonObject:
        with FetchProgress(quiet=self._quiet or self._as_json) as progress:

            def has_settled(now: JsonObject) -> bool:
                progress.show(now)
                return _has_settled(now)

            return self._client.wait_for(workload["id"], until=has_settled)

    def follow(self, workload: JsonObject) -> int:
        """Print its log until it has ended; its exit code."""
        for line in self._client.follow_logs(workload["id"], lines=0):
            if self._as_json:
                emit_json_line({"line": line.decode(errors="replace")})
            else:
                emit_bytes(line)
        ended = self._client.wait_for(workload["id"], until=ENDED, timeout=_FOLLOWED_ENDED_S)
        return self._ended(ended)

    def to_end(self, workload: JsonObject) -> int:
        """Wait until it has ended; its exit code."""
        return self._ended(self._client.wait_for(workload["id"], until=ENDED))

    def _ended(self, workload: JsonObject) -> int:
        if self._as_json:
            emit_json_line(workload)
        elif not self._quiet:
            note(_summary(workload))
        return exit_codes.for_workload(workload)

    def _show(self, workload: JsonObject) -> None:
        if self._as_json:
            emit_json_line(workload)
        elif self._quiet:
            emit(workload["id"])
        else:
            emit(_summary(workload))
        if workload["status"] == "failed":
            if self._quiet:
                note(_summary(workload))
            for line in workload.get("log_tail") or ():
                note(f"  {printable(line)}")


def _has_settled(workload: JsonObject) -> bool:
    return workload["status"] != "pending" or workload.get("status_reason") in _WAITING


def code_now(workload: JsonObject) -> int:
    """The exit code for a workload that is not waited for."""
    return ExitCode.FAILED if workload["status"] == "failed" else ExitCode.OK


def _summary(workload: JsonObject) -> str:
    parts = [workload["id"], workload["name"], workload["status"]]
    if workload.get("endpoint") and workload["status"] == "running":
        parts.append(workload["endpoint"])
    node_id = workload.get("node_id")
    if node_id and node_id != workload.get("owner", node_id):
        parts.append(f"on {node_id}")
    words = [workload.get("status_reason"), workload.get("exit_signal")]
    parts += [f"({word})" for word in words if word]
    detail = workload.get("status_detail")
    return printable("  ".join(parts) + (f": {detail}" if detail else ""))
