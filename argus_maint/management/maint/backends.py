"""``maint backends``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, TypeVar

from django.db import Error

from argus_maint.backend_checks import advice, missing_package
from argus_maint.backends.adapters import adapters
from argus_maint.backends.adapters.base import CAPABILITIES, Adapter, Queue, Worker, in_one_line
from argus_maint.backends.adapters.generic import Broken
from argus_maint.database import in_plain_words
from argus_maint.management.maint import backing
from argus_maint.management.maint.arguments import Arguments, add_json, name
from argus_maint.management.maint.context import Context, known_backend
from argus_maint.observe.history import iso

NAME = "backends"
SUMMARY = "the task backends of this site, and what maintenance can do on each"
HELP = """\
List every alias of the setting TASKS: the class of its backend, the adapter that
stands for it here, what maintenance can do on it, and for what it cannot do the
reason; for a backend that cannot be used, what to install. With ALIAS, all about
that one, and the command that starts its workers.

{capabilities}

It asks no server. With --look it also asks each one for its queues and workers, and
says so where one does not answer; it changes nothing there.""".format(
    capabilities="\n".join(f"  {name:<10} {what}" for name, what in CAPABILITIES.items())
)
EXAMPLES = """\
examples:
  manage.py maint backends
  manage.py maint backends rq --look
  manage.py maint backends --json | jq -r '.backends[] | .trouble // empty'

exit status: 0 every alias that is shown can be used; 1 one cannot, or does not
answer (--look); 2 wrong arguments"""
OPTIONAL = "alias"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen:
    """What an alias answered. None: it cannot tell such a thing, or did not answer."""

    queues: list[Queue] | None = None
    workers: list[Worker] | None = None
    signals: dict[str, int] = field(default_factory=dict)
    trouble: str = ""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument(
        "alias", nargs="?", type=name, metavar="ALIAS", help="Only this alias of TASKS, in full."
    )
    parser.add_argument(
        "--look", action="store_true", help="Ask each one for its queues and workers too."
    )
    add_json(parser, "backends")


def run(context: Context, options: dict[str, Any]) -> int:
    """Show them; the exit status."""
    alias = known_backend(options["alias"])
    chosen = [each for each in adapters(context.using) if alias in ("", each.alias)]
    seen = {each.alias: look(each) for each in chosen} if options["look"] else {}
    if options["json"]:
        context.json(_as_dict(chosen, seen))
    elif alias:
        (one,) = chosen
        context.show(backing.whole(one, version(one.package), seen, context.out.width))
    else:
        context.show(backing.page(chosen, seen, context.out.width))
    troubled = any(isinstance(each, Broken) for each in chosen)
    return int(troubled or any(each.trouble for each in seen.values()))


def look(adapter: Adapter) -> Seen:
    """Its queues and workers; whatever goes wrong is one line, for the others are asked too."""
    try:
        return Seen(
            _asked(adapter.supports_stats, adapter.queues),
            _asked(adapter.supports_liveness, adapter.workers),
            adapter.counters(),
        )
    except Error as error:
        return Seen(trouble=in_plain_words(error))
    except Exception as error:  # noqa: BLE001 - the adapter may be the site's own
        return Seen(trouble=in_one_line(error))


def _asked(supported: bool, question: Callable[[], Iterable[T]]) -> list[T] | None:
    return list(question()) if supported else None


def version(package: str) -> str:
    """Of a distribution; empty where it is not installed."""
    try:
        return metadata.version(package) if package else ""
    except metadata.PackageNotFoundError:
        return ""


def _as_dict(chosen: list[Adapter], seen: dict[str, Seen]) -> dict[str, Any]:
    """The JSON form (``schemas/backends.json``)."""
    return {
        "kind": "argus_maint.backends",
        "version": 1,
        "usable": not any(isinstance(each, Broken) for each in chosen),
        "backends": [_backend(each, seen.get(each.alias)) for each in chosen],
    }


def _backend(adapter: Adapter, seen: Seen | None) -> dict[str, Any]:
    trouble = adapter.trouble if isinstance(adapter, Broken) else ""
    return {
        "alias": adapter.alias,
        "class": adapter.path,
        "adapter": adapter.name,
        "usable": not trouble,
        "trouble": trouble or None,
        "install": missing_package(adapter) or None,
        "package": adapter.package or None,
        "package_version": version(adapter.package) or None,
        "worker_command": adapter.start_command() or None,
        "capabilities": [
            {
                "name": each,
                "meaning": meaning,
                "supported": adapter.supports(each),
                "why_not": None if adapter.supports(each) else backing.why_not(adapter, each),
            }
            for each, meaning in CAPABILITIES.items()
        ],
        "warnings": [] if trouble else advice(adapter),
        "seen": _seen(seen) if seen else None,
    }


def _seen(seen: Seen) -> dict[str, Any]:
    return {
        "trouble": seen.trouble or None,
        "queues": None if seen.queues is None else [_queue(each) for each in seen.queues],
        "signals": seen.signals,
        "workers": None if seen.workers is None else [_worker(each) for each in seen.workers],
    }


def _queue(queue: Queue) -> dict[str, Any]:
    counts = queue.counts
    return {
        "name": counts.queue_name,
        "ready": counts.ready,
        "scheduled": counts.scheduled,
        "running": counts.running,
        "failed": queue.failed,
        "finished": queue.finished,
        "oldest_ready_at": iso(counts.oldest_ready_at),
    }


def _worker(worker: Worker) -> dict[str, Any]:
    return {
        "name": worker.name,
        "host": worker.host,
        "pid": worker.pid,
        "queues": list(worker.queues),
        "seen_at": iso(worker.seen_at),
        "alive": worker.alive,
        "evidence": worker.evidence,
        "task": worker.task or None,
    }
