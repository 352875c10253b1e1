"""Names that a person gives: of a backend, a queue, a supervisor. A wrong one is one line."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.management.base import CommandError
from django_tasks_db.models import DBTaskResult

from argus_maint.backends import search
from argus_maint.checks import database_backends, local_database_backends
from argus_maint.management.maint.context import known_backend
from argus_maint.models import Process
from argus_maint.observe import census as look
from argus_maint.observe.census import label
from argus_maint.options import did_you_mean
from argus_maint.workers import registry

LONGEST = 32  # characters of a queue's name, in the task table
SEVERAL = 10  # names that a complaint lists


def wrong(line: str) -> CommandError:
    """A mistake on the command line."""
    return CommandError(line, returncode=2)


def database_backend(alias: str | None) -> str:
    """The alias, or the default one: a backend whose queues are in the database."""
    ours = database_backends()
    if not alias and "default" not in ours and len(ours) == 1:
        return ours[0]
    alias = known_backend(alias) or "default"
    if alias not in ours:
        has = f" These are: {', '.join(sorted(ours))}." if ours else ""
        raise wrong(f"The backend {alias!r} has no queues that a db_worker takes from.{has}")
    return alias


def known_queue(name: str, alias: str, using: str) -> str:
    """A queue that the setting TASKS, a task or a worker names."""
    tasks = DBTaskResult.objects.using(using).filter(backend_name=alias, queue_name=name)
    if name in search.configured_queues(alias) or tasks.exists():
        return name
    known = search.configured_queues(alias) | _in_use(alias, using)
    if name in known:
        return name
    line = f"No queue {name!r} in backend {alias!r}: no setting, task or worker names it."
    raise wrong(f"{line}{did_you_mean(name, known)}{_list(known, 'It has')}")


def _in_use(alias: str, using: str) -> set[str]:
    """Queues that hold a task that is not over, or that a living worker names."""
    rows = DBTaskResult.objects.using(using).filter(
        backend_name=alias, status__in=("READY", "RUNNING")
    )
    names = set(rows.order_by().values_list("queue_name", flat=True).distinct())
    for process in registry.living(using):
        if process.info.get("backend") == alias:
            names |= {*process.info.get("queues", []), *process.info.get("excluded", [])}
    return names - {"*"}


def in_table(alias: str) -> str:
    """The alias, if its tasks are in the task table, which some levers are for alone."""
    if alias and alias not in database_backends() + local_database_backends():
        raise wrong(f"Backend {alias} keeps its tasks elsewhere: this is for the task table alone.")
    return alias


def possible_queue(name: str, alias: str) -> str:
    """A queue that tasks may be in: of that backend, or of any that is in the database."""
    in_table(alias)
    aliases = [alias] if alias else database_backends()
    queues = [search.configured_queues(each) for each in aliases]
    if len(name) > LONGEST:
        raise wrong(f"{name!r} is too long for a queue: it has at most {LONGEST} characters.")
    if all(queues) and not any(name in each for each in queues):  # an empty one allows any
        known: set[str] = set().union(*queues)
        raise wrong(f"No queue {name!r}.{did_you_mean(name, known)}{_list(known, 'TASKS has')}")
    return name


def taken_by_nobody(queue: str, alias: str, using: str) -> bool:
    """Whether no living worker takes from it, as far as one look can tell."""
    census = look.take(using, alias)
    return not any(
        each.kind == Process.Kind.WORKER
        and census.states[each.pk] == Process.State.ALIVE
        and alias in ("", each.info.get("backend"))
        and {"*", queue} & set(each.info.get("queues", []))
        and queue not in each.info.get("excluded", [])
        for each in census.living
    )


def known_supervisor(name: str, using: str) -> str:
    """The name of a supervisor that is registered, or was lately."""
    supervisors = Process.objects.using(using).filter(kind=Process.Kind.SUPERVISOR)
    if supervisors.filter(name=name).exists():
        return name
    living = {each.name for each in registry.living(using) if each.kind == each.Kind.SUPERVISOR}
    whole = label(name).rpartition(".")[0] if label(name) != name else name.rpartition(".")[0]
    if whole and supervisors.filter(name=whole).exists():
        raise wrong(f"{name} is one worker; its supervisor, which is meant here, is {whole}.")
    line = f"No supervisor is called {name!r}."
    raise wrong(f"{line}{did_you_mean(name, living)}{_list(living, 'There are')}")


def _list(names: Iterable[str], what: str) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - SEVERAL} more" if len(shown) > SEVERAL else ""
    return f" {what}: {', '.join(shown[:SEVERAL])}{more}." if shown else ""
