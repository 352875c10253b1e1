"""``maint drill``."""

from __future__ import annotations

import os
import random
from contextlib import closing
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from rich.text import Text

from argus_maint.conf_findings import CODES
from argus_maint.drills.drill import GIVEN_UP, SOLVED, Drill, Note, State, running
from argus_maint.drills.ending import KEEP, at_a_terminal, let_end, stay
from argus_maint.drills.faults import FAULTS, Fault, fault_of
from argus_maint.drills.inside import MARK
from argus_maint.drills.scratch import Broken, Scratch
from argus_maint.management.maint.arguments import Arguments, add_json, duration, finding_code
from argus_maint.management.maint.context import Context, term_is_an_interrupt
from argus_maint.observe.screen import BAD, DIM, GOOD, HEAD, Column, join, span, styled, table
from argus_maint.runbooks import places
from argus_maint.runbooks.calling import pasted
from argus_maint.runbooks.errors import PageError

NAME = "drill"
OPTIONAL = "code"
SUMMARY = "practise a runbook: a fault in a throw-away project, and the clock runs"
HELP = """\
Make a small shop in a folder of its own, with workers and a scheduler, break it, and
time how long it takes you to put it right. It does not say what it broke, unless you
name a CODE. Work in another terminal; this one waits. The clock stops by itself when
all holds that the runbook's Verify says, and what the page restarts is restarted. The
shop stays for a while then (--keep), so that you can go through the rest of the page.
Commands that run in it come to their end; then all else is ended, and the folder
removed.

It never touches the database of this site: the shop has a SQLite file of its own."""
EXAMPLES = """\
examples:
  manage.py maint drill                 something is wrong
  manage.py maint drill StuckTask       that is wrong
  manage.py maint drill --list          what there is to practise
  manage.py maint drill --hint          from another terminal: a hint, which counts
  manage.py maint drill --give-up       from another terminal: the runbook, and the end

exit status: 0 put right (or listed, shown); 1 given up, or the shop cannot be made;
2 wrong arguments; 130 interrupted"""
OWN = "sqlite"


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument(
        "code", nargs="?", type=finding_code, metavar="CODE", help="As StuckTask (default: any)."
    )
    for flag, text in (
        ("--list", "List what can be practised."),
        ("--hint", "Show the next hint of the drill that runs."),
        ("--give-up", "Show the runbook of the drill that runs, and end it."),
        ("--status", "Tell how long the drill that runs has taken so far."),
    ):
        parser.add_argument(flag, action="store_true", help=text)
    parser.add_argument(
        "--folder",
        metavar="PATH",
        help="Make the shop there; it must not exist, or be empty (default: a temporary one). "
        "With --hint, --give-up and --status: the drill that runs there.",
    )
    parser.add_argument(
        "--keep",
        type=duration,
        metavar="AGE",
        help=f"How long the shop stays when all is well (default: {KEEP:g}s; on a terminal until "
        "Enter, at most so long where it is given).",
    )
    parser.add_argument(
        "--database",
        default=OWN,
        metavar="NAME",
        help=f"Only {OWN}, a file of its own; a database of this site is refused.",
    )
    add_json(parser, "drill")


def run(context: Context, options: dict[str, Any]) -> int:
    """List, look at the drill that runs, or make one."""
    code = options["code"] or ""
    asked = [name for name in ("list", "hint", "give_up", "status") if options[name]]
    if len(asked) > 1 or (asked and code):
        flag = f"--{asked[0].replace('_', '-')}"
        raise CommandError(f"{flag} goes alone.", returncode=2)
    if not asked:
        return _play(context, code, options)
    return {"list": _list, "hint": _hint, "give_up": _give_up, "status": _status}[asked[0]](
        context, options
    )


# -- the drill itself ---------------------------------------------------------------------


def _play(context: Context, code: str, options: dict[str, Any]) -> int:
    _refuse_database(options["database"])
    if MARK in os.environ:
        raise CommandError(
            "This is the shop of a drill: a drill is made from a site.", returncode=2
        )
    if running():
        hint = "Its ways out: --status, --hint, --give-up; Ctrl-C in its window."
        raise CommandError(f"A drill is running already. {hint}")
    folder = _folder(options["folder"])
    fault = _fault(code)
    try:
        page = places.page_of(fault.code)
        context.note(styled("making a shop, and breaking it ...", DIM))
        # A second Ctrl-C must not leave anything behind either: closing goes on in any case.
        with term_is_an_interrupt(), closing(Scratch(folder=folder)) as scratch:
            drill = Drill(scratch, fault, page)
            drill.begin()
            terminal = at_a_terminal() and context.can_ask()
            context.err.show(_introduction(scratch, _stays(options["keep"], terminal)))
            state = drill.wait()
            _tell(context, state, options)
            if state.state == SOLVED:
                _keep(context, options["keep"], terminal)
            let_end(scratch)
            return int(state.state != SOLVED)
    except (places.NoPage, PageError, Broken) as error:
        raise CommandError(f"{error}") from error


def _refuse_database(name: str) -> None:
    if name == OWN:
        return
    names = {str(each.get("NAME", "")) for each in settings.DATABASES.values()}
    if name in settings.DATABASES or name in names:
        raise CommandError(
            f"{name!r} is a database of this site, and a drill breaks things: leave --database "
            "out, and it makes one of its own.",
            returncode=2,
        )
    raise CommandError(f"--database can only be {OWN}, not {name!r}.", returncode=2)


