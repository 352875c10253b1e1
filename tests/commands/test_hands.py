"""The levers of ``maint`` on command lines: what they say, ask, and refuse."""

from __future__ import annotations

import sys

import pexpect
import pytest
from django.core.management import CommandError
from django.test import override_settings
from django_tasks_db.models import DBTaskResult

from argus_maint.exceptions import TaskQuarantined
from argus_maint.jobs.objections import path_of
from argus_maint.models import Act, LedgerEntry, Pause, Process
from tests import rows, tasks
from tests.commands.calls import as_json, maint, wrong
from tests.lab import Lab, until
from tests.observe import notes

pytestmark = pytest.mark.django_db
WHY = ("--why", "mail is down")
NAMED = {
    "default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["default", "mail"]},
    "bulk": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["bulk"]},
    "now": {"BACKEND": "tests.nowhere.Backend"},
}


def _status(*arguments: str) -> tuple[str, int]:
    with pytest.raises(CommandError) as error:
        maint(*arguments)
    return str(error.value), error.value.returncode


# -- pause, resume, drain -------------------------------------------------------------


def test_a_pause_says_what_waits_and_how_to_take_it_back() -> None:
    rows.task(queue_name="mail"), rows.task("RUNNING", queue_name="mail", workers=("w",))
    head, end, *rest = maint("pause", "mail", *WHY, "--until", "150m").splitlines()
    assert head == "PAUSED  mail" and end.startswith("  ends in 2h2")
    assert end.endswith(": mail is down")
    assert rest == [
        "  1 ready task will wait, 1 running goes on to the end",
        "  To take it back:  manage.py maint resume mail",
    ]
    told = as_json("pauses", "pause", "mail", "--why", "still down")
    assert (told["kind"], told["changed"], told["ready"]) == ("argus_maint.pause", True, 1)
    assert (told["before"]["why"], told["now"]["why"]) == ("mail is down", "still down")
    assert told["now"]["until"] is None
    assert maint("resume", "mail").splitlines()[0] == "RESUMED  mail"
    assert maint("resume", "mail") == "mail is not paused: nothing to do\n"
    assert as_json("pauses", "resume", "mail")["changed"] is False
    assert not Pause.objects.exists()


def test_a_dry_run_of_a_pause_writes_nothing() -> None:
    rows.task(queue_name="mail")
    assert "DRY RUN  would pause mail" in maint("pause", "mail", *WHY, "--dry-run")
    assert as_json("pauses", "pause", "mail", *WHY, "--dry-run")["now"] is None
    assert not Pause.objects.exists() and not Act.objects.exists()


def test_a_drain_names_a_supervisor() -> None:
    rows.process("web", 0, kind="supervisor")
    worker = rows.process("web", 1)
    rows.task("RUNNING", workers=(worker.worker_id,))
    text = maint("drain", "web", "--why", "new kernel")
    assert text.startswith("DRAINED  web\n")
    assert "1 running goes on to the end" in text and "maint drain web --undo" in text
    told = as_json("pauses", "drain", "web", "--undo")
    assert (told["kind"], told["before"]["worker"]) == ("argus_maint.undrain", "web")
    assert maint("drain", "web", "--undo") == "web is not drained: nothing to do\n"


