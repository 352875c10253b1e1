"""How ``python manage.py`` of a page is called on this site.

A page is written for one who stands in the project's folder, with its environment active.
Where that is not so (another folder, ``python -m django``, ``django-admin``), a shown
command names the real program, and a command that is executed finds a ``python`` in front
of its PATH that is the interpreter of this site. That program is a constant text, which
reads the two paths from its environment.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from argus_maint.runbooks.variables import NAMES

WRITTEN, BARE = "python manage.py", "manage.py "
_DJANGO = ("django", "__main__.py")  # python -m django
_WRITTEN = re.compile(rf"(?<![\w/.-]){re.escape(WRITTEN)}(?![\w/.-])")
PYTHON, MANAGE = "ARGUS_MAINT_PYTHON", "ARGUS_MAINT_MANAGE"
_PROGRAM = f"""\
#!/bin/sh
# "python" of a runbook's commands: the interpreter of the site that the page was opened on.
if [ "${{1-}}" = manage.py ] && [ ! -e manage.py ]; then
    shift
    [ -z "${MANAGE}" ] && exec "${PYTHON}" -m django "$@"
    exec "${PYTHON}" "${MANAGE}" "$@"
fi
exec "${PYTHON}" "$@"
"""
# What would change the shell, or dress its output, behind the page's back.
_UNWANTED = ("BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "CDPATH", "FORCE_COLOR", "CLICOLOR_FORCE")


@dataclass(frozen=True, slots=True)
class Calling:
    """The interpreter, the manage.py (empty: none) and the folder of a site."""

    python: str
    manage: str
    folder: str

    @classmethod
    def here(cls) -> Calling:
        """As this very process was called."""
        program = Path(sys.argv[0]).absolute()
        is_manage = program.name == "manage.py" and program.exists()
        folder = program.parent if is_manage else Path.cwd()
        return cls(sys.executable, str(program) if is_manage else "", str(folder))

    @property
    def words(self) -> str:
        """What to type for ``python manage.py``, from any folder."""
        return shlex.join((self.python, *((self.manage,) if self.manage else ("-m", "django"))))

    @property
    def as_written(self) -> bool:
        """Whether a page's commands can be pasted here as they are."""
        if not self.manage or Path(self.manage).parent != Path.cwd():
            return False
        found = shutil.which("python")
        return found is not None and _same(found, self.python)

    @property
    def prefix(self) -> str:
        """What to paste for ``python manage.py`` here."""
        return WRITTEN if self.as_written else self.words

    def filled(self, command: str) -> str:
        """The command, with the program by its name on this site.

        A path that needs quotes is left out: within the page's own quotes they would not hold.
        """
        if self.as_written or shlex.split(self.words) != self.words.split(" "):
            return command
        return _WRITTEN.sub(lambda _: self.words, command)

    def environment(
        self, values: Mapping[str, str], base: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """What the commands of a page run in; ``values`` are the page's variables.

        A variable without a value is not there, whatever the caller's environment has.
        """
        env = dict(os.environ if base is None else base)
        for name in (*NAMES, *_UNWANTED):
            env.pop(name, None)
        for name in [name for name in env if name.startswith("BASH_FUNC_")]:
            del env[name]
        env |= {
            "PATH": f"{_program().name}{os.pathsep}{env.get('PATH') or os.defpath}",
            PYTHON: self.python,
            MANAGE: self.manage,
            # The page has what programs say in English, and without colours.
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
        }
        return env | dict(values)


@cache
def _program() -> tempfile.TemporaryDirectory[str]:
    """The folder of the program, removed at the end of this process.

    No sooner: what a command starts in the background may be on its way to it.
    """
    folder = tempfile.TemporaryDirectory(prefix="argus-maint-")
    program = Path(folder.name, "python")
    program.write_text(_PROGRAM, encoding="utf-8")
    program.chmod(0o755)
    return folder


def pasted(command: str) -> str:
    """A command that we print for people, ``manage.py ...``, as it can be pasted here.

    As a page has it. Where this process is no command line of Django's nobody can say, and it
    stays as it is.
    """
    program = Path(sys.argv[0])
    django = program.name.startswith("django-admin") or program.parts[-2:] == _DJANGO
    if not command.startswith(BARE) or not (django or program.name == BARE.strip()):
        return command
    return f"{Calling.here().prefix} {command.removeprefix(BARE)}"


def _same(one: str, other: str) -> bool:
    """Whether two interpreters are the same file in the same environment."""
    try:
        return Path(one).parent.resolve() == Path(other).parent.resolve() and Path(one).samefile(
            other
        )
    except OSError:
        return False
