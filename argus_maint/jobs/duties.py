"""What a keeper is given to do: jobs as callables, bound to what the keeper knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from argus_maint.jobs import rescue
from argus_maint.jobs.guard import Guard
from argus_maint.jobs.overdue import report_overdue
from argus_maint.workers import messenger
from argus_maint.workers.keeper import Duties, Keeper


def forked_duties() -> Duties:
    """Duties of a keeper process: it forks for what may hang, signals and passes of jobs."""
    messengers = messenger.Messengers()
    guards: dict[int, Guard] = {}

    def guard(keeper: Keeper) -> None:
        if id(keeper) not in guards:
            guards[id(keeper)] = Guard(keeper.using, _name(keeper))
        guards[id(keeper)].turn()

    def finish(tick: Callable[[], None]) -> None:
        messengers.finish(tick)
        for each in guards.values():
            each.finish(tick)

    return _duties(messengers.dispatch, messengers.collect, finish, guard)


def threaded_duties() -> Duties:
    """Duties of a keeper thread (``--reload``), whose process must not fork."""
    return _duties(messenger.send, lambda: None, lambda tick: None, lambda keeper: None)


def _duties(
    announce: Callable[[Sequence[str]], None],
    collect: Callable[[], None],
    finish: Any,
    guard: Callable[[Keeper], None],
) -> Duties:
    views: dict[int, rescue.View] = {}

    def one_pass(keeper: Keeper) -> float | None:
        view = views.setdefault(id(keeper), _view(keeper))
        collect()
        report = rescue.run(view)
        if report.failed():
            announce(report.failed())
        guard(keeper)
        return report.confirm_at

    def overdue(keeper: Keeper, data: dict[str, Any]) -> None:
        report_overdue(data, keeper.group.name, keeper.group.host.hostname, keeper.using)

    return Duties(rescue=one_pass, overdue=overdue, finish=finish)


def _name(keeper: Keeper) -> str:
    return f"{keeper.group.name}@{keeper.group.host.hostname}"[:160]


def _view(keeper: Keeper) -> rescue.View:
    return rescue.View(
        using=keeper.using,
        noticed_by=_name(keeper),
        host=keeper.group.host,
        watch=keeper.watch,
        supervisor=keeper.group.supervisor,
        beat=keeper.beat,
        patience=keeper.beat,
        mine=keeper.holdings,
        alive=keeper.between,
        end=keeper.end,
    )
