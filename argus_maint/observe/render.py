"""The status screen: what is wrong first, then who is there, then the queues.

``status_page`` turns a ``Status`` into lines; ``observe.screen`` prints them. Ages that
compare the clocks of two hosts are marked with ``~``. Its first lines are ``observe.verdict``.
"""

from __future__ import annotations

from collections import Counter

from rich.text import Text

from argus_maint.models import LedgerEntry, Pause, Process
from argus_maint.observe import history
from argus_maint.observe.book import clock_time
from argus_maint.observe.census import Running, label
from argus_maint.observe.picture import Status, count, oldest_age
from argus_maint.observe.schedulers import died_at, is_lasting
from argus_maint.observe.screen import (
    BAD,
    DIM,
    GOOD,
    HEAD,
    WARN,
    Cell,
    Column,
    join,
    span,
    styled,
    table,
)
from argus_maint.observe.status import SHOWN, TROUBLES
from argus_maint.observe.verdict import verdict
from argus_maint.runbooks.calling import pasted

STATE_STYLES = {
    "running": GOOD,
    "idle": DIM,
    "draining": WARN,
    "drained": WARN,
    "paused": WARN,
    "exited": BAD,
    "expired": BAD,
    "lost": BAD,
    "overdue": WARN,
    "unregistered": WARN,
    "failed": BAD,
    "successful": GOOD,
}
_LIFE = {True: ("alive", GOOD), False: ("dead", BAD), None: ("not known", DIM)}
OWN_REASONS = ("shutdown", "overdue", "stuck")  # for which db_worker ends a worker
ACTION_STYLES = {"requeued": GOOD, "failed": BAD, "quarantined": BAD, "refused": WARN}


def status_page(status: Status, width: int | None) -> list[Text]:
    """The whole screen."""
    lines = verdict(status, width)
    for section in (_pauses, _processes, _others, _queues, _tasks, _rescues):
        part = section(status, width)
        if part:
            lines += [Text(), *part]
    return lines


def state(word: str) -> Text:
    """A state in its colour."""
    return styled(word, STATE_STYLES.get(word, ""))


def heading(title: str, note: str = "") -> Text:
    """A section's title."""
    return join(styled(title, HEAD), "  " if note else "", styled(note, DIM))


def _pauses(status: Status, width: int | None) -> list[Text]:
    """Who keeps workers from what, why, and for how long."""
    columns = [
        Column("what", least=10),
        Column("since", right=True),
        Column("until"),
        Column("by", least=8),
        Column("why", least=12),
    ]
    rows = [_pause(each, status) for each in status.pauses.rows]
    return [heading("PAUSED"), *table(columns, rows, width)] if rows else []


def _pause(pause: Pause, status: Status) -> list[Cell]:
    what = f"worker {pause.worker}" if pause.worker else f"queue {pause.queue_name}"
    if not pause.worker and pause.backend_name != "default":
        what += f" of {pause.backend_name}"
    now, until = status.census.taken_at, "resumed by hand"
    if pause.until is not None:
        until = f"{clock_time(pause.until)}, in {span((pause.until - now).total_seconds())}"
    elif pause.worker:
        until = "undone by hand"
    since = f"{span((now - pause.since).total_seconds())} ago"
    return [styled(what, WARN), since, until, pause.by, pause.why]


def _processes(status: Status, width: int | None) -> list[Text]:
    rows: list[list[Cell]] = []
    for head, members in status.families():
        rows.append(_process(head, head.name, status))
        for each in members:
            number = label(each.worker_id).removeprefix(f"{each.name}.")
            rows.append(_process(each, f"  {number}", status))
    columns = [
        Column("name", least=10),
        Column("state"),
        Column("beat", right=True),
        Column("pid", right=True),
        Column("host", least=8),
        Column("runs now", least=16, keep_end=True),
        Column("for", right=True),
    ]
    states = status.census.states
    kinds = Counter(
        _kind(each) for each in status.census.living if states[each.pk] not in ("exited", "expired")
    )
    note = ", ".join(count(number, kind) for kind, number in kinds.items())
    none = "" if any(each.workers for each in status.others) else "none alive"
    lines = [heading("PROCESSES", note or none)] if note or none or rows else []
    lines += table(columns, rows, width) if rows else []
    for kind in (Process.Kind.WORKER, Process.Kind.SUPERVISOR):
        if deaths := _deaths(status, kind):
            lines.append(styled(f"  {kind.value}s that died in the last hour: {deaths}", WARN))
    lines += [styled(f"  {_gone(each, status)}", BAD) for each in status.gone[:SHOWN]]
    if len(status.gone) > SHOWN:
        lines.append(styled(f"  and {len(status.gone) - SHOWN:,} more", BAD))
    return lines


