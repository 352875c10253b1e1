"""A process with pools of tasks, as a web process is one: ``python -m ...pooling JSON``.

It does what the JSON says, prints "ready", and goes on until its standard input ends:

- ``alias``, ``tasks`` and ``file``: so many tasks that run until the file appears;
- ``short``: so many that end at once; ``failing``: so many that raise;
- ``children``: fork so many before, and let each do the same; their pids are printed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import django


def use(order: dict[str, Any]) -> None:
    """Put the tasks into the pool."""
    from tests import tasks

    alias = order["alias"]
    results = [tasks.add.using(backend=alias).enqueue(1, 2) for _ in range(order.get("short", 0))]
    failing = range(order.get("failing", 0))
    results += [tasks.fail.using(backend=alias).enqueue("on purpose") for _ in failing]
    for each in results:
        while not each.is_finished:
            each.refresh()
    for _ in range(order.get("tasks", 0)):
        tasks.wait_for.using(backend=alias).enqueue(order["file"], 600)


def main() -> None:
    """Do it, and wait for the end."""
    django.setup()
    order = json.loads(sys.argv[1])
    if order.get("first"):  # the parent's own, before it forks
        use({**order, "short": 0, "failing": 0})
    children = []
    for _ in range(order.get("children", 0)):
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGTERM, lambda *args: sys.exit(0))
            use(order)
            signal.pause()
        children.append(pid)
    if not children:
        use(order)
    print("ready", *children, flush=True)
    sys.stdin.read()
    for pid in children:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
