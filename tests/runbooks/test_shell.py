"""Commands of a page, executed for real."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from argus_maint.runbooks.calling import Calling, pasted
from argus_maint.runbooks.shell import Outcome, perform
from tests.lab import gone, until
from tests.runbooks.texts import console, page

HOSTILE = (
    "it's",
    '"; touch hacked; "',
    "$(touch hacked)",
    "`touch hacked`",
    "a\nb; touch hacked\n",
    "' ; touch hacked #",
    "* ? ~ !! \\",
    "\x1b[2J\x1b]0;title\x07",
    "--help",
    "é\u202e漢",
)


class Shell:
    """Runs commands as a page's, in a folder of the test."""

    def __init__(self, folder: Path, calling: Calling) -> None:
        self.folder, self.calling = folder, calling
        self.told: list[str] = []

    def run(self, content: str, attributes: str = "", **values: str) -> Outcome:
        step = page(console(content, attributes)).steps[0]
        env = self.calling.environment(values)
        return perform(step, self.folder, env, values, self.told.append)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, Calling(sys.executable, "", str(tmp_path)))


def test_what_the_page_says(shell: Shell) -> None:
    outcome = shell.run("$ echo one; echo two >&2; exit 3\none\ntwo\n[3]")
    assert outcome.held, outcome
    assert (outcome.status, outcome.output, outcome.tries) == (3, ("one", "two"), 1)
    assert shell.told == ["one", "two"]


def test_a_step_to_be_judged_is_performed_as_any_other(shell: Shell) -> None:
    """As the proof of a page and a drill do: that somebody judges is the walk's matter."""
    assert shell.run("$ echo one\none", 'ask="May it run twice?"').held


def test_a_command_of_several_lines(shell: Shell) -> None:
    assert shell.run("$ for each in 1 2; do\n>   echo $each\n> done\n1\n2").held


def test_output_that_differs_names_the_line(shell: Shell) -> None:
    content = "$ echo one; \\\n>   echo three\none\ntwo"
    outcome = shell.run(content)
    first = page(console(content)).steps[0].line
    assert not outcome.held
    assert (outcome.line, outcome.expected, outcome.got) == (first + 3, "two", "three")
    assert outcome.problem == "the output is another"


def test_a_status_that_differs(shell: Shell) -> None:
    outcome = shell.run("$ no-such-command\n...")
    assert (outcome.held, outcome.status) == (False, 127)
    assert outcome.problem == "the exit status is 127, and the page says 0"
    assert "no-such-command" in outcome.output[0]
    assert "SIGKILL" in shell.run("$ kill -9 $$").problem


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_is_never_executed(shell: Shell, value: str) -> None:
    outcome = shell.run('$ printf %s "$QUEUE" > printed', QUEUE=value)
    assert outcome.held, outcome
    assert (shell.folder / "printed").read_text(encoding="utf-8") == value
    assert [path.name for path in shell.folder.iterdir()] == ["printed"]


