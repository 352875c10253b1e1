"""Filling in: what is shown can be pasted, whatever a value holds."""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path

import pytest

from argus_maint.runbooks.calling import Calling
from argus_maint.runbooks.fill import (
    WrongValue,
    filled_command,
    filled_line,
    filled_text,
    shell_word,
    values_of,
)
from argus_maint.runbooks.page import parse_text
from tests.runbooks.test_shell import HOSTILE
from tests.runbooks.texts import MATTER, console, page

ANY = MATTER.replace("QUEUE, WORKER", "QUEUE, WORKER, PID, TASK_ID, TASKS, DATABASE")
HERE = page(matter=ANY)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_filled_command_prints_the_value_and_does_nothing_else(
    value: str, tmp_path: Path
) -> None:
    command = filled_command('printf %s "$QUEUE"', {"QUEUE": value}, None)
    assert command.isprintable()
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.decode() == value
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_adds_no_line_and_no_control_character_to_a_page(value: str) -> None:
    there = page(console('$ one "$QUEUE"\n> two\n$QUEUE\n$ three'))
    before, after = filled_text(there, {}), filled_text(there, {"QUEUE": value})
    assert after.replace("\n", "").isprintable()
    assert len(after.split("\n")) == len(before.split("\n"))
    assert [line[:2] == "$ " for line in after.split("\n")] == [
        line[:2] == "$ " for line in before.split("\n")
    ]


@pytest.mark.parametrize("value", ["$ reboot", "> reboot", "```"])
def test_a_value_does_not_pass_for_a_command(value: str) -> None:
    assert filled_line("$QUEUE", {"QUEUE": value}) == "$QUEUE"
    assert filled_line("in $QUEUE", {"QUEUE": value}) == f"in {value}"


def test_words() -> None:
    assert shell_word("emails") == "emails"
    assert shell_word("it's") == "'it'\"'\"'s'"
    assert shell_word("a\n'\\\x1b\u202e") == r"$'a\x0a\'\\\x1b\u202e'"


def test_values_come_from_the_evidence_and_by_hand() -> None:
    evidence = {"queue": "emails", "pid": 4711, "tasks": 0, "database": "mysql", "other": "x"}
    values = values_of(HERE, evidence, {"WORKER": "w1"})
    assert values.known == {
        "WORKER": "w1",
        "QUEUE": "emails",
        "PID": "4711",
        "TASKS": "0",
        "DATABASE": "mariadb",
    }
    assert values.missing == {"TASK_ID": "the id of a task"}
    assert values_of(HERE, evidence, {"QUEUE": "other"}).known["QUEUE"] == "other"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QUEUE", "--yes"),
        ("QUEUE", "-"),
        ("QUEUE", ""),
        ("QUEUE", "a\0b"),
        ("QUEUE", "a" * 1001),
        ("QUEUE", "\ud800"),
        ("QUEUE", ["a"]),
        ("QUEUE", None),
        ("QUEUE", True),
        ("PID", "-1"),
        ("PID", 0),
        ("PID", 1),
        ("PID", "12; reboot"),
        ("PID", "٣٤"),
        ("TASKS", "many"),
        ("TASK_ID", "0f3c9a1e"),
    ],
)
def test_what_no_command_should_get(name: str, value: object) -> None:
    assert name in values_of(HERE, {name.lower(): value}, {}).missing
    if isinstance(value, str):
        with pytest.raises(WrongValue) as error:
            values_of(HERE, {}, {name: value})
        assert str(error.value).isprintable()


def test_a_task_id_with_and_without_dashes() -> None:
    task = uuid.uuid4()
    for text in (str(task), task.hex):
        assert values_of(HERE, {"task_id": text}, {}).known["TASK_ID"] == text


def test_a_variable_that_the_page_does_not_have() -> None:
    with pytest.raises(WrongValue, match='Did you mean "QUEUE"'):
        values_of(HERE, {}, {"QUEU": "x"})


def test_what_is_for_others_is_taken_out_with_the_line_above_it() -> None:
    there = parse_text(
        Path("NoWorkers.md"),
        page(
            mitigation="First:\n\n"
            + console("$ all")
            + "\n\nBy hand,\nas ever:\n\n"
            + console("$ by hand", "supervisor=hand")
            + "\n\nWith systemd:\n\n"
            + console("$ with systemd", "supervisor=systemd")
            + "\n\nThen wait."
        ).text,
    )
    text = filled_text(there, {}, supervisor="systemd")
    mitigation = text.split("## Mitigation\n")[1].split("\n## Verify")[0]
    assert mitigation == (
        "\nFirst:\n\n```console\n$ all\n```\n\n"
        "With systemd:\n\n```console\n$ with systemd\n```\n\nThen wait.\n"
    )
    assert "by hand" in filled_text(there, {})


PROSE = """\
It is `$QUEUE` of "$QUEUE", not `$OTHER`: `python manage.py maint pause "$QUEUE" --why TEXT`,
or `python
manage.py maint status`. No code: python manage.py, $QUEUE.
"""


def test_what_is_code_in_prose_is_filled_in_too() -> None:
    there = page(PROSE + "\n" + console('$ python manage.py x "$QUEUE"\n`$QUEUE`'))
    calling = Calling("/venv/bin/python", "/srv/manage.py", "/srv")
    text = filled_text(there, {"QUEUE": "a b"}, calling)
    assert (
        """\
It is `'a b'` of "$QUEUE", not `$OTHER`: `/venv/bin/python /srv/manage.py maint pause 'a b' --why TEXT`,
or `/venv/bin/python /srv/manage.py maint status`. No code: python manage.py, $QUEUE.

```console
$ /venv/bin/python /srv/manage.py x 'a b'
`a b`
```
"""  # noqa: E501
        in text
    )
    assert "`python manage.py maint pause 'a b' --why TEXT`" in filled_text(there, {"QUEUE": "a b"})


@pytest.mark.parametrize("value", ["a`b", "`", "``` x"])
def test_a_value_does_not_end_the_code_that_it_stands_in(value: str) -> None:
    assert "It is `$QUEUE` of" in filled_text(page(PROSE + "\n" + console("$ x")), {"QUEUE": value})


def test_the_front_matter_and_attributes_are_not_shown() -> None:
    text = filled_text(page(console("$ one", "retry=20s")), {})
    assert text.startswith("# NoWorkers\n")
    assert "retry" not in text
