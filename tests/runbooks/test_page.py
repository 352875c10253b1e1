"""What a page may hold, and that everything else is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from argus_maint.runbooks.page import SECTIONS, PageError, parse, parse_text
from tests.runbooks.texts import MATTER, console, page, text

FILE = Path("NoWorkers.md")


def refused(source: str) -> str:
    with pytest.raises(PageError) as error:
        parse_text(FILE, source)
    assert "\n" not in str(error.value)
    return str(error.value)


def at(source: str, needle: str) -> str:
    """``file:line: `` of the first line that begins so."""
    number = next(
        n for n, line in enumerate(source.split("\n"), 1) if f"{line}\n".startswith(needle)
    )
    return f"{FILE}:{number}: "


def test_a_command_its_output_and_its_status() -> None:
    steps = page(console("$ one\n> two\n>\n> three\n> is\n\noutput\n\n[3]\n$ next")).steps
    assert [step.section for step in steps] == ["Diagnosis"] * 2 + ["Mitigation", "Verify"]
    assert steps[0].command == "one\ntwo\n\nthree\nis"
    assert steps[0].expected == ("", "output", "")
    assert steps[0].status == 3
    assert (steps[1].command, steps[1].expected, steps[1].status) == ("next", (), 0)


def test_a_step_knows_its_lines() -> None:
    source = text(console("$ one\n> two\nout\n$ three"))
    steps = parse_text(FILE, source).steps
    lines = source.split("\n")
    assert [lines[step.line - 1] for step in steps[:2]] == ["$ one", "$ three"]
    assert [step.lines for step in steps[:2]] == [2, 1]


def test_a_number_in_brackets_is_a_status_at_the_end_only() -> None:
    step = page(console("$ one\n[1]\nmore")).steps[0]
    assert (step.status, step.expected) == (0, ("[1]", "more"))


def test_attributes() -> None:
    fence = console(
        "$ one", 'supervisor=systemd database=postgresql retry=20s limit=2m step="Start it again"'
    )
    step = page(mitigation=fence + "\n\n" + console("$ two")).steps[1]
    assert (step.supervisor, step.database) == ("systemd", "postgresql")
    assert (step.retry, step.limit, step.title) == (20, 120, "Start it again")


def test_what_has_to_be_judged_before_a_step() -> None:
    judged = console("$ one", 'ask="May it run twice?" retry=2s')
    steps = page(mitigation=judged + "\n\n" + console("$ two")).steps
    assert [step.ask for step in steps] == ["", "May it run twice?", "", ""]
    assert steps[1].retry == 2
    assert "ask is empty" in refused(text(mitigation=console("$ one", 'ask=" "')))


def test_variants() -> None:
    both = console("$ one", "supervisor=hand") + "\n\n" + console("$ two", "supervisor=systemd")
    there = page(mitigation=both + "\n\n" + console("$ three", "database=sqlite"))

    def of(supervisor: str = "", database: str = "") -> list[str]:
        steps = there.steps_for(supervisor, database)
        return [step.command for step in steps if step.section == "Mitigation"]

    assert of() == ["one", "two", "three"]
    assert of("hand") == ["one", "three"]
    assert of("systemd", "postgresql") == ["two"]


def test_front_matter() -> None:
    there = page(matter=MATTER.replace("No worker is running at all", '"Now: none"'))
    assert there.name == "NoWorkers"
    assert there.matter.summary == there.matter.raw["summary"] == "Now: none"
    assert there.matter.variables == ("QUEUE", "WORKER")
    assert there.matter.supervisors == ("hand", "systemd")
    assert page(matter=MATTER.replace("supervisors: hand, systemd", "supervisors: hand"))


@pytest.mark.parametrize(
    ("was", "becomes", "line", "message"),
    [
        ("alert: NoWorkers", "alert: NoWorker", 2, "the name of the file"),
        ("severity: critical", "severity: critcal", 3, 'Did you mean "critical"'),
        ("severity: critical\n", "", 7, "needs 'severity: ...'"),
        ("summary: No", "summary: No: ", 4, "double quotes"),
        ("summary: No", "summary: [No", 4, "double quotes"),
        ("fault: no-workers", "fault:", 5, "needs 'fault: ...'"),
        ("fault: no-workers", "fault: a\nfault: b", 6, "there twice"),
        ("fault: no-workers", "falt: a", 5, 'Did you mean "fault"'),
        ("QUEUE, WORKER", "QUEU", 6, 'Did you mean "QUEUE"'),
        ("QUEUE, WORKER", "PATH", 6, "It must be one of QUEUE"),
        ("hand, systemd", "hand, sytemd", 7, 'Did you mean "systemd"'),
        ("fault: no-workers", "no-workers", 5, "key: value"),
        ("---\nalert", "alert", 1, "must begin with front matter"),
    ],
)
def test_wrong_front_matter(was: str, becomes: str, line: int, message: str) -> None:
    said = refused(text(matter=MATTER.replace(was, becomes, 1)))
    assert said.startswith(f"{FILE}:{line}: ")
    assert message in said


@pytest.mark.parametrize(
    ("fence", "line", "message"),
    [
        (console("output\n$ one"), "output", "output before the first"),
        (console("$ one\n$ \nx"), "$ \n", "a prompt without a command"),
        (console("$ one\n[256]"), "$ one", "exits with 256"),
        ("```console\n```", "```console", "at least one line"),
        (console("$ one", "rety=20s"), "```console", 'Did you mean "retry"'),
        (console("$ one", "retry=soon"), "```console", "retry"),
        (console("$ one", "retry=0"), "```console", "longer than 0"),
        (console("$ one", "retry=1s retry=2s"), "```console", "there twice"),
        (console("$ one", "now"), "```console", "key=value"),
        (console("$ one", "database=postgres"), "```console", 'Did you mean "postgresql"'),
        (console("$ one", "supervisor=runit"), "```console", "in the front matter"),
        ("```sh\n$ one\n```", "```sh", "neither executed nor inert"),
        ("```\n$ one\n```", "```", "neither executed nor inert"),
        ("~~~console\n$ one\n~~~", "~~~", ""),
        ("    $ one", "    $", "indented code"),
        ("<div>\n```console\n$ one\n```\n</div>", "<div>", "HTML"),
        ("<!--\n```console\n$ one\n```\n-->", "<!--", "HTML"),
        ("Look at <b>this</b>.", "Look", "HTML"),
        ("- so:\n\n  ```console\n  $ one\n  ```", "  ```console", "in a list"),
        ("> ```console\n> $ one\n> ```", "> ```console", "in a list"),
        (console('$ one "$HOST"'), "$ one", "not among the page's variables"),
        (console('$ one\n> "$QUEUES"'), '> "$QUEUES"', 'Did you mean "QUEUE"'),
        (console('$ one\nfor $HOST'), "for", "not among the page's variables"),
        (console("$ one $QUEUE"), "$ one", "alone in double quotes"),
        (console("$ one '$QUEUE'"), "$ one", "alone in double quotes"),
        (console('$ one "a $QUEUE"'), "$ one", "alone in double quotes"),
        (console('$ one "${QUEUE}"'), "$ one", "alone in double quotes"),
        (console('$ one "a "$QUEUE""'), "$ one", "alone in double quotes"),
        (console('$ one "$(two $QUEUE)"'), "$ one", "alone in double quotes"),
        (console("$ one\u00a0two"), "$ one", "cannot be seen"),
        (console("$ one\u202etwo"), "$ one", "cannot be seen"),
        (console("$ one\x0ctwo"), "$ one", "cannot be seen"),
    ],
)  # fmt: skip
def test_a_wrong_fence(fence: str, line: str, message: str) -> None:
    source = text(fence)
    said = refused(source)
    assert said.startswith(at(source, line))
    assert message in said


@pytest.mark.parametrize(
    "command",
    [
        'one "$QUEUE"',
        'one --queue="$QUEUE" x',
        'one "$(two "$QUEUE")"',
        'one "it\'s" "$QUEUE" \'a "b\'',
        'for each in "$QUEUE"; do echo "$each" "${each%.*}"; done',
        "awk '{print $1}' | kill $!",
        r'one \"$x "$QUEUE"',
    ],
)
def test_a_variable_may_be_used_so(command: str) -> None:
    assert page(console(f"$ {command}")).steps[0].command == command


def test_a_fence_that_is_not_closed() -> None:
    source = text().split("## Escalation")[0] + "## Escalation\n\n```text\nCall.\n"
    assert refused(source).startswith(at(source, "```text"))


def test_commands_do_not_belong_into_the_first_sections() -> None:
    source = text().replace("Nothing runs.", console("$ early"))
    assert "Impact has no commands" in refused(source)


@pytest.mark.parametrize("section", ["Diagnosis", "Mitigation", "Verify"])
def test_a_section_without_a_command(section: str) -> None:
    source = text(**{section.lower(): "Look around."})
    assert refused(source) == at(source, f"## {section}") + f"{section} has no command"


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_that_is_missing_or_misspelt(section: str) -> None:
    source = text().replace(f"## {section}\n", f"### {section}\n")
    assert f"'## {section}'" in refused(source)
    source = text().replace(f"## {section}\n", f"## {section}s\n")
    assert refused(source).startswith(at(source, f"## {section}s"))


def test_a_section_too_many() -> None:
    source = text() + "\n## Links\n"
    assert refused(source) == at(source, "## Links") + "no section follows Escalation"


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "NoWorkers.md"
    with pytest.raises(PageError, match="cannot be read"):
        parse(path)
    path.write_bytes(b"---\n\xff")
    with pytest.raises(PageError, match="not UTF-8"):
        parse(path)


def test_line_ends_of_windows_count_the_same(tmp_path: Path) -> None:
    path = tmp_path / "NoWorkers.md"
    path.write_bytes(text(console("$ one\ntwo")).replace("\n", "\r\n").encode())
    assert parse(path).steps == page(console("$ one\ntwo")).steps
