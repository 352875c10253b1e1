"""``maint check``."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from argus_maint import plugin
from argus_maint.conf import get_settings
from argus_maint.conf_findings import CODES, CRITICAL, WARNING
from argus_maint.management.maint.arguments import Arguments, add_backend, age, finding_code
from argus_maint.management.maint.context import Context, known_backend
from argus_maint.observe import book
from argus_maint.observe.picture import Status, count, oldest_age
from argus_maint.observe.screen import span
from argus_maint.observe.status import watch

NAME = plugin.CHECK
SUMMARY = "the same for a monitoring system: one line, figures, exit status 0 to 3"
HELP = """\
A plugin for Nagios, Icinga, Naemon, Zabbix and whatever else runs monitoring plugins.
It reads the findings that are open; those that somebody has acknowledged do not count.
After the first line, with its figures, comes a line for each finding. It changes
nothing.

Findings are kept by passes of the job "findings". Where none was made for five minutes
it is critical if something critical is wrong at this moment, and else unknown. That the
database is locked, so that no pass can write, it sees by itself.

Have the monitoring system run

  python -m argus_maint check [--manage PATH] [these options]

in the folder of manage.py. It is the same check, and exits 3 also where Django does
not come as far as this command: with settings that cannot be imported it exits 1."""
EXAMPLES = """\
examples:
  manage.py maint check
  manage.py maint check --code NoWorkers --code SchedulerDown
  manage.py maint check --warning 5m --critical 30m   also by the oldest task's wait
  python -m argus_maint check --manage /srv/site/manage.py

