"""``python -m argus_maint.demo``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING

from argus_maint.demo.screen import Screen
from argus_maint.demo.stage import Interrupted, Off, Stage

if TYPE_CHECKING:
    from argus_maint.demo.watch import Observer

LOG_LINES = 12  # of each supervisor, shown when something is off


def main() -> int:
    """Play the demo; returns the exit status."""
    argparse.ArgumentParser(
        prog="python -m argus_maint.demo",
        description="Kill real workers in the middle of their tasks, and watch the tasks come "
        "back. Needs no database server, takes about 20 s, and leaves nothing behind.",
        epilog="Exit status: 0 every task ended exactly once; 1 something was off; "
        "130 interrupted.",
    ).parse_args()
    if not hasattr(os, "fork"):
        print("the demo needs fork(), as argus_maint itself does: Linux, macOS or a BSD")
        return 1
    screen, stage = Screen(), Stage()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stage.interrupt)
    try:
        return _play(stage, screen)
    except Interrupted:
        screen.verdict(False, "Interrupted.")
        return 130
    finally:
        stage.close()


def _play(stage: Stage, screen: Screen) -> int:
    import django

    django.setup()
    from argus_maint.demo.story import tell

    try:
        return _judge(screen, tell(stage, screen))
    except Off as problem:
        _show_logs(stage, screen)
        screen.verdict(False, f"OFF: {problem}")
        return 1


def _judge(screen: Screen, observer: Observer) -> int:
    from argus_maint.demo.verdict import checks

    screen.heading("What became of it")
    off = 0
    for check in checks(observer):
        screen.check(check.good, check.text)
        off += not check.good
    if off:
        screen.verdict(False, f"OFF: {off} of the checks above did not hold.")
        return 1
    slowest = max(kill.ready_at - kill.at for kill in observer.kills if kill.ready_at is not None)
    screen.verdict(
        True,
        f"OK: {len(observer.kills)} tasks lost their worker and were READY again within "
        f"{slowest:.1f} s;\nall {len(observer.names)} ended exactly once, with nobody's help. "
        f"({screen.elapsed():.0f} s)",
    )
    return 0


def _show_logs(stage: Stage, screen: Screen) -> None:
    for supervisor in stage.supervisors:
        screen.heading(f"The end of the log of {supervisor.name}")
        lines = supervisor.log.read_text(errors="replace").splitlines()
        screen.text("\n".join(lines[-LOG_LINES:]))


if __name__ == "__main__":
    sys.exit(main())