def test_wrong_names_have_the_nearest() -> None:
    rows.task(queue_name="mail")
    rows.process("web", 0, kind="supervisor")
    assert 'Did you mean "mail"?' in wrong("pause", "mial", *WHY)
    assert 'Did you mean "mail"?' in wrong("resume", "mial")
    assert 'Did you mean "web"?' in wrong("drain", "wbe", *WHY)
    assert wrong("drain", "web.1", *WHY).startswith("web.1 is one worker; its supervisor")
    assert "TASKS has no backend" in wrong("pause", "mail", *WHY, "--backend", "defualt")
    with override_settings(TASKS=NAMED):
        assert "has no queues that a db_worker takes from" in wrong(
            "pause", "mail", *WHY, "--backend", "now"
        )
        assert maint("pause", "bulk", *WHY, "--backend", "bulk", "--dry-run")
        line, status = _status("move", "--queue", "mail", "--to", "mial")
        assert status == 2 and line.startswith("No queue 'mial'. Did you mean \"mail\"?")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("pause", "default"), "A pause needs a reason"),
        (("drain", "web"), "A drain needs a reason"),
        (("bury", "web"), "A burial needs a reason"),
        (("pause", "default", "--why", " "), "give a reason"),
        (("pause", "default", "--why", "x", "--until", "0"), "longer than 0"),
        (("drain", "web", "--undo", "--wait"), "do not go with --undo"),
        (("move", "--queue", "a"), "Say where they are to go: --to QUEUE"),
        (("move", "--to", "b"), "Say which tasks: ids or --queue"),
        (("move", "--queue", "a", "--to", "a"), "in queue a already"),
        (("move", "--queue", "a", "--to", 33 * "x"), "too long for a queue"),
        (("move", "abcd", "--queue", "a", "--to", "b"), "not both"),
        (("priority", "101", "--queue", "a"), "from -100 to 100"),
        (("priority", "x", "--queue", "a"), "from -100 to 100"),
        (("priority", "5"), "Say which tasks"),
        (("release",), "Say which tasks: ids or --task or --all"),
        (("release", "--all", "--task", "a"), "not both"),
        (("discard",), "Say which tasks: ids or --failed or --quarantined"),
        (("discard", "--failed", "--quarantined"), "not both"),
        (("discard", "--quarantined", "--since", "1h"), "--since goes with --failed"),
        (("bury", "nobody", "--why", "x"), "No process is called 'nobody'"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments: tuple[str, ...], part: str) -> None:
    line, status = _status(*arguments)
    assert part in line and "\n" not in line
    assert status in (1, 2)


# -- tasks ------------------------------------------------------------------------------


def test_tasks_are_moved_by_queue_and_by_id() -> None:
    mails = [rows.task(queue_name="mail", path=f"shop.tasks.{name}") for name in "ab"]
    told = as_json("levers", "move", "--queue", "mail", "--task", "*.a", "--to", "bulk")
    assert (told["kind"], told["to"], told["counts"]["done"]) == ("argus_maint.move", "bulk", 1)
    assert maint("move", str(mails[1].pk), "--to", "bulk").startswith("DONE  1 moved\n")
    assert DBTaskResult.objects.filter(queue_name="bulk").count() == 2
    told = as_json("levers", "priority", "-7", "--queue", "bulk", "--why", "later")
    assert (told["priority"], told["counts"]["done"]) == (-7, 2)
    assert set(DBTaskResult.objects.values_list("priority", flat=True)) == {-7}
    assert "moved" in maint("history", "--action", "moved")


def test_many_without_a_terminal_need_a_yes() -> None:
    for _ in range(101):
        rows.task(queue_name="mail")
    assert "then add --yes" in _status("move", "--queue", "mail", "--to", "bulk")[0]
    assert not LedgerEntry.objects.exists()
    assert maint("move", "--queue", "mail", "--to", "bulk", "--yes").startswith("DONE  101 moved")


def test_quarantined_tasks_are_released_or_discarded() -> None:
    path = path_of(TaskQuarantined)
    one, two, plain = (
        rows.task("FAILED", workers=("a",), **({"exception_class_path": path} if poison else {}))
        for poison in (True, True, False)
    )
    assert as_json("levers", "release", str(one.pk))["counts"]["done"] == 1
    assert as_json("levers", "discard", "--quarantined")["tasks"][0]["task_id"] == str(two.pk)
    assert as_json("levers", "release", "--all")["found"] == 0
    told = as_json("levers", "discard", "--failed", "--since", "1h", "--why", "seen")
    assert [each["task_id"] for each in told["tasks"]] == [str(plain.pk)]
    assert as_json("levers", "discard", "--failed")["found"] == 0