exit status: 0 nothing is open, or only of severity info; 1 a warning; 2 critical;
3 it could not tell, whatever the reason: settings, database, arguments, its time"""

PATIENCE = 300.0  # seconds after it was due that a pass may end
MOST = 10  # findings that have a line


@dataclass(slots=True)
class Alarm:
    """What the plugin answers with."""

    state: int = plugin.OK
    titles: list[str] = field(default_factory=list)  # of what is wrong, the worst first
    details: list[str] = field(default_factory=list)

    def add(self, state: int, title: str, detail: str) -> None:
        """One more thing that is wrong, or that is worth a line."""
        self.state = max(self.state, state)
        if state:
            self.titles.append(title)
        self.details.append(detail)


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument(
        "--code",
        action="append",
        type=finding_code,
        default=[],
        metavar="CODE",
        help="Only findings of this code; may be repeated (default: all).",
    )
    parser.add_argument(
        "--warning",
        type=age,
        metavar="AGE",
        help="A warning also where a task has been ready for longer (default: by findings).",
    )
    parser.add_argument(
        "--critical", type=age, metavar="AGE", help="Critical where it has been for longer."
    )
    parser.add_argument(
        "--timeout",
        type=age,
        default=10.0,
        metavar="SECONDS",
        help="Give up after that, with exit status 3 (default: 10).",
    )
    add_backend(parser)


def run(context: Context, options: dict[str, Any]) -> int:
    """Look once, and answer."""
    timer = threading.Timer(options["timeout"], _give_up, [options["timeout"]])
    timer.daemon = True
    timer.start()
    try:
        status = watch(context.using, known_backend(options["backend"]))
        codes = set(options["code"]) or set(CODES)
        alarm = Alarm()
        _findings(status, codes, alarm)
        unseen = _unseen(status)
        _at_this_moment(status, codes, alarm, everything=bool(unseen))
        _by_age(status, options, alarm)
        if unseen and alarm.state != plugin.CRITICAL and _keeps_a_book():
            alarm.state = plugin.UNKNOWN
            alarm.titles.insert(0, unseen)
        text = _page(status, options, alarm)
    finally:
        timer.cancel()
    context.out.out.write(text)
    context.out.out.flush()
    return alarm.state


def _give_up(seconds: float) -> None:
    """In a thread: a driver may be in the middle of a call that no signal ends."""
    plugin.say_unknown(f"the database has not answered for {span(seconds)}")
    os._exit(plugin.UNKNOWN)


def _findings(status: Status, codes: set[str], alarm: Alarm) -> None:
    for each in status.findings:
        row = each.row
        if row.code not in codes:
            continue
        text = f"[{row.severity}] {each.title} for {span(each.age)}: {row.summary}"
        if each.acked:
            alarm.add(plugin.OK, "", f"{text} (acknowledged by {row.acked_by}: {row.acked_why})")
        else:
            alarm.add(_state(row.severity), each.title, f"{text} - {each.command}")


def _state(severity: str) -> int:
    return {CRITICAL: plugin.CRITICAL, WARNING: plugin.WARNING}.get(severity, plugin.OK)


def _keeps_a_book() -> bool:
    """Whether passes are made here at all."""
    job = get_settings().jobs.get(book.JOB)
    return job is not None and job.enabled


def _unseen(status: Status) -> str:
    """Why the open findings do not say how things are now; nothing where they do."""
    if not _keeps_a_book():
        return "the job findings is switched off"
    if status.looked is None:
        return "the job findings has made no pass yet"
    schedule = get_settings().jobs[book.JOB].schedule
    looked = book.last_look(status.using)
    due = book.due_after(looked, schedule) if looked is not None else None
    if due is not None and (status.census.taken_at - due).total_seconds() <= PATIENCE:
        return ""
    return f"nobody has looked for findings for {span(status.looked)}"


def _at_this_moment(status: Status, codes: set[str], alarm: Alarm, *, everything: bool) -> None:
    """What is wrong now: by the severity of the finding that it would become.

    Where the book is kept, only what keeps it from being kept.
    """
    known = get_settings().findings
    for each in status.news:
        if not everything and each.code != "locked":
            continue
        code = known.get(each.finding)
        if each.finding in codes and code is not None and code.enabled:
            remedy = f" - {each.command}" if each.command else ""
            detail = f"[{code.severity}] now: {each.message}{remedy}"
            alarm.add(_state(code.severity), each.message, detail)


def _oldest(status: Status) -> float:
    """The longest wait of a ready task, queues that are paused left out."""
    now = status.census.host_now
    ages = (oldest_age(each.counts, now) for each in status.queues if each.pause is None)
    return max((each for each in ages if each is not None), default=0.0)


def _by_age(status: Status, options: dict[str, Any], alarm: Alarm) -> None:
    oldest = _oldest(status)
    for state, limit in (
        (plugin.CRITICAL, options["critical"]),
        (plugin.WARNING, options["warning"]),
    ):
        if limit is not None and oldest > limit:
            text = f"a task has been ready for {span(oldest)}"
            alarm.add(state, text, f"{text}, longer than {span(limit)} - manage.py maint status")
            return


def _page(status: Status, options: dict[str, Any], alarm: Alarm) -> str:
    """The first line with its figures, and the details."""
    shown = alarm.titles[:MOST]
    if alarm.titles:
        more = len(alarm.titles) - len(shown)
        text = ", ".join(shown) + (f", and {more} more" if more else "")
    else:
        text = _all_is_well(status)
    details = alarm.details[:MOST]
    if len(alarm.details) > MOST:
        details.append(f"and {len(alarm.details) - MOST} more: manage.py maint findings")
    first = f"{plugin.first_line(alarm.state, text)} | {figures(status, options)}"
    return "".join(f"{line}\n" for line in (first, *map(plugin.one_line, details)))


def _all_is_well(status: Status) -> str:
    acked = sum(each.acked for each in status.findings)
    info = sum(not each.acked and not each.urgent for each in status.findings)
    parts = [
        count(status.workers, "worker"),
        f"{status.running} running",
        f"{sum(each.counts.ready for each in status.queues)} ready",
        f"{acked} acknowledged" if acked else "",
        f"{info} to know" if info else "",
    ]
    return ", ".join(filter(None, parts))


def figures(status: Status, options: dict[str, Any]) -> str:
    """Performance data: ``label=value[unit];warning;critical;minimum``."""
    backlog = get_settings().findings["QueueBacklog"]
    limits: dict[str, tuple[Any, Any]] = {"ready": ("", ""), "oldest_ready": ("", "")}
    if backlog.enabled:
        for name, key in (("ready", "ready"), ("oldest_ready", "oldest")):
            value = f"{backlog.options[key]:g}"
            limits[name] = ("", value) if backlog.severity == CRITICAL else (value, "")
    if options["warning"] is not None or options["critical"] is not None:
        limits["oldest_ready"] = (_number(options["warning"]), _number(options["critical"]))
    counts = [each.counts for each in status.queues]
    open_ = [each.row.severity for each in status.findings if not each.acked]
    values: Iterable[tuple[str, str, tuple[Any, Any]]] = (
        ("ready", f"{sum(each.ready for each in counts)}", limits["ready"]),
        ("scheduled", f"{sum(each.scheduled for each in counts)}", ("", "")),
        ("running", f"{status.running}", ("", "")),
        ("oldest_ready", f"{_oldest(status):.0f}s", limits["oldest_ready"]),
        ("lost", f"{len(status.census.of_state('lost'))}", ("", "")),
        ("overdue", f"{len(status.census.of_state('overdue'))}", ("", "")),
        ("workers", f"{status.workers}", ("", "")),
        ("critical", f"{open_.count(CRITICAL)}", ("", "0")),
        ("warning", f"{open_.count(WARNING)}", ("0", "")),
        ("acknowledged", f"{sum(each.acked for each in status.findings)}", ("", "")),
    )
    return " ".join(f"{name}={value};{low};{high};0" for name, value, (low, high) in values)


def _number(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:g}"
