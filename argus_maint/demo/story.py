"""The acts: start, enqueue, kill a worker, kill a supervisor, wait for the end."""

from __future__ import annotations

import os
import signal
import sys
from importlib.metadata import version
from uuid import UUID

import django
from django.core.management import call_command

from argus_maint.demo import tasks
from argus_maint.demo.screen import Screen
from argus_maint.demo.settings import LEASE
from argus_maint.demo.stage import Off, Stage
from argus_maint.demo.watch import Kill, Observer
from argus_maint.drills.processes import PATIENCE, Started, alive
from argus_maint.models import Process
from argus_maint.observe.census import label

TASKS = 24
WORKERS = 2  # of each supervisor
TO_GO = 0.4  # seconds that a task has to go when its worker is killed


def tell(stage: Stage, screen: Screen) -> Observer:
    """Play it, and return the one who saw it."""
    _prepare(screen)
    observer = Observer(screen, stage.check)
    east, west = _start(stage, observer, "east", "west")
    _enqueue(observer)
    _kill_worker(observer, east)
    _kill_supervisor(observer, west)
    _show_status(stage, screen)
    observer.until("every task finished", lambda: observer.done == TASKS, 30)
    _stop(observer, east)
    return observer


def _prepare(screen: Screen) -> None:
    call_command("migrate", verbosity=0)
    versions = (
        f"Python {sys.version.split()[0]}, Django {django.get_version()}, "
        f"django-tasks-db {version('django-tasks-db')}"
    )
    screen.event("project", f"a new one, on SQLite ({versions})")


def _start(stage: Stage, observer: Observer, *names: str) -> list[Started]:
    supervisors = [stage.start(name, WORKERS) for name in names]
    for name in names:
        observer.screen.event("start", f"supervisor {name} with {WORKERS} workers")
    workers = Process.objects.filter(kind=Process.Kind.WORKER, state=Process.State.ALIVE)

    def all_there() -> bool:
        for each in supervisors:
            if each.process.poll() is not None:
                raise Off(f"supervisor {each.name} ended by itself ({each.process.returncode})")
        return workers.count() == WORKERS * len(names)

    observer.until("all workers registered", all_there, 20)
    there = ", ".join(sorted(label(each.worker_id) for each in workers))
    observer.screen.event(
        "ready", f"workers {there}; a beat every {LEASE / 3:g} s, lease {LEASE:g} s"
    )
    return supervisors


def _enqueue(observer: Observer) -> None:
    for number in range(1, TASKS + 1):
        name = f"task-{number:02}"
        observer.seconds[name] = 0.9 + number % 5 / 10
        result = tasks.work.enqueue(name, observer.seconds[name])
        observer.names[UUID(str(result.id))] = name
    observer.screen.event("enqueue", f"{TASKS} tasks of about a second each")


def _kill_worker(observer: Observer, supervisor: Started) -> None:
    observer.until("some tasks done", lambda: observer.done >= 4, 20)
    in_hand = observer.until(
        f"a worker of {supervisor.name} in the middle of a task",
        lambda: observer.in_hand(supervisor.name, TO_GO),
        20,
    )
    name, worker = next(iter(in_hand.items()))
    os.kill(worker.pid, signal.SIGKILL)
    victim = label(worker.worker_id)
    kill = Kill(name, worker.worker_id, observer.screen.elapsed())
    observer.kills.append(kill)
    observer.screen.event("KILL", f"SIGKILL to worker {victim}, in the middle of {name}", kill.at)
    observer.until(f"{name} running again", lambda: kill.again_at is not None, LEASE * 4)


def _kill_supervisor(observer: Observer, supervisor: Started) -> None:
    in_hand = observer.until(
        f"all workers of {supervisor.name} in the middle of a task",
        lambda: _if_all(observer.in_hand(supervisor.name, TO_GO)),
        20,
    )
    family = supervisor.children()
    supervisor.kill()
    at = observer.screen.elapsed()
    victim = f"supervisor {supervisor.name}"
    kills = [Kill(name, each.worker_id, at) for name, each in in_hand.items()]
    observer.kills += kills
    observer.screen.event(
        "KILL", f"SIGKILL to {victim}, in the middle of {' and '.join(in_hand)}", at
    )
    observer.until("its children dead too", lambda: not any(map(alive, family)), 5)
    if family:
        took = observer.screen.elapsed() - at
        observer.screen.event("dead", f"its keeper and its {WORKERS} workers, within {took:.2f} s")
    supervisor.process.wait(PATIENCE)
    observer.until(
        "the tasks of the dead supervisor READY again",
        lambda: all(kill.ready_at is not None for kill in kills),
        LEASE * 4,
    )


def _if_all(in_hand: dict[str, Process]) -> dict[str, Process]:
    return in_hand if len(in_hand) == WORKERS else {}


def _show_status(stage: Stage, screen: Screen) -> None:
    screen.heading("$ manage.py maint status")
    status, output = stage.manage("maint", "status")
    screen.text(output)
    screen.console.print()
    if status:
        raise Off(f"maint status: exit status {status}")


def _stop(observer: Observer, supervisor: Started) -> None:
    supervisor.process.terminate()
    observer.until(
        f"supervisor {supervisor.name} stopped", lambda: supervisor.process.poll() is not None, 20
    )
    if status := supervisor.process.returncode:
        raise Off(f"supervisor {supervisor.name} stopped with exit status {status}")
    observer.screen.event("stop", f"SIGTERM to supervisor {supervisor.name}; it ended cleanly")
