"""A drill: a fault in a scratch project, and the time until a person has put it right.

    drill = Drill(scratch, fault, page)
    drill.begin()                 # healthy, then broken
    score = drill.wait()          # until all is well again, or somebody gives up

All is well where Verify of the page holds, and what the page has restarted has no code, or
settings, from before the last change of them.

What is asked of it from another terminal goes through a file of the project: ``running``
finds the drills of this user, ``Note.change`` takes a hint or gives up.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from argus_maint.clock import now
from argus_maint.drills.faults import Fault
from argus_maint.drills.inside import MARK
from argus_maint.drills.processes import alive
from argus_maint.drills.proof import Proof
from argus_maint.drills.scratch import PREFIX, Broken, Scratch
from argus_maint.runbooks.page import Page

FILE = Path("var", "drill.json")
LOOK = 1.0  # seconds between two looks whether all is well
RUNNING, SOLVED, GIVEN_UP = "running", "solved", "given up"


@dataclass(frozen=True, slots=True)
class State:
    """Where a drill is; ``hints`` are those that were taken."""

    fault: str
    code: str
    pid: int
    began: float  # seconds since the epoch
    state: str = RUNNING
    hints: int = 0
    seconds: float = 0.0

    def so_far(self) -> float:
        """Seconds since it began, or that it took."""
        return time.time() - self.began if self.state == RUNNING else self.seconds


class Note:
    """The file in which a drill's state is kept, so that other processes can see and change it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / FILE

    def read(self) -> State:
        """As it is now. Raises OSError, where there is none, and ValueError."""
        found = json.loads(self.path.read_text())
        if not isinstance(found, dict):
            raise ValueError("not a drill")
        try:
            return State(**found)
        except TypeError as error:
            raise ValueError(str(error)) from error

    def write(self, state: State) -> None:
        """In one step: nobody reads half of it."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(state)))
        fresh.replace(self.path)

    def change(self, **values: object) -> State:
        """Change some of it, and return all of it."""
        state = replace(self.read(), **values)  # type: ignore[arg-type]
        self.write(state)
        return state


def running(folder: Path | None = None) -> list[Note]:
    """The drills of this user that go on, the newest first; in a folder, or inside, just that."""
    inside = os.environ.get(MARK)
    if folder is None and inside:
        folder = Path(inside)
    temporary = Path(tempfile.gettempdir()).glob(f"{PREFIX}*")
    places = [folder] if folder is not None else list(temporary)
    found = []
    for note in map(Note, places):
        try:
            # Before anything in it is read, or written: others may make folders there too.
            if note.folder.lstat().st_uid != os.getuid():
                continue
            state = note.read()
        except (OSError, ValueError):
            continue
        if state.state == RUNNING and alive(state.pid):
            found.append((state.began, note))
    return [note for _, note in sorted(found, key=lambda each: each[0], reverse=True)]


class Drill:
    """One of them, in the process that runs it."""

    def __init__(self, scratch: Scratch, fault: Fault, page: Page) -> None:
        self.scratch, self.fault = scratch, fault
        self.proof, self.note = Proof(scratch, page), Note(scratch.folder)
        self._began = 0.0

    def begin(self) -> None:
        """Start the shop and break it; the clock runs from then on. Raises Broken."""
        self.scratch.start()
        self.fault.inject(self.scratch)
        code = self.fault.code
        self.scratch.until(lambda: code in self.proof.look(), "the fault shows")
        if self.is_well():
            raise Broken("the fault does not show in what the runbook verifies")
        self._began = now()
        self.note.write(State(self.fault.name, code, os.getpid(), time.time()))

    def is_well(self) -> bool:
        """Whether all holds now that Verify of the page says."""
        return self.proof.goes("Verify", patience=0) is None

    def is_restarted(self) -> bool:
        """Whether what the page has restarted is there, and knows the last change."""
        if not self.fault.restarts:
            return True
        since = self.scratch.code_changed_at()
        return all(
            self.scratch.call("restarted", kind=kind, since=since) for kind in self.fault.restarts
        )

    def wait(self, tick: Callable[[], None] = lambda: None) -> State:
        """Until it is solved, or given up; ``tick`` is called now and then."""
        while True:
            tick()
            if self.note.read().state == GIVEN_UP:
                return self._ended(GIVEN_UP)
            at = now()
            if self.is_well() and self.is_restarted():
                return self._ended(SOLVED, at)
            time.sleep(max(0.0, LOOK - (now() - at)))

    def _ended(self, state: str, at: float | None = None) -> State:
        took = (now() if at is None else at) - self._began
        return self.note.change(state=state, seconds=round(took, 1))