def _others(status: Status, width: int | None) -> list[Text]:
    """Workers of other backends, as these know them."""
    columns = [
        Column("name", least=10),
        Column("state"),
        Column("pid", right=True),
        Column("host", least=8),
        Column("why", least=16),
        Column("backend"),
    ]
    rows: list[list[Cell]] = [
        [
            each.name,
            styled(*_LIFE[each.alive]),
            str(each.pid or ""),
            each.host,
            each.evidence,
            other.alias,
        ]
        for other in status.others
        for each in other.workers
    ]
    return [heading("WORKERS OF OTHER BACKENDS"), *table(columns, rows, width)] if rows else []


def _deaths(status: Status, kind: str) -> str:
    return ", ".join(
        f"{each.count} {each.reason}" + (f" ({each.cause})" if each.cause else "")
        for each in status.deaths
        if each.kind == kind
    )


def _gone(process: Process, status: Status) -> str:
    when = span((status.census.taken_at - died_at(process)).total_seconds())
    return f"supervisor {process.name} on {process.hostname} died {when} ago: nothing in its place"


def _process(process: Process, name: str, status: Status) -> list[Cell]:
    held = status.holdings.get(process.pk)
    word = status.census.states[process.pk]
    if word == "alive" and process.kind == Process.Kind.WORKER:
        word = "idle" if held is None else "running"
    if word in ("alive", "idle") and status.pauses.of_process(process) is not None:
        word = "drained"
    age = status.beat_age(process)
    beat = styled(f"{span(age)}/{span(process.lease)}", BAD if age > process.lease else "")
    runs: list[Cell] = ["", ""]
    if process.kind != Process.Kind.WORKER:
        runs = [styled(_queues_of(process), DIM), ""]
    elif held is not None:
        runs = [held.attempt.task_path, _running_for(held, status)]
    return [name, state(word), beat, str(process.pid), process.hostname, *runs]


def _kind(process: Process) -> str:
    command = process.kind == Process.Kind.SCHEDULER and not is_lasting(process)
    return "maint command" if command else str(process.kind)


def _queues_of(process: Process) -> str:
    names = ",".join(process.info.get("queues", []))
    excluded = ",".join(process.info.get("excluded", []))
    if not names:
        return _kind(process)
    return f"queues {names}" + (f" without {excluded}" if excluded else "")


def _running_for(each: Running, status: Status) -> str:
    return span(each.running_for(status.census.host_now), approximate=True)


def _queues(status: Status, width: int | None) -> list[Text]:
    columns = [
        Column("queue", least=8),
        Column("ready", right=True),
        Column("scheduled", right=True),
        Column("running", right=True),
        Column("oldest ready", right=True),
        Column("workers", right=True),
        Column(""),
        Column("backend"),
    ]
    aliases = {queue.counts.backend_name for queue in status.queues}
    rows: list[list[Cell]] = []
    for queue in status.queues:
        counts = queue.counts
        unserved = counts.ready and not queue.workers and queue.pause is None
        rows.append(
            [
                counts.queue_name,
                styled(f"{counts.ready:,}", BAD if unserved else ""),
                f"{counts.scheduled:,}",
                f"{counts.running:,}",
                span(oldest_age(counts, status.census.host_now), approximate=True),
                styled(f"{queue.workers}", BAD if unserved else ""),
                state("paused") if queue.pause is not None else "",
                counts.backend_name if len(aliases) > 1 else "",
            ]
        )
    away = [f"of backend {each.alias} not known" for each in status.others if each.trouble]
    if not rows:
        return [heading("QUEUES", ", ".join(away) or "empty")]
    return [heading("QUEUES", ", ".join(away)), *table(columns, rows, width)]


