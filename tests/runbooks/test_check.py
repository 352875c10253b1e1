"""The pages as a whole: nothing is missing, and nothing leads nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from argus_maint.conf_findings import CODES
from argus_maint.drills import faults as drills
from argus_maint.runbooks import places
from argus_maint.runbooks.check import check
from argus_maint.runbooks.page import parse
from tests.runbooks.proof import pages
from tests.runbooks.texts import MATTER, console, text

ONE = {"NoWorkers": CODES["NoWorkers"]}
FAULTS = {"no-workers"}
PLAIN = MATTER.replace("QUEUE, WORKER", "")


def problems(folder: Path, source: str) -> list[str]:
    (folder / "NoWorkers.md").write_text(source)
    found = check(folder, ONE, FAULTS)
    return [each.removeprefix(f"{folder}/") for each in found]


def test_every_code_has_its_page_and_its_fault_and_each_page_is_right() -> None:
    faults = {each.name for each in drills.FAULTS.values()}
    assert check(places.folder(), CODES, faults) == []
    assert {each.code for each in drills.FAULTS.values()} == CODES.keys()


# What is right only if somebody has looked, and what nothing takes back.
GRAVE = (
    *(
        "git revert",
        'kill "$PID"',
        "KILL %d",
        "_backend(%d)",
        " VACUUM;",
        "VACUUM (FULL",
        "OPTIMIZE",
    ),
    *('maint run "$JOB"', "maint prune --max", "maint discard", "maint requeue", " --kill"),
    *("maint resolve ZombieWrite", "manage.py migrate;"),
)


def test_what_is_for_a_person_to_judge_is_asked_first() -> None:
    steps = [step for path in pages(places.folder()) for step in parse(path).steps]
    grave = [
        step
        for step in steps
        if any(words in step.command for words in GRAVE) and "--dry-run" not in step.command
    ]
    assert {words for words in GRAVE if not any(words in each.command for each in grave)} == set()
    assert [each.command for each in grave if not each.ask] == []


def test_a_code_without_a_page_and_a_page_without_a_code(tmp_path: Path) -> None:
    (tmp_path / "NoWorker.md").write_text("anything")
    assert check(tmp_path, ONE, FAULTS) == [
        f"{tmp_path}/NoWorkers.md:1: NoWorkers has no runbook",
        f"{tmp_path}/NoWorker.md:1: no finding is called 'NoWorker'. Did you mean \"NoWorkers\"?",
    ]


def test_a_page_that_cannot_be_read(tmp_path: Path) -> None:
    source = text(console("$ one"), matter=PLAIN).replace("## Impact", "## Inpact")
    assert problems(tmp_path, source) == [
        f"NoWorkers.md:{source.split(chr(10)).index('## Inpact') + 1}: "
        "here must be '## Impact', not 'Inpact'"
    ]


def test_a_page_that_is_right(tmp_path: Path) -> None:
    assert problems(tmp_path, text(matter=PLAIN)) == []
    used = text(console('$ one "$QUEUE"\nof $WORKER'))
    used = used.replace("```console\n$ one", "Look at `$QUEUE` and `$WORKER`.\n\n```console\n$ one")
    assert problems(tmp_path, used) == []


@pytest.mark.parametrize(
    ("matter", "message"),
    [
        (PLAIN.replace("critical", "warning"), "severity must be critical"),
        (PLAIN.replace("fault: no-workers", "fault: no-worker"), 'Did you mean "no-workers"'),
        (MATTER.replace("QUEUE, WORKER", "QUEUE"), "no command uses $QUEUE"),
    ],
)
def test_front_matter_that_does_not_fit(tmp_path: Path, matter: str, message: str) -> None:
    (found,) = problems(tmp_path, text(matter=matter))
    assert found.startswith("NoWorkers.md:1: ")
    assert message in found


def test_a_variable_that_nobody_explains(tmp_path: Path) -> None:
    matter = MATTER.replace("QUEUE, WORKER", "HOST")
    (found,) = problems(tmp_path, text(console('$ one "$HOST"'), matter=matter))
    assert "Diagnosis does not say what $HOST is" in found


def test_a_variant_that_leaves_others_without_a_command(tmp_path: Path) -> None:
    there = "By hand:\n\n" + console("$ one", "supervisor=hand")
    found = problems(tmp_path, text(mitigation=there, matter=PLAIN))
    assert len(found) == 3  # one for each database
    assert "Mitigation has no command for systemd with sqlite" in found[0]
    both = there + "\n\n" + console("$ two", "supervisor=systemd")
    (found_,) = problems(tmp_path, text(mitigation=both, matter=PLAIN))
    assert "say above it, with a colon, that it is for systemd" in found_


@pytest.mark.parametrize("wrong", ["kill <pid>", "TODO: say more"])
def test_a_placeholder(tmp_path: Path, wrong: str) -> None:
    inert = text(mitigation=f"```text\n{wrong}\n```\n\n{console('$ true')}", matter=PLAIN)
    assert problems(tmp_path, inert) == []
    (found,) = problems(tmp_path, text(console(f"$ {wrong}"), matter=PLAIN))
    assert "placeholder" in found


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("[x](StuckTasks.md)", "there is no such file"),
        ("[x](#nowhere)", "no such heading"),
        ("[x](NoWorkers.md#nowhere)", "no such heading"),
        ("[x](http://example.org)", "only https"),
        ("![x](picture.svg)", "there is no such file"),
        ("[x][nowhere]", "this is no link"),
    ],
)
def test_a_link_that_leads_nowhere(tmp_path: Path, link: str, message: str) -> None:
    source = text(matter=PLAIN).replace("Call somebody.", f"Call {link}.")
    (found,) = problems(tmp_path, source)
    line = source.split("\n").index(f"Call {link}.") + 1
    assert found.startswith(f"NoWorkers.md:{line}: ")
    assert message in found


@pytest.mark.parametrize("link", ["#verify", "NoWorkers.md#impact", "https://example.org/x"])
def test_a_link_that_is_right(tmp_path: Path, link: str) -> None:
    source = text(matter=PLAIN).replace("Call somebody.", f"Call [x]({link}).")
    assert problems(tmp_path, source) == []
