"""The first lines of the status screen: is it healthy, what is wrong, since when, what to do.

Open findings come first, the most severe and the oldest before the others, each with the
command that shows its page. Then what is wrong at this moment and is no finding yet, with the
command to begin with. What somebody has acknowledged stands apart, and does not count.
"""

from __future__ import annotations

from rich.text import Text

from argus_maint.observe.book import Open, clock_time
from argus_maint.observe.findings import SEVERITY_STYLES
from argus_maint.observe.picture import Problem, Status, count
from argus_maint.observe.screen import (
    BAD,
    DIM,
    GOOD,
    HEAD,
    as_text,
    join,
    span,
    styled,
)
from argus_maint.runbooks.calling import pasted

SHOWN = 10  # findings, and problems


def verdict(status: Status, width: int | None) -> list[Text]:
    """Whether all is well and, if not, what is wrong and what to do."""
    open_ = [each for each in status.findings if not each.acked]
    if status.healthy:
        head = join(styled("HEALTHY", HEAD + " " + GOOD), "  ")
        lines = [join(head, _counts(status)), *_below(head, _findings(open_, width))]
    else:
        head = join(styled("UNHEALTHY", BAD), "  ")
        room = None if width is None else width - len(head.plain)
        told = [*_findings(open_, room), *_problems(status.news, room)]
        lines = [join(head, told[0]), *_below(head, told[1:])]
    return lines + _acked([each for each in status.findings if each.acked], width)


def _below(head: Text, lines: list[Text]) -> list[Text]:
    return [join(" " * len(head.plain), line) for line in lines]


def _counts(status: Status) -> str:
    ready = sum(queue.counts.ready for queue in status.queues)
    text = f"{count(status.workers, 'worker')}, {status.running:,} running, {ready:,} ready"
    paused = len(list(status.pauses.queues()))
    return text + (f", {count(paused, 'queue')} paused" if paused else "")


def _findings(findings: list[Open], room: int | None) -> list[Text]:
    lines = []
    for each in findings[:SHOWN]:
        row = each.row
        style = SEVERITY_STYLES.get(row.severity, "")
        since = styled(f" for {span(each.age)}", DIM)
        line = join(styled(row.severity, style), " ", styled(each.title, HEAD), since)
        lines += [_cut(join(line, f": {row.summary}"), room), _command(each.command)]
    if len(findings) > SHOWN:
        more = f"and {len(findings) - SHOWN:,} more: "
        lines.append(join(more, styled(pasted("manage.py maint findings"), HEAD)))
    return lines


def _problems(problems: list[Problem], room: int | None) -> list[Text]:
    """On one line each; where the window is too narrow for that, on two."""
    if not problems:
        return []
    longest = max(len(each.message) for each in problems)
    lines = [_on_one_line(each, longest + 2) for each in problems]
    if room is None or all(len(line.plain) <= room for line in lines):
        return lines
    lines = []
    for each in problems:
        lines.append(_cut(as_text(each.message), room))
        lines += [_command(each.command)] if each.command else []
    return lines


def _on_one_line(problem: Problem, column: int) -> Text:
    if not problem.command:
        return as_text(problem.message)
    return join(problem.message.ljust(column), styled(pasted(problem.command), HEAD))


def _command(command: str) -> Text:
    """Never cut, so that it can be copied."""
    return join("  ", styled(pasted(command), HEAD))


def _cut(line: Text, room: int | None) -> Text:
    if room is not None:
        line.truncate(max(room, 20), overflow="ellipsis")
    return line


def _acked(findings: list[Open], width: int | None) -> list[Text]:
    """What somebody has taken on: who, until when, and why."""
    if not findings:
        return []
    lines = []
    for each in findings[:SHOWN]:
        row = each.row
        until = f" until {clock_time(row.acked_until)}" if row.acked_until else ""
        text = f"{row.severity} {each.title} for {span(each.age)}, {row.acked_by}{until}"
        lines.append(_cut(styled(f"  {text}: {row.acked_why}", DIM), width))
    if len(findings) > SHOWN:
        lines.append(styled(f"  and {len(findings) - SHOWN:,} more", DIM))
    return [styled("ACKNOWLEDGED", DIM), *lines]
