"""What ``maint backends`` shows to a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from rich.text import Text

from argus_maint.backend_checks import advice
from argus_maint.backends.adapters.base import CAPABILITIES, Adapter, Queue, Worker
from argus_maint.backends.adapters.generic import Broken
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

if TYPE_CHECKING:
    from argus_maint.management.maint.backends import Seen

YES, NO = "yes", "-"


def why_not(adapter: Adapter, capability: str) -> str:
    """Why it does not support this: one line."""
    if isinstance(adapter, Broken):
        return adapter.trouble
    return adapter.why_not.get(capability, "its adapter gives no reason")


def page(adapters: list[Adapter], seen: Mapping[str, Seen], width: int | None) -> list[Text]:
    """All of them: the table, and then what is to be said of single ones."""
    if not adapters:
        return [styled("TASKS names no backend.", WARN)]
    lines = _overview(adapters, width)
    lines += _titled("NOT SUPPORTED, AND WHY", _reasons(adapters))
    lines += _titled("TO KNOW", _warnings(adapters))
    lines += _titled("CANNOT BE USED", _troubles(adapters))
    for adapter in adapters:
        if adapter.alias in seen and not isinstance(adapter, Broken):
            lines += [Text(), styled(f"{adapter.alias.upper()} NOW", HEAD)]
            lines += _now(seen[adapter.alias], width)
    return lines


def _overview(adapters: list[Adapter], width: int | None) -> list[Text]:
    rows: list[list[Cell]] = [
        [
            styled(each.alias, HEAD),
            each.path,
            styled(each.name, BAD) if isinstance(each, Broken) else each.name,
            *(_mark(each, capability) for capability in CAPABILITIES),
        ]
        for each in adapters
    ]
    columns = [Column("alias"), Column("backend", least=20, keep_end=True), Column("adapter")]
    return table([*columns, *map(Column, CAPABILITIES)], rows, width, indent=0)


def _mark(adapter: Adapter, capability: str) -> Cell:
    if isinstance(adapter, Broken):
        return ""
    return styled(YES, GOOD) if adapter.supports(capability) else styled(NO, DIM)


def _reasons(adapters: list[Adapter]) -> list[list[Cell]]:
    """By reason, for one often holds for several capabilities."""
    rows: list[list[Cell]] = []
    for adapter in adapters:
        reasons: dict[str, list[str]] = {}
        for capability in CAPABILITIES:
            if not adapter.supports(capability) and not isinstance(adapter, Broken):
                reasons.setdefault(why_not(adapter, capability), []).append(capability)
        for reason, those in reasons.items():
            what = "all" if len(those) == len(CAPABILITIES) else ", ".join(those)
            rows.append([adapter.alias, what, reason])
    return rows


def _warnings(adapters: list[Adapter]) -> list[list[Cell]]:
    return [
        [each.alias, styled(line, WARN)]
        for each in adapters
        if not isinstance(each, Broken)
        for line in advice(each)
    ]


def _troubles(adapters: list[Adapter]) -> list[list[Cell]]:
    return [
        [each.alias, styled(each.trouble, BAD)] for each in adapters if isinstance(each, Broken)
    ]


def _titled(title: str, rows: list[list[Cell]]) -> list[Text]:
    """A section of rows; nothing where there are none. Reasons are never cut."""
    if not rows:
        return []
    columns = [Column("") for _ in rows[0]]
    return [Text(), styled(title, HEAD), *table(columns, rows, None)]


def whole(
    adapter: Adapter, version: str, seen: Mapping[str, Seen], width: int | None
) -> list[Text]:
    """All about one alias; ``version`` is that of its package."""
    facts = {
        "adapter": adapter.name,
        "package": f"{adapter.package} {version}".rstrip(),
        "workers": adapter.start_command(),
    }
    lines = [join(styled(adapter.alias, HEAD), f"  {adapter.path}")]
    lines += [join(styled(f"  {key:<9}", DIM), told) for key, told in facts.items() if told]
    if isinstance(adapter, Broken):
        return [*lines, Text(), styled(adapter.trouble, BAD)]
    lines += _titled("SUPPORTED", _capabilities(adapter, True))
    lines += _titled("NOT SUPPORTED, AND WHY", _capabilities(adapter, False))
    if warnings := advice(adapter):
        lines += [
            Text(),
            styled("TO KNOW", HEAD),
            *(styled(f"  {each}", WARN) for each in warnings),
        ]
    if adapter.alias in seen:
        lines += [Text(), styled("NOW", HEAD), *_now(seen[adapter.alias], width)]
    return lines


def _capabilities(adapter: Adapter, supported: bool) -> list[list[Cell]]:
    return [
        [styled(each, GOOD if supported else DIM), meaning if supported else why_not(adapter, each)]
        for each, meaning in CAPABILITIES.items()
        if adapter.supports(each) is supported
    ]


def _now(seen: Seen, width: int | None) -> list[Text]:
    if seen.trouble:
        return [styled(f"  {seen.trouble}", BAD)]
    lines: list[Text] = []
    for what, told, rows in (
        ("queue", seen.queues, _queues(seen.queues or ())),
        ("worker", seen.workers, _workers(seen.workers or ())),
    ):
        if told is None:
            lines.append(styled(f"  {what}s: it cannot tell", DIM))
        elif not told:
            lines.append(styled(f"  {what}s: none", DIM))
        else:
            lines += table(QUEUE if what == "queue" else WORKER, rows, width)
    if seen.signals:
        counted = ", ".join(f"{number:,} {event}" for event, number in sorted(seen.signals.items()))
        lines.append(Text(f"  signals seen in this site's processes: {counted}"))
    return lines


QUEUE = [
    Column("queue"),
    *(Column(each, right=True) for each in ("ready", "scheduled", "running", "failed")),
    *(Column(each, right=True) for each in ("finished", "oldest ready")),
]
WORKER = [
    Column("worker"),
    Column("host"),
    Column("pid", right=True),
    Column("queues"),
    Column("seen", right=True),
    Column("alive"),
    Column("task", least=8),
    Column("evidence", least=20),
]


def _queues(queues: Iterable[Queue]) -> list[list[Cell]]:
    return [
        [
            each.counts.queue_name,
            *map(_number, (each.counts.ready, each.counts.scheduled, each.counts.running)),
            *map(_number, (each.failed, each.finished)),
            _ago(each.counts.oldest_ready_at),
        ]
        for each in queues
    ]


def _number(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _workers(workers: Iterable[Worker]) -> list[list[Cell]]:
    return [
        [
            each.name,
            each.host,
            "" if each.pid is None else str(each.pid),
            ", ".join(each.queues) or "all",
            _ago(each.seen_at),
            _alive(each.alive),
            each.task,
            each.evidence,
        ]
        for each in workers
    ]


def _alive(alive: bool | None) -> Cell:
    if alive is None:
        return styled("?", DIM)
    return styled("yes", GOOD) if alive else styled("no", BAD)


def _ago(moment: datetime | None) -> str:
    """How long ago, by this host's clock: for one who looks, and for no verdict."""
    if moment is None:
        return ""
    return span(max(0.0, (datetime.now(moment.tzinfo) - moment).total_seconds()), approximate=True)