def _folder(given: str | None) -> Path | None:
    if given is None:
        return None
    path = Path(given).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        empty = not any(path.iterdir())
    except OSError as error:
        raise CommandError(f"--folder: {path}: {error.strerror}", returncode=2) from error
    if not empty:
        raise CommandError(
            f"--folder: {path} is not empty, and a drill removes its folder in the end: give one "
            "that does not exist yet, or leave the option out.",
            returncode=2,
        )
    return path


def _fault(code: str) -> Fault:
    """That of the code, or any that can be had here."""
    if code:
        fault = fault_of(code)
        if missing := fault.missing():
            raise CommandError(f"A drill of {code} needs {', '.join(missing)}, not found here.")
        return fault
    return random.choice([each for each in FAULTS.values() if not each.missing()])  # noqa: S311


def _stays(keep: float | None, terminal: bool) -> str:
    """For how long, in words."""
    if terminal:
        return "until Enter here" + ("" if keep is None else f", at most {span(keep)}")
    return f"for {span(KEEP if keep is None else keep)}"


def _keep(context: Context, keep: float | None, terminal: bool) -> None:
    """The clock has stopped; leave time to go through the rest of the page."""
    line = f"The clock has stopped. The shop stays {_stays(keep, terminal)}."
    context.err.show([styled(line, DIM)])
    stay(keep, terminal)


def _introduction(scratch: Scratch, stays: str) -> list[Text | str]:
    command = "python manage.py maint"
    return [
        styled("Something is wrong in the shop. Find out what, and put it right.", HEAD),
        "",
        "In another terminal:",
        "",
        f'cd {scratch.folder} && PATH="$PWD/bin:$PATH"',
        "",
        "Where to begin, and what to do when you are stuck:",
        "",
        f"{command} status",
        f"{command} drill --hint",
        f"{command} drill --give-up",
        "",
        styled("The clock runs. It stops by itself when all holds that Verify of the page", DIM),
        styled("says, and what the page restarts is restarted. Then it says so here, and the", DIM),
        styled(f"shop stays {stays}. Ctrl-C ends the drill.", DIM),
    ]


def _tell(context: Context, state: State, options: dict[str, Any]) -> None:
    if options["json"]:
        context.json(_document(drill=state))
    else:
        context.show(_score(state))


def _score(state: State) -> list[Text]:
    hints = f"{state.hints} hint{'' if state.hints == 1 else 's'}"
    solved, page = state.state == SOLVED, pasted(f"manage.py maint runbook {state.code}")
    head = styled("Well again" if solved else "Given up", GOOD if solved else BAD)
    return [
        join(head, f"  {state.code}  {span(state.seconds)}, {hints}"),
        styled(f"{CODES[state.code].summary}: {page}", DIM),
    ]


# -- from another terminal ----------------------------------------------------------------


def _list(context: Context, options: dict[str, Any]) -> int:
    codes = [CODES[fault.code] for fault in FAULTS.values()]
    if options["json"]:
        context.json(_document(codes=[code.name for code in codes]))
    else:
        rows = [(code.name, code.severity, code.summary) for code in codes]
        columns = [Column("code"), Column("severity"), Column("what is the matter", least=20)]
        context.show(table(columns, rows, context.out.width, indent=0))
    return 0


def _current(options: dict[str, Any]) -> tuple[Note, State]:
    """The drill that is meant, which must be the only one."""
    folder = options["folder"]
    notes = running(Path(folder).resolve() if folder else None)
    if len(notes) > 1:
        folders = ", ".join(str(each.folder) for each in notes)
        raise CommandError(
            f"Several drills are running. Say which with --folder: {folders}", returncode=2
        )
    if not notes and folder:
        raise CommandError(f"No drill is running in {folder}.")
    if not notes:
        raise CommandError(
            f"No drill is running. One that was begun with --folder is named with "
            f"--folder. To begin one: {pasted('manage.py maint drill')}"
        )
    return notes[0], notes[0].read()


def _hint(context: Context, options: dict[str, Any]) -> int:
    note, state = _current(options)
    hints = FAULTS[state.fault].hints
    if state.hints >= len(hints):
        context.show(
            [f"There are no more. The finding is {state.code}: maint runbook {state.code}"]
        )
    else:
        context.show([hints[state.hints]])
    note.change(hints=state.hints + 1)
    return 0


def _give_up(context: Context, options: dict[str, Any]) -> int:
    note, state = _current(options)
    note.change(state=GIVEN_UP)
    page = places.page_of(state.code)
    context.note(styled(f"The drill in {note.folder} is given up, and ends.", DIM))
    context.show([f"It was {state.code}. This is its runbook:", ""])
    context.show(page.text.split("\n")[page.first - 1 :])
    return 0


def _status(context: Context, options: dict[str, Any]) -> int:
    note, state = _current(options)
    if options["json"]:
        context.json(_document(drill=state))
    else:
        took = span(state.so_far())
        context.show([f"running for {took} in {note.folder}, hints taken: {state.hints}"])
    return 0


def _document(drill: State | None = None, codes: list[str] | None = None) -> dict[str, Any]:
    told = None
    if drill is not None:
        over = drill.state in (SOLVED, GIVEN_UP)
        told = {
            "code": drill.code if over else None,
            "state": drill.state.replace(" ", "_"),
            "seconds": round(drill.so_far(), 1),
            "hints": drill.hints,
        }
    return {"kind": "argus_maint.drill", "version": 1, "drill": told, "codes": codes or []}
