"""``manage.py maint`` as a person or a script sees it: output and exit status."""

from __future__ import annotations

import io
import json
import re
import uuid
from typing import Any

import pytest
from django.core.management import call_command

from argus_maint.models import LedgerEntry, Sighting
from argus_maint.workers import identity
from tests import rows
from tests.commands.calls import as_json, maint, wrong

pytestmark = pytest.mark.django_db


def _exits(*arguments: str) -> tuple[int, str]:
    """Exit status and output, where it is not 0."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as exit_:
        call_command("maint", *arguments, stdout=out, stderr=io.StringIO())
    return int(exit_.value.code or 0), out.getvalue()


# -- looking ------------------------------------------------------------------


def test_status_in_a_pipe_is_plain() -> None:
    rows.process()
    rows.lost()
    out = maint("status")
    assert out.splitlines()[0] == "UNHEALTHY  1 task lost  manage.py maint rescue"
    assert "\x1b" not in out
    assert not re.search(r" $", out, re.MULTILINE)


def test_status_names_a_worker_as_the_screen_does() -> None:
    family = uuid.uuid4()
    rows.process("vm", 0, kind="supervisor", supervisor=family)
    rows.process("vm", 3, supervisor=family)
    (head,) = as_json("status", "status")["processes"]
    (worker,) = head["workers"]
    assert (head["name"], head["label"]) == ("vm", "vm")
    assert (worker["name"], worker["label"]) == ("vm", "vm.3")


def test_tasks_lists_what_has_not_finished_those_that_run_first() -> None:
    owner = rows.process("web")
    rows.task(path="shop.a", age=60)
    running = rows.task("RUNNING", path="shop.b", workers=(owner.worker_id,), age=605)
    rows.task(path="shop.c", run_after=rows.ago(-7200))
    rows.task("FAILED")
    listed = [line.split() for line in maint("tasks").splitlines()[1:]]
    assert [line[1] for line in listed] == ["running", "ready", "scheduled"]
    assert listed[0][0] == str(running.pk)[: len(listed[0][0])]
    assert listed[0][2:] == ["~10m", "default", "shop.b", "1", "web.1"]
    assert listed[2][2:4] == ["in", "~1h59m"]


@pytest.mark.parametrize(
    ("arguments", "paths"),
    [
        (["--state", "ready"], {"shop.new", "shop.old"}),
        (["--state", "scheduled"], {"shop.later"}),
        (["--state", "failed"], {"shop.failed", "shop.poison"}),
        (["--state", "successful"], {"shop.done"}),
        (["--state", "quarantined"], {"shop.poison"}),
        (["--state", "running"], {"shop.runs", "shop.lost", "shop.stock", "shop.overdue"}),
        (["--state", "lost"], {"shop.lost"}),
        (["--state", "unregistered"], {"shop.stock"}),
        (["--state", "overdue"], {"shop.overdue"}),
        (["--older-than", "1h", "--state", "ready"], {"shop.old"}),
        (["--older-than", "1h"], {"shop.old", "shop.runs"}),
        (["--queue", "mail"], {"shop.mail"}),
        (["--task", "*.l*"], {"shop.later", "shop.lost"}),
        (["--task", "shop.new"], {"shop.new"}),
        (["--backend", "default", "--task", "shop.new"], {"shop.new"}),
    ],
)
def test_tasks_by_state_age_queue_and_path(arguments: list[str], paths: set[str]) -> None:
    owner = rows.process()
    rows.task(path="shop.new")
    rows.task(path="shop.old", age=7200)
    rows.task(path="shop.mail", queue_name="mail", run_after=rows.ago(-60))
    rows.task(path="shop.later", run_after=rows.ago(-60))
    rows.task("FAILED", path="shop.failed")
    poison = "argus_maint.exceptions.TaskQuarantined"
    rows.task("FAILED", path="shop.poison", exception_class_path=poison)
    rows.task("SUCCESSFUL", path="shop.done")
    rows.task("RUNNING", path="shop.runs", workers=(owner.worker_id,), age=7200)
    rows.task("RUNNING", path="shop.stock", workers=("stock",))
    late = rows.task("RUNNING", path="shop.overdue", workers=(owner.worker_id,))
    rows.entry(late, verdict="overdue", action="reported")
    rows.lost(path="shop.lost")
    if "scheduled" in arguments:
        paths = paths | {"shop.mail"}
    value = as_json("tasks", "tasks", *arguments)
    assert {each["task"] for each in value["tasks"]} == paths
    assert value["truncated"] is False


def test_tasks_says_when_there_are_more() -> None:
    for number in range(5):
        rows.task("FAILED", age=number * 10)
    value = as_json("tasks", "tasks", "--state", "failed", "--limit", "3")
    assert value["truncated"] and len(value["tasks"]) == 3
    ages = [each["age_approx"] for each in value["tasks"]]
    assert ages == sorted(ages)
    assert "there are more than these 3" in maint("tasks", "--state", "failed", "--limit", "3")


def test_history_is_newest_first_and_can_be_narrowed() -> None:
    one, other = rows.task(workers=("web.0123456789ab.2",)), rows.task(workers=("stock",))
    rows.entry(one, since=7000)
    rows.entry(other, since=60, action="failed")
    rows.entry(one, since=10, action="quarantined")

    def actions(*arguments: str) -> list[str]:
        value = as_json("history", "history", *arguments)
        return [each["action"] for each in value["entries"]]

    assert actions() == ["quarantined", "failed", "requeued"]
    assert actions("--task", one.pk.hex[:12]) == ["quarantined", "requeued"]
    assert actions("--since", "5m") == ["quarantined", "failed"]
    assert actions("--action", "failed") == ["failed"]
    for name in ("web", "web.2", "web.0123456789ab.2"):
        assert actions("--worker", name) == ["quarantined", "requeued"]
    assert actions("--worker", "we") == actions("--worker", "web.1") == []
    assert actions("--limit", "1") == ["quarantined"]
    lines = maint("history").splitlines()
    assert lines[1].split()[2:4] == ["quarantined", "SIGKILL"]
    assert lines[1].split()[-2:] == ["2s", "w@host"]


def test_history_of_one_task_has_the_evidence_in_full() -> None:
    row = rows.task(workers=("w.1",))
    stack = 'running for 9 s, limit 1 s\nThread 0x1 (most recent call first):\n  File "a.py"\x1b[2J'
    rows.entry(row, verdict="overdue", action="reported", evidence=stack, exit_signal="")
    rows.DBTaskResult.objects.all().delete()  # the ledger outlives it
    out = maint("history", "--task", str(row.pk))
    assert out.startswith(f"{row.pk}  tests.tasks.add  queue default\n")
    assert '      File "a.py"' in out
    assert "\x1b" not in out
    assert "last alive" in out and "2s before" in out


@pytest.mark.parametrize(
    ("reason", "signal", "status", "because"),
    [
        ("crashed", "SIGSEGV", None, "SIGSEGV"),
        ("crashed", "", 70, "exit 70"),
        ("shutdown", "SIGKILL", None, "shutdown (SIGKILL)"),
        ("shutdown", "", None, "shutdown"),
        ("overdue", "", 70, "overdue (exit 70)"),
        ("stuck", "SIGKILL", None, "stuck (SIGKILL)"),
        ("lost", "", None, "exited"),
    ],
)
def test_what_db_worker_did_itself_is_told_by_its_reason(
    reason: str, signal: str, status: int | None, because: str
) -> None:
    row = rows.task(workers=("web.0123456789ab.2",))
    rows.entry(row, reason=reason, exit_signal=signal, exit_status=status)
    assert f"requeued  {because:<7}  {row.pk.hex[:8]}" in maint("history")
    assert f"  {because:<7}  " in maint("status").splitlines()[-1]
    more = "" if reason in because else f", {reason}"
    assert f"requeued  {because}{more}, attempt 1\n" in maint("history", "--task", row.pk.hex)
    rows.DBTaskResult.objects.all().delete()
    owner = rows.process(
        "gone", state="ended", reason=reason, exit_signal=signal, exit_status=status
    )
    rows.task("RUNNING", workers=(owner.worker_id,))
    because = "worker is gone" if because == "exited" else because
    assert any(line.endswith(f"  {because}") for line in maint("status").splitlines())


def test_history_of_a_task_without_one_and_of_no_task() -> None:
    row = rows.task()
    out = maint("history", "--task", row.pk.hex[:8])
    assert out.startswith(f"{row.pk}  tests.tasks.add  queue default\n  now        READY since 20")
    assert "nothing on record" in out
    assert "No task has an id" in wrong("history", "--task", "deadbeef")


def test_history_of_a_failed_task_shows_why_it_failed_and_no_arguments() -> None:
    secret = {"args": ["s3cret"], "kwargs": {}}
    row = rows.task(
        "FAILED", workers=("w.1",), args_kwargs=secret, traceback="Traceback:\n\tValueError: no"
    )
    out = maint("history", "--task", str(row.pk))
    assert "now        FAILED with builtins.ValueError since 20" in out
    assert "attempt    1, with worker w.1" in out
    assert "    Traceback:\n            ValueError: no" in out
    now = as_json("history", "history", "--task", str(row.pk))["task"]
    assert (now["status"], now["exception"]) == ("FAILED", "builtins.ValueError")
    assert (now["traceback"], now["run_after"]) == ("Traceback:\n\tValueError: no", None)
    assert "s3cret" not in out + json.dumps(now)
    assert as_json("history", "history")["task"] is None


def test_history_lists_who_did_what_by_hand_and_why() -> None:
    rows.entry(rows.task(), noticed_by="web@host")
    call_command("maint", "fail", str(rows.task().pk), "--why", "customer is gone " * 9)
    out = maint("history")
    assert out.splitlines()[0].split()[-2:] == ["by", "why"]
    assert "customer is gone customer is gone customer is gone customer…" in out
    (user, _, host) = identity.operator().partition("@")
    for name in (user, f"{user}@{host}"):
        (entry,) = as_json("history", "history", "--by", name)["entries"]
        assert entry["action"] == "failed"
    (entry,) = as_json("history", "history", "--by", "web")["entries"]
    assert entry["action"] == "requeued"
    assert as_json("history", "history", "--by", user[:-1])["entries"] == []


# -- acting -------------------------------------------------------------------


def test_requeue_by_the_beginning_of_an_id() -> None:
    row = rows.task("FAILED", pk=uuid.UUID("0f3c9a1e" + "0" * 24))
    value = as_json("levers", "requeue", "0f3c-9a1e", "--why", "fixed")
    assert value["counts"]["done"] == 1
    assert value["tasks"][0]["outcome"] == "done"
    row.refresh_from_db()
    assert row.status == "READY"
    assert LedgerEntry.objects.get().evidence.endswith("Why: fixed")


def test_a_wrong_id_does_nothing_to_the_right_ones() -> None:
    row = rows.task("FAILED")
    assert "begins with beef" in wrong("requeue", str(row.pk), "beef" + "0" * 28)
    row.refresh_from_db()
    assert row.status == "FAILED"


def test_requeue_of_what_failed_lately() -> None:
    for number in range(3):
        rows.task("FAILED", path="shop.send", age=number)
    rows.task("FAILED", path="shop.other")
    bulk = ("requeue", "--failed", "--task", "shop.s*", "--since", "2h")
    dry = maint(*bulk, "--dry-run")
    assert dry.startswith("DRY RUN  3 would requeue\n")
    assert not LedgerEntry.objects.exists()
    assert maint(*bulk).startswith("DONE  3 requeued\n")
    assert maint(*bulk) == "no such tasks, nothing to do\n"
    assert LedgerEntry.objects.count() == 3


def test_fail_of_what_is_ready() -> None:
    rows.task(path="shop.send", age=60)
    rows.task(path="shop.send")
    out = maint("fail", "--ready", "--task", "shop.send", "--older-than", "30s")
    assert out.startswith("DONE  1 failed\n")


def test_unregistered_tasks_are_first_seen_and_then_acted_on() -> None:
    row = rows.task("RUNNING", workers=("stock",), age=99999)
    bulk = ("fail", "--unregistered", "--older-than", "1h")
    assert "A dry run records no such look." in maint(*bulk, "--dry-run")
    assert not Sighting.objects.exists()
    out = maint(*bulk)
    assert out.startswith("NOTHING DONE  0 failed, 1 not seen for long enough\n")
    assert "come back in 59m" in out and "first look by a supervisor" in out
    assert Sighting.objects.get().task_id == row.pk
    Sighting.objects.update(first_seen_at=rows.db_now("default") - rows.timedelta(hours=2))
    assert maint(*bulk).startswith("DONE  1 failed\n")


def test_what_is_refused_is_named_and_exits_1() -> None:
    owner = rows.process("web")
    row = rows.task("RUNNING", workers=(owner.worker_id,))
    code, out = _exits("requeue", str(row.pk))
    assert code == 1
    assert out.startswith("REFUSED  0 requeued, 1 refused\n")
    other = rows.task("FAILED")
    assert _exits("requeue", str(row.pk), str(other.pk))[1].startswith(
        "DONE  1 requeued, 1 refused\n"
    )
    assert f"{row.pk}  refused  tests.tasks.add: it runs now under web.1" in out


def test_above_a_hundred_a_script_must_say_yes() -> None:
    for _ in range(101):
        rows.task("FAILED")
    bulk = ("requeue", "--failed", "--task", "*", "--since", "1h")
    assert wrong(*bulk) == (
        "This would requeue 101 tasks, more than 100: look with --dry-run, then add --yes."
    )
    assert not LedgerEntry.objects.exists()
    assert "and 81 more" in maint(*bulk, "--dry-run")
    value = as_json("levers", *bulk, "--yes")
    assert (value["found"], value["counts"]["done"]) == (101, 101)


def test_rescue_as_json() -> None:
    rows.lost()
    assert "nothing done; without --dry-run it is done\n" in maint("rescue", "--dry-run")
    dry = as_json("rescue", "rescue", "--dry-run")
    assert [act["acted_at"] for act in dry["acts"]] == [None]
    done = as_json("rescue", "rescue")
    assert [act["action"] for act in done["acts"]] == ["requeued"]
    assert as_json("rescue", "rescue")["acts"] == []


def test_a_rescue_that_could_not_do_all_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from argus_maint.backends import database

    def bad(*args: Any) -> bool:
        raise ValueError("this row is odd")

    row = rows.lost()
    monkeypatch.setattr(database, "requeue", bad)
    code, out = _exits("rescue")
    assert code == 1
    assert f"could not be done: {row.pk}: ValueError: this row is odd" in out
