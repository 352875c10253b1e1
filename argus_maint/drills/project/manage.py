"""The shop's manage.py."""

import os
import sys
from pathlib import Path

from django.core.management import execute_from_command_line

FOLDER = str(Path(__file__).resolve().parent)
MARK = "ARGUS_MAINT_SCRATCH"  # all that is started here carries it, and is ended by it

if __name__ == "__main__":
    sys.path.insert(0, FOLDER)  # PYTHONSAFEPATH leaves it out, and a site may have a "shop" too
    if os.environ.get(MARK) != FOLDER:  # the mark counts as it was when the process began
        env = {**os.environ, MARK: FOLDER, "DJANGO_SETTINGS_MODULE": "shop.settings"}
        os.execve(sys.executable, [sys.executable, *sys.argv], env)  # noqa: S606
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    execute_from_command_line(sys.argv)
