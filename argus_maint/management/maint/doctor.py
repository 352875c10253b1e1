"""``maint doctor``."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from rich.text import Text

from argus_maint.doctor import BAD, OK, WARN, Line, examine
from argus_maint.management.maint.arguments import Arguments, add_json
from argus_maint.management.maint.context import Context
from argus_maint.observe import screen
from argus_maint.observe.screen import join, styled

NAME = "doctor"
SUMMARY = "is the site set up well: settings, database, schedules, units, clock"
HELP = """\
Look at how this site is set up, and say for each thing what was found, why it matters
and what to do about it. It looks at settings and the order of apps, task backends,
versions, options of the database and of its connections, migrations and indexes,
clocks, whether ticks of jobs are fired, what starts workers at boot, folders and disks.

Run it on each host, as the user that runs the workers, and with their environment:
it says what holds for that. It changes nothing; on SQLite it takes the write lock for
a moment.

  ok     as it should be
  warn   it works, but not well, or not for ever
  bad    it does not work, or not as it is meant to"""
EXAMPLES = """\
examples:
  manage.py maint doctor
  manage.py maint doctor --quiet
  manage.py maint doctor --json | jq -r '.lines[] | select(.level == "bad") | .fix'

exit status: 0 nothing is bad, or only warnings; 1 something is bad; 2 wrong arguments"""

STYLES = {OK: screen.GOOD, WARN: screen.WARN, BAD: screen.BAD}


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument(
        "--quiet", action="store_true", help="Show only what is not as it should be."
    )
    add_json(parser, "doctor")


def run(context: Context, options: dict[str, Any]) -> int:
    """Examine, and show it."""
    lines = examine(context.using)
    levels = Counter(each.level for each in lines)
    if options["json"]:
        context.json(
            {
                "kind": "argus_maint.doctor",
                "version": 1,
                "database": context.using,
                "healthy": not levels[BAD],
                "lines": [asdict(each) for each in lines],
            }
        )
    else:
        shown = [each for each in lines if each.level != OK or not options["quiet"]]
        context.show([text for each in shown for text in _line(each)])
        context.show([_sum(levels)])
    return 1 if levels[BAD] else 0


def _line(line: Line) -> list[Text]:
    """On a line of its own each: what was found, why it matters, the fix."""
    head = join(styled(line.level.ljust(6), STYLES[line.level]), styled(f"{line.topic}: ", "bold"))
    lines = [join(head, line.found)]
    if line.why:
        lines.append(join(" " * 8, styled(line.why, screen.DIM)))
    if line.fix and line.level != OK:
        lines.append(join(" " * 8, styled("fix: ", "bold"), line.fix))
    return lines


def _sum(levels: Counter[str]) -> Text:
    text = ", ".join(f"{levels[level]} {level}" for level in (BAD, WARN, OK))
    return styled(text, STYLES[BAD if levels[BAD] else WARN if levels[WARN] else OK])
