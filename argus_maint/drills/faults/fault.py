"""What a fault is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from argus_maint.drills.scratch import Scratch


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break a healthy scratch project, so that one finding is true.

    ``inject(scratch)`` does it by real means, and returns when it is done: the next pass of
    the job ``findings`` sees it. It raises ``scratch.Broken`` where it cannot. ``beside`` are
    findings that the same fault makes true as well, by its nature. ``needs`` are programs
    that it, or who puts it right, cannot do without, ``packages`` are modules. ``restarts`` are
    the kinds of processes that its page has restarted, or started, which its findings do not see.
    """

    name: str
    code: str
    hints: tuple[str, ...]  # for a drill, from the vague to the clear
    inject: Callable[[Scratch], None]
    beside: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    restarts: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """Programs and modules that it needs and that are not here."""
        programs = [each for each in self.needs if shutil.which(each) is None]
        return programs + [each for each in self.packages if find_spec(each) is None]
