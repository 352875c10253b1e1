"""What the shop does behind its customers' backs."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from django_tasks_db.models import TaskResultStatus

if TaskResultStatus.__module__.startswith("django.tasks"):
    from django.tasks import task
else:
    from django_tasks import task  # type: ignore[no-redef]

VAR = Path(__file__).resolve().parent.parent / "var"


@task
def send_receipt(order: int) -> str:
    """Quick, and always well."""
    return f"receipt of order {order}"


@task
def build_report(seconds: float) -> None:
    """Takes its time."""
    time.sleep(seconds)


@task
def charge_card(order: int) -> str:
    """Fails while the bank does not answer."""
    if (VAR / "bank-is-down").exists():
        raise ConnectionError(f"the bank does not answer: order {order} is not paid")
    return f"order {order} is paid"


@task
def sync_stock() -> None:
    """Waits for a warehouse that never answers."""
    threading.Event().wait()


@task
def import_catalogue() -> None:
    """Takes all memory there is, and so is killed by the kernel, each time."""
    os.kill(os.getpid(), signal.SIGKILL)


@task
def resize_picture(number: int) -> None:
    """Ends with its process, as a C library with a bug does."""
    os.kill(os.getpid(), signal.SIGKILL)
