"""``maint archive``."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from rich.text import Text

from argus_maint.backends import archive_reader
from argus_maint.backends.archive_reader import Archived
from argus_maint.conf import get_settings
from argus_maint.exceptions import ArchiveError
from argus_maint.management.maint.arguments import Arguments, add_json, name, pattern, task_id
from argus_maint.management.maint.context import Context
from argus_maint.observe.screen import BAD, DIM, Column, styled, table

NAME = "archive"
SUMMARY = "list what a prune has archived, and find a task in it"
HELP = """\
list    the files of the archive folder: day, backend, tasks, when these finished
grep    print the archived tasks that match, one JSON document a line
folder  print the path of the folder, for a script

The folder is ARGUS_MAINT["PRUNE"]["archive"] unless --folder names another. What has
been archived and not yet deleted does not count, and is not shown."""
EXAMPLES = """\
examples:
  manage.py maint archive list
  manage.py maint archive grep --id 43a678f8
  manage.py maint archive grep --task 'shop.tasks.*' 'order 4711' | jq .traceback
  ls -l "$(manage.py maint archive folder)"

exit status: 0 something was found (folder: it is printed); 1 nothing was, or a file is
cut off or cannot be read (grep names it and goes on with the others); 2 wrong arguments"""
OPTIONAL = "text"


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument("what", choices=("list", "grep", "folder"), help="What to do.")
    parser.add_argument("text", nargs="?", default="", help="grep: only lines with this in them.")
    parser.add_argument("--id", type=task_id, help="grep: a task's id or its beginning.")
    parser.add_argument("--task", type=pattern, metavar="PATTERN", help="grep: its dotted path.")
    parser.add_argument("--folder", type=name, metavar="FOLDER", help="Look there instead.")
    add_json(parser, "archive")


def run(context: Context, options: dict[str, Any]) -> int:
    """List or search."""
    wanted = any(options[name] for name in ("text", "id", "task"))
    if (options["what"] == "grep") != wanted:
        right = f"{options['what']} takes no" if wanted else "give grep a"
        raise CommandError(f"{right} text, --id or --task", returncode=2)
    folder = options["folder"] or get_settings().prune.archive
    if not folder:
        raise CommandError(
            'there is no archive: set ARGUS_MAINT["PRUNE"]["archive"], or name one with --folder',
            returncode=2,
        )
    if options["what"] == "folder":
        return _folder(context, folder, options)
    try:
        files = archive_reader.files(Path(folder), context.using)
    except ArchiveError as error:
        raise CommandError(str(error)) from error
    return _list(context, files, options) if not wanted else _grep(context, files, options)


def _folder(context: Context, folder: str, options: dict[str, Any]) -> int:
    """Its path alone, whether it is there or not."""
    if options["json"]:
        raise CommandError("folder takes no --json", returncode=2)
    context.out.out.write(f"{folder}\n")
    context.out.out.flush()
    return 0


def _list(context: Context, files: list[Archived], options: dict[str, Any]) -> int:
    if options["json"]:
        context.json(
            {"kind": "argus_maint.archive", "version": 1, "files": [_as_dict(f) for f in files]}
        )
    else:
        context.show(_page(files, context.out.width))
    return int(not files or any(file.missing for file in files))


def _as_dict(file: Archived) -> dict[str, Any]:
    record = file.record
    first = record and record.first_finished_at
    last = record and record.last_finished_at
    return {
        "path": str(file.path),
        "backend": file.backend,
        "day": file.day,
        "bytes": file.size if record is None else record.committed,
        "missing_bytes": file.missing,
        "tasks": None if record is None else record.rows,
        "first_finished_at": first and first.isoformat(),
        "last_finished_at": last and last.isoformat(),
    }


def _page(files: list[Archived], width: int | None) -> list[Text]:
    if not files:
        return [styled("no archives", DIM)]
    columns = [
        Column("day"),
        Column("backend"),
        Column("tasks", right=True),
        Column("bytes", right=True),
        Column("finished from"),
        Column("to"),
        Column("file", least=16, keep_end=True),
    ]
    rows = []
    for file in files:
        record = file.record
        known = [f"{record.rows:,}" if record else "?", f"{file.size:,}"]
        times = (record.first_finished_at, record.last_finished_at) if record else (None, None)
        shown = ["" if time is None else f"{time:%Y-%m-%d %H:%M}" for time in times]
        rows.append([file.day, file.backend, *known, *shown, str(file.path)])
    cut = [
        styled(f"{file.path} is cut off: {file.missing:,} bytes at its end are missing", BAD)
        for file in files
        if file.missing
    ]
    return [*table(columns, rows, width, indent=0), *cut]


def _grep(context: Context, files: list[Archived], options: dict[str, Any]) -> int:
    found, unread = 0, 0
    for file in files:
        try:
            for line in archive_reader.lines(file):
                if _matches(line, options):
                    found += 1
                    context.out.out.write(f"{line}\n")
        except ArchiveError as error:  # the task may be in another
            unread += 1
            context.note(styled(str(error), BAD))
    context.out.out.flush()
    return int(not found or unread > 0)


def _matches(line: str, options: dict[str, Any]) -> bool:
    if options["text"] not in line:
        return False
    if not options["id"] and not options["task"]:
        return True
    task = json.loads(line)
    digits, path = str(task.get("id", "")).replace("-", ""), str(task.get("task_path", ""))
    return digits.startswith(options["id"] or "") and fnmatchcase(path, options["task"] or "*")
