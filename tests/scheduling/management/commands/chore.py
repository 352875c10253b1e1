"""A command of the site that starts a process, and neither wants to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tests.scheduling.chores import write


class Command(BaseCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path")

    def handle(self, *args: Any, path: str, **options: Any) -> None:
        stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", stubborn])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        write(path, f"begin {os.getpid()} {child.pid}")
        time.sleep(600)