def _tasks(status: Status, width: int | None) -> list[Text]:
    """Lost, overdue and unregistered tasks."""
    rows: list[list[Cell]] = []
    counted, more = [], []
    for kind in TROUBLES:
        tasks = status.census.of_state(kind)
        if tasks:
            counted.append(f"{len(tasks):,} {kind}")
        rows += [_task(each, kind, status) for each in tasks[:SHOWN]]
        if len(tasks) > SHOWN:
            command = pasted(f"manage.py maint tasks --state {kind}")
            more.append(join(f"  and {len(tasks) - SHOWN:,} more: ", styled(command, HEAD)))
    columns = [
        Column("task"),
        Column("state"),
        Column("for", right=True),
        Column("path", least=16, keep_end=True),
        Column("worker", least=10),
        Column("why", least=12),
    ]
    head = heading("TASKS", ", ".join(counted))
    return [head, *table(columns, rows, width), *more] if rows else []


def _task(each: Running, kind: str, status: Status) -> list[Cell]:
    attempt = each.attempt
    return [
        status.short[attempt.task_id],
        state(kind),
        _running_for(each, status),
        attempt.task_path,
        each.worker,
        why(each, kind, status),
    ]


def why(each: Running, kind: str, status: Status) -> str:
    """Why a task is on the list."""
    if kind == "overdue":
        return each.overdue
    if kind == "unregistered":
        if each.first_seen_at is None:
            return "not seen before"
        seen = (status.census.taken_at - each.first_seen_at).total_seconds()
        return f"first seen {span(seen)} ago"
    owner = each.owner
    if owner is None:
        return ""
    if each.verdict == "expired":
        return "lease ran out" if each.confirmed else "maybe alive"
    return _how(owner) or "worker is gone"


def _how(ended: Process | LedgerEntry) -> str:
    """Signal or exit status. Where db_worker ended the worker itself, the reason first."""
    status = "" if ended.exit_status is None else f"exit {ended.exit_status}"
    how = ended.exit_signal or status
    if ended.reason in OWN_REASONS:
        return f"{ended.reason} ({how})" if how else ended.reason
    return how


def _rescues(status: Status, width: int | None) -> list[Text]:
    if not status.rescues:
        return []
    now = status.census.taken_at
    rows: list[list[Cell]] = [
        [
            f"{span((now - entry.acted_at).total_seconds())} ago",
            *act_cells(entry, entry.task_key[:8] or status.short[entry.task_id]),
        ]
        for entry in status.rescues
    ]
    columns = [Column("when", right=True), *ACT_COLUMNS]
    return [heading("LAST RESCUES"), *table(columns, rows, width)]


ACT_COLUMNS = (
    Column("done"),
    Column("because"),
    Column("task"),
    Column("path", least=16, keep_end=True),
    Column("was with", least=8),
    Column("after", right=True),
)


def act_cells(entry: LedgerEntry, task: str) -> list[Cell]:
    """What the ledger says of one act, under ``ACT_COLUMNS``; ``task`` is its short id."""
    return [
        action(entry),
        cause_of(entry),
        task,
        entry.task_path,
        label(entry.worker_id),
        after(entry),
    ]


def action(entry: LedgerEntry) -> Text:
    """What was done, in its colour."""
    return styled(str(entry.action), ACTION_STYLES.get(entry.action, ""))


def cause_of(entry: LedgerEntry) -> str:
    """How its worker ended, where that was the evidence; else the verdict."""
    if entry.verdict != LedgerEntry.Verdict.EXITED:
        return str(entry.verdict)
    return _how(entry) or str(entry.verdict)


def after(entry: LedgerEntry) -> str:
    """How long after the last proof of life the act came."""
    return span(history.after(entry))
