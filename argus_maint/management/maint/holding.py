"""``maint pause``, ``resume`` and ``drain``: what the three have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.management.base import CommandError
from django_tasks_db.models import DBTaskResult
from rich.text import Text

from argus_maint.backends import database
from argus_maint.backends.database import READY, RUNNING
from argus_maint.dbtime import db_now
from argus_maint.jobs import pauses
from argus_maint.jobs.pauses import Hold
from argus_maint.management.maint.arguments import Arguments, add_json, age, reason
from argus_maint.management.maint.context import Context
from argus_maint.models import Pause, Process
from argus_maint.observe.pauses import as_dict, left, told
from argus_maint.observe.picture import count
from argus_maint.observe.screen import DIM, GOOD, HEAD, WARN, join, styled
from argus_maint.runbooks.calling import pasted
from argus_maint.workers.identity import operator


def add_common(parser: Arguments, verb: str, *, until: bool, why: bool) -> None:
    """Options that they share."""
    parser.add_argument(
        "--why",
        type=reason,
        metavar="TEXT",
        help="The reason, shown in maint status and kept on record." + (" Needed." if why else ""),
    )
    if until:
        parser.add_argument(
            "--until",
            type=age,
            metavar="AGE",
            help="End it by itself after 30m or 2h, by the database's clock.",
        )
    parser.add_argument(
        "--dry-run", action="store_true", help=f"Say what {verb} would do, and write nothing."
    )
    parser.add_argument("--yes", action="store_true", help="Do not ask.")
    add_json(parser, "pauses")


@dataclass(slots=True)
class Done:
    """What became of it. ``verb``: pause, resume, drain or undrain."""

    verb: str
    what: Hold
    dry_run: bool
    before: Pause | None
    now: Pause | None
    ready: int | None = None  # tasks that wait in the queue
    running: int = 0  # that are under way there

    @property
    def changed(self) -> bool:
        """Whether it was not as it was asked to be."""
        return self.before is not None or self.verb in ("pause", "drain")

    def as_dict(self) -> dict[str, Any]:
        """The JSON form (``schemas/pauses.json``)."""
        return {
            "kind": f"argus_maint.{self.verb}",
            "version": 1,
            "dry_run": self.dry_run,
            "changed": self.changed,
            "by": operator(),
            "before": as_dict(self.before) if self.before else None,
            "now": as_dict(self.now) if self.now else None,
            "ready": self.ready,
            "running": self.running,
        }


def running_under(name: str, using: str) -> int:
    """Tasks that the workers of a supervisor have in hand."""
    owners = [each.owner for each in database.running(using)]
    rows = Process.objects.using(using).filter(name=name, kind=Process.Kind.WORKER)
    ours = set(rows.filter(worker_id__in=owners).values_list("worker_id", flat=True))
    return sum(owner in ours for owner in owners)


def _look(done: Done, using: str) -> None:
    """Count what waits and what runs there."""
    if done.what.worker:
        done.running = running_under(done.what.worker, using)
        return
    rows = DBTaskResult.objects.using(using).filter(
        backend_name=done.what.backend, queue_name=done.what.queue
    )
    done.ready, done.running = (
        rows.filter(status=READY).count(),
        rows.filter(status=RUNNING).count(),
    )


def act(verb: str, what: Hold, context: Context, options: dict[str, Any]) -> Done:
    """Ask, do it unless that is not wanted, and say what it found."""
    using, by, why = context.using, operator(), options["why"] or ""
    before = pauses.current(what, using)
    done = Done(verb, what, options["dry_run"], before, before)
    _look(done, using)
    if options["dry_run"] or not done.changed:
        return done
    if context.can_ask() and not options["yes"] and not options["json"]:
        if not context.confirmed(_question(done)):
            raise CommandError("Nothing was done.")
    if verb in ("pause", "drain"):
        done.before = pauses.hold(what, by, why, options["until"], using)
        done.now = pauses.current(what, using)
    else:
        done.before, done.now = pauses.lift(what, by, why, using), None
    _look(done, using)
    return done


def _question(done: Done) -> str:
    name, ready = done.what.subject, count(done.ready or 0, "ready task")
    held = count(done.running, "task")
    return {
        "pause": f"Pause queue {name}? {ready} will wait.",
        "resume": f"Resume queue {name}? Workers take its {ready} at once.",
        "drain": f"Drain {name}? Its workers finish {held} and take no more.",
        "undrain": f"Let {name} take tasks again?",
    }[done.verb]


_HEADS = {
    "pause": "PAUSED",
    "resume": "RESUMED",
    "drain": "DRAINED",
    "undrain": "TAKES TASKS AGAIN",
}


def page(done: Done, using: str) -> list[Text]:
    """What was done, what waits for it, and how it is taken back."""
    name, now = done.what.subject, db_now(using)
    if not done.changed:
        word = "drained" if done.what.worker else "paused"
        return [styled(f"{name} is not {word}: nothing to do", DIM)]
    if done.dry_run:
        head = join(styled("DRY RUN", HEAD), f"  would {_WOULD[done.verb]} {name}")
    else:
        head = join(styled(_HEADS[done.verb], HEAD), f"  {name}")
    lines = [head]
    if done.before is not None:
        word = "drained" if done.what.worker else "paused"
        lines.append(styled(f"  it was {word} {told(done.before, now)}", DIM))
    if done.now is not None and not done.dry_run:
        lines.append(Text(f"  {left(done.now, now)}: {done.now.why}"))
    return lines + _consequences(done)


_WOULD = {
    "pause": "pause",
    "resume": "resume",
    "drain": "drain",
    "undrain": "take back the drain of",
}


def _consequences(done: Done) -> list[Text]:
    running = f"{done.running:,} running {'goes' if done.running == 1 else 'go'} on to the end"
    back = styled(f"  To take it back:  {pasted(f'manage.py maint {_back(done)}')}", HEAD)
    if done.verb == "pause":
        return [
            styled(f"  {count(done.ready or 0, 'ready task')} will wait, {running}", WARN),
            back,
        ]
    if done.verb == "drain":
        what = f"  {running}" if done.running else "  it has no task in hand"
        return [styled(what, WARN if done.running else GOOD), back]
    ready = done.ready
    return [] if ready is None else [Text(f"  {count(ready, 'ready task')} may be taken")]


def _back(done: Done) -> str:
    what = done.what
    if what.worker:
        return f"drain {what.worker} --undo"
    return f"resume {what.queue}" + (
        "" if what.backend == "default" else f" --backend {what.backend}"
    )
