"""``maint crontab``."""

from __future__ import annotations

import difflib
import re
import subprocess
import tempfile
from typing import Any

from django.core.management.base import CommandError

from argus_maint.conf import get_settings
from argus_maint.management.maint.arguments import Arguments
from argus_maint.management.maint.context import Context
from argus_maint.management.maint.siting import add_site, site_of
from argus_maint.observe.screen import BAD, GOOD, styled
from argus_maint.units import CannotHold, Site
from argus_maint.units.block import Damaged, put, take_out
from argus_maint.units.crontab import lines

NAME = "crontab"
SUMMARY = "the jobs of this site in your crontab: put in, take out, compare"
HELP = """\
Edit your crontab through the program crontab: our lines stand between two markers,
and what is outside them stays byte for byte. It shows what would change, and asks.
Our lines are made from the jobs in ARGUS_MAINT["JOBS"] as they are set now; when
those change, --diff tells and --install puts the new ones in the old ones' place.

Markers that are damaged are not guessed at: it says which line, and changes nothing."""
EXAMPLES = """\
examples:
  manage.py maint crontab --diff                     what --install would change
  manage.py maint crontab --install --environment-file /etc/shop.env
  manage.py maint crontab --install --one-line --yes
  manage.py maint crontab --remove --user shop       as root, for another user

exit status: 0 done, or there was nothing to do; 1 it could not be done, the markers are
damaged, nobody said yes, or with --diff: it would change; 2 wrong arguments;
130 interrupted"""
# What the program of Debian, of Red Hat, of BSD and of busybox say where there is none.
NONE_YET = re.compile(r"no crontab for|can't open .*: no such file", re.I)


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    acts = parser.add_mutually_exclusive_group(required=True)
    acts.add_argument("--install", action="store_true", help="Put our lines in, or renew them.")
    acts.add_argument("--remove", action="store_true", help="Take our lines out.")
    acts.add_argument("--diff", action="store_true", help="Show what --install would change.")
    parser.add_argument("--user", default="", metavar="NAME", help="Whose crontab (root only).")
    parser.add_argument("--yes", action="store_true", help="Do not ask.")
    add_site(parser)


def run(context: Context, options: dict[str, Any]) -> int:
    """Compare; then ask, and write."""
    site = site_of(options, **({"user": options["user"]} if options["user"] else {}))
    user = ["-u", options["user"]] if options["user"] else []
    old = _read(user)
    try:
        new = _wanted(old, site, remove=options["remove"])
    except Damaged as error:
        raise CommandError(f"{error}; put that right with crontab -e.") from error
    except CannotHold as error:
        raise CommandError(f"{error}.", returncode=2) from error
    if new == old:
        context.show(["There is nothing to change."])
        return 0
    _show(context, old, new)
    if options["diff"]:
        return 1
    if not options["yes"]:
        if not context.can_ask():
            raise CommandError("Nobody is there to ask: with --yes it changes the crontab.")
        if not context.confirmed("Change the crontab?"):
            return 1
    if _read(user) != old:
        raise CommandError("The crontab has changed meanwhile: try again.")
    _write(user, new)
    context.show(["The crontab is changed."])
    return 0


def _wanted(old: bytes, site: Site, *, remove: bool) -> bytes:
    if remove:
        return take_out(old, site.name)
    jobs = [job for job in get_settings().jobs.values() if job.enabled]
    return put(old, site.name, lines(site, jobs))


def _read(user: list[str]) -> bytes:
    """The whole crontab; nothing where there is none yet. Never nothing for a failure."""
    done = _crontab([*user, "-l"])
    said = done.stderr.decode(errors="replace").strip()
    if not done.returncode:
        return done.stdout
    if not done.stdout and NONE_YET.search(said):
        return b""
    raise CommandError(f"The crontab cannot be read: {_one_line(said, done.returncode)}")


def _write(user: list[str], new: bytes) -> None:
    done = _crontab([*user, "-"] if new else [*user, "-r"], new)
    said = done.stderr.decode(errors="replace")
    if done.returncode:
        raise CommandError(f"crontab refused it: {_one_line(said, done.returncode)}")
    if _read(user) != new:
        raise CommandError("crontab took it, and now shows another one: look at crontab -l.")


def _crontab(arguments: list[str], text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """What it reads is a file: a pipe that ends with us would end in the middle of a crontab."""
    with tempfile.TemporaryFile() as file:
        file.write(text)
        file.seek(0)
        try:
            return subprocess.run(["crontab", *arguments], stdin=file, capture_output=True)
        except OSError as error:
            raise CommandError(f"There is no program crontab here: {error.strerror}.") from error


def _one_line(said: str, status: int) -> str:
    return " ".join(said.split()) or f"it exited {status}"


def _show(context: Context, old: bytes, new: bytes) -> None:
    before, after = (text.decode(errors="replace").splitlines() for text in (old, new))
    for line in difflib.unified_diff(before, after, "crontab", "as it would be", lineterm="", n=2):
        style = {"+": GOOD, "-": BAD}.get(line[:1], "")
        context.show([styled(line, style)])
