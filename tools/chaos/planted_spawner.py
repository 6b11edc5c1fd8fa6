"""The spawner with the bug `killpg_only`: a shim ends its process group and looks no further.

Started by the planted agent in the place of `cnet/supervision/spawner.py`, in the same way and with
the same means: the standard library only.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[2] / "src" / "cnet"
for _name, _path in (("cnet", _PACKAGE), ("cnet.supervision", _PACKAGE / "supervision")):
    _package = type(sys)(_name)
    _package.__path__ = [str(_path)]
    sys.modules[_name] = _package

from cnet.supervision import shim, spawner  # noqa: E402
from cnet.supervision.cgroup_group import RunGroup  # noqa: E402


class GroupOnlyShim(shim.Shim):
    """Ends with its command."""

    def _terminate_tree(self) -> None:
        self._kill_group(signal.SIGTERM)

    def _kill_tree(self) -> None:
        self._kill_group(signal.SIGKILL)

    def _reap(self) -> None:
        super()._reap()
        if self._status is not None:
            self._kill_group(signal.SIGKILL)
            self._tree_lives = False

    def _kill_group(self, number: int) -> None:
        try:
            os.killpg(self._command.pid, number)
        except ProcessLookupError:
            return


def _keep(self: RunGroup) -> None:
    """The group still holds what was missed."""


if __name__ == "__main__":
    shim.Shim = GroupOnlyShim  # type: ignore[misc]
    RunGroup.clear = RunGroup.remove = _keep  # type: ignore[method-assign]
    spawner.main(sys.argv[1:])