# -- bury ---------------------------------------------------------------------------------


def test_a_burial_needs_a_yes_and_says_what_comes_of_it() -> None:
    rows.process("far", 0, kind="supervisor", host=rows.elsewhere(), silent=1)
    worker = rows.process("far", 1, host=rows.elsewhere(), silent=1)
    row = rows.task("RUNNING", workers=(worker.worker_id,))
    line, status = _status("bury", "far.1", *WHY)
    assert "holding 1 task: look with --dry-run, then add --yes" in line and status == 1
    dry = maint("bury", "far.1", *WHY, "--dry-run")
    assert "DRY RUN" in dry and "ITS LEASE HAS NOT RUN OUT" in dry and "runs twice" in dry
    assert as_json("bury", "bury", "far.1", *WHY, "--dry-run")["seems_alive"] is True
    assert Process.objects.get(pk=worker.pk).state == "alive" and not Act.objects.exists()
    told = as_json("bury", "bury", "far.1", *WHY, "--yes")
    assert told["processes"] == [worker.worker_id]
    assert [(act["task_id"], act["action"]) for act in told["acts"]] == [(str(row.pk), "requeued")]
    row.refresh_from_db()
    assert row.status == "READY"


@pytest.mark.django_db(transaction=True)
def test_a_buried_worker_that_is_alive_registers_anew_and_its_result_is_refused(lab: Lab) -> None:
    """On this host that it lives is proved, and it is refused; so it seems to be on another."""
    web = lab.worker("--lease=6", name="web").ready()
    held = tasks.wait_for.enqueue(lab.path("go"))
    holder = lab.holder(held)
    text = lab.manage("maint", "bury", "web", *WHY, "--yes", check=False)
    assert text.returncode == 1 and "is alive: pid" in text.stderr  # refused: on this very host
    Process.objects.filter(name="web").update(boot_id="another")
    lab.manage("maint", "bury", "web", *WHY, "--yes")
    assert "put down as dead by" in lab.ledger(held)[0].evidence
    until(lambda: "process.replaced" in web.log)
    (lab.folder / "go").touch()
    until(lambda: any(each.action == "refused" for each in lab.ledger(held)), 60)
    row = lab.until_status(held, "SUCCESSFUL", 60)
    assert row.worker_ids[0] == holder.worker_id and len(row.worker_ids) > 1


# -- on a terminal --------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("answer", ["y", "n"])
def test_each_asks_a_person(lab: Lab, answer: str) -> None:
    row = rows.task(queue_name="mail")
    dead = rows.process("far", 0, kind="supervisor", host=rows.elsewhere(), silent=600)
    for name in ("mail", "bulk"):
        notes.finding("QueueBacklog", name)
    for question, *arguments in (
        ("Pause queue mail? 1 ready task will wait.", "pause", "mail", *WHY),
        ("Move these 1 tasks?", "move", "--queue", "mail", "--to", "bulk"),
        ("Bury far?", "bury", "far", *WHY),
        ("Ack these 2 findings?", "ack", "QueueBacklog", "--for=1h", *WHY),
    ):
        terminal = pexpect.spawn(
            sys.executable,
            ["-m", "django", "maint", *arguments],
            env={**lab.env, "TERM": "xterm"},
            encoding="utf-8",
            timeout=60,
        )
        terminal.expect_exact(f"{question} [y/N] ")
        terminal.sendline(answer)
        text = terminal.read()
        terminal.close()
        assert terminal.exitstatus == (answer == "n"), text
        assert ("Nothing was done." in text) is (answer == "n")
    row.refresh_from_db()
    dead.refresh_from_db()
    done = (row.queue_name, dead.reason, Pause.objects.count())
    assert done == (("bulk", "buried", 1) if answer == "y" else ("mail", "", 0))
