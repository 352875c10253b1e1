"""``python -m argus_maint check``: the plugin, where nothing of the site need be in order.

``manage.py maint check`` is not reached where the settings cannot be imported, where manage.py
itself fails, or where argus_maint is not installed; Django exits 1 then, which a monitoring
system takes for a warning. This runs the same check, and exits 3 for all of that.

Where ``DJANGO_SETTINGS_MODULE`` is not set and there is no ``--settings``, it goes through the
site's manage.py: that of ``--manage PATH``, or else the one of this folder.
"""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import sys
from pathlib import Path

from argus_maint import plugin

USAGE = "python -m argus_maint check [--manage PATH] [options of manage.py maint check]"


def main() -> None:
    """Run the check; never return."""
    words = sys.argv[1:]
    if words[:1] != [plugin.CHECK]:
        plugin.unknown(f"usage: {USAGE}")
    del words[0]
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            _run(_taken(words, "--manage"), words)
    except plugin.Answer:
        raise
    except SystemExit as exit_:
        if not exit_.code:  # --help, which has said all
            raise
        said = [line for line in errors.getvalue().splitlines() if line.strip()]
        text = exit_.code if isinstance(exit_.code, str) else ""
        plugin.unknown(text or " ".join(said) or f"Django exited {exit_.code}")
    except BaseException as error:  # noqa: BLE001 - whatever it is, the plugin does not know
        plugin.unknown(plugin.reason_of(error))
    plugin.unknown("manage.py has ended without a word")


def _taken(words: list[str], option: str) -> str:
    """The value of an option of ours, which is taken out of the command line."""
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == option:
            del words[at]
            if not equals:
                value = words.pop(at) if at < len(words) else ""
            if not value:
                plugin.unknown(f"{option} needs a path; usage: {USAGE}")
            return value
    return ""


def _run(manage: str, words: list[str]) -> None:
    named = os.environ.get("DJANGO_SETTINGS_MODULE") or any(
        word.partition("=")[0] == "--settings" for word in words
    )
    if not manage and not named and Path("manage.py").exists():
        manage = "manage.py"
    sys.argv = [manage or "manage.py", plugin.COMMAND, plugin.CHECK, *words]
    if manage:
        sys.path.insert(0, str(Path(manage).absolute().parent))
        runpy.run_path(manage, run_name="__main__")
    else:
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