def test_a_value_that_is_missing_is_not_an_empty_one(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUE", "of the caller")
    outcome = shell.run('$ touch "ran-$(echo "$QUEUE")"')
    assert (outcome.held, outcome.tries) == (False, 0)
    assert outcome.problem == "$QUEUE has no value"
    assert not list(shell.folder.iterdir())


def test_nothing_of_the_callers_shell_comes_in(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "startup"
    script.write_text("echo started")
    monkeypatch.setenv("BASH_ENV", str(script))
    monkeypatch.setenv("BASH_FUNC_echo%%", "() { printf other; }")
    assert shell.run("$ echo one\none").held


def test_it_is_tried_again_until_it_holds(shell: Shell) -> None:
    content = "$ [ -e second ] && echo yes || { touch second; echo no; }\nyes"
    assert not shell.run(content).held
    (shell.folder / "second").unlink()
    outcome = shell.run(content, "retry=20s")
    assert (outcome.held, outcome.tries) == (True, 2)
    assert shell.told[-1] == "yes"


def test_the_time_to_hold_has_an_end(shell: Shell) -> None:
    outcome = shell.run("$ echo no\nyes", "retry=1s")
    assert not outcome.held
    assert outcome.tries > 1
    assert 1 <= outcome.seconds < 10


def test_what_takes_too_long_is_ended_with_its_children(shell: Shell) -> None:
    outcome = shell.run("$ trap '' TERM; sleep 600 & echo $!; wait; sleep 600\n...", "limit=1s")
    assert not outcome.held
    assert outcome.problem == "it was ended after 1 s"
    until(lambda: gone(int(outcome.output[0])), what="its child gone")


def test_output_without_end(shell: Shell) -> None:
    outcome = shell.run("$ yes", "limit=1s")
    assert outcome.problem == "it was ended after 1 s"
    assert len(outcome.output) == 5000


@pytest.fixture
def background(shell: Shell) -> Iterator[Path]:
    pid = shell.folder / "pid"
    yield pid
    os.kill(int(pid.read_text()), signal.SIGKILL)


def test_what_goes_on_in_the_background_is_left_alone(shell: Shell, background: Path) -> None:
    """It holds the pipe of the output, as a command without a redirection does."""
    begun = time.monotonic()
    outcome = shell.run(f"$ sleep 600 & echo $! > {background.name}; echo started\nstarted")
    assert outcome.held, outcome
    assert time.monotonic() - begun < 30
    assert not gone(int(background.read_text()))


def test_no_terminal_and_no_input(shell: Shell) -> None:
    assert shell.run("$ read -r line; echo $?; test -t 0 || test -t 1; echo $?\n1\n1").held


def test_without_bash(shell: Shell) -> None:
    step = page(console("$ true")).steps[0]
    outcome = perform(step, shell.folder, {"PATH": str(shell.folder)}, {})
    assert outcome.problem.startswith("bash cannot be started")


def test_python_is_that_of_the_site(shell: Shell) -> None:
    question = "$ python -c 'import sys; print(sys.executable)'\n" + sys.executable
    assert shell.run(question).held


def test_manage_py_from_another_folder(shell: Shell, tmp_path: Path) -> None:
    project = tmp_path / "the project's"
    project.mkdir()
    (project / "manage.py").write_text("import sys; print('ours', *sys.argv[1:])")
    shell.calling = Calling(sys.executable, str(project / "manage.py"), str(project))
    assert shell.run("$ python manage.py maint 'a b'\nours maint a b").held


def test_a_site_without_a_manage_py(shell: Shell) -> None:
    assert shell.run("$ python manage.py --version\n" + _django()).held
    assert shell.run("$ timeout 50 python manage.py --version\n" + _django()).held


def test_how_commands_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "manage.py").touch()
    command = "python manage.py maint status; mypython manage.py x"
    away = Calling("/venv/bin/python", "/srv/site/manage.py", "/srv/site")
    shown = "/venv/bin/python /srv/site/manage.py maint status; mypython manage.py x"
    assert away.filled(command) == shown
    assert Calling("/venv/bin/python", "", "/srv").filled("python manage.py x") == (
        "/venv/bin/python -m django x"
    )
    assert Calling("/a b/python", "", "/srv").filled(command) == command
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    here = Calling(sys.executable, str(tmp_path / "manage.py"), str(tmp_path))
    assert here.as_written == (Path(sys.executable).parent / "python").exists()
    assert shlex.split(here.words) == [sys.executable, str(tmp_path / "manage.py")]


def test_our_own_commands_can_be_pasted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, manage = "manage.py maint runbook StuckTask 'a b'", tmp_path / "a b" / "manage.py"
    assert pasted(command) == command  # this process is none of Django's
    monkeypatch.setattr(sys, "argv", ["/lib/django/__main__.py", "maint"])
    assert pasted(command) == f"{sys.executable} -m django maint runbook StuckTask 'a b'"
    assert pasted("rqworker") == "rqworker"
    manage.parent.mkdir()
    manage.touch()
    monkeypatch.setattr(sys, "argv", [str(manage), "maint"])
    assert shlex.split(pasted(command)) == [
        *(sys.executable, str(manage)),
        *("maint", "runbook", "StuckTask", "a b"),
    ]
    monkeypatch.chdir(manage.parent)
    monkeypatch.setattr(sys, "argv", ["manage.py", "maint"])
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert pasted(command) == f"python {command}"


def _django() -> str:
    import django

    return django.get_version()
