"""``maint jobs``, ``run`` and ``tick``: what a person sees, and what a crontab gets."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command, execute_from_command_line
from django.test import override_settings

from argus_maint.conf import get_settings
from argus_maint.jobs import performing
from argus_maint.models import Process, Run
from argus_maint.scheduling import ledger
from argus_maint.scheduling.ledger import Holder
from argus_maint.workers.identity import this_host
from tests import rows
from tests.lab import Lab, gone, until
from tests.observe import notes
from tests.schemas import validate

pytestmark = pytest.mark.django_db(transaction=True)


def of_the_site(**jobs: Any) -> Any:
    off = {name: {"enabled": False} for name in ("rescue", "findings")}
    return override_settings(ARGUS_MAINT={"RESCUE": {}, "JOBS": {**off, **jobs}})


def maint(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("maint", *arguments, stdout=out, stderr=io.StringIO())
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def as_json(*arguments: str) -> tuple[int, Any]:
    code, said = maint(*arguments, "--json")
    return code, json.loads(said)


EVERY_MINUTE = "* * * * *"


def overdue(name: str, minutes: int = 1) -> None:
    """Let the job's last tick be some minutes old."""
    schedule = get_settings().jobs[name].schedule
    tick = schedule.latest(ledger.utc_now("default")) - timedelta(minutes=minutes)
    rows.ran(name, tick)


# -- every kind of job ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["rescue", "findings", "prune", "storage", "history"])
def test_each_job_of_ours_runs_and_reports(name: str) -> None:
    code, document = as_json("run", name)
    validate("run", document)
    (run,) = document["runs"]
    assert (code, run["state"], run["tick"], run["driver"]) == (0, "done", None, "hand")
    assert not Process.objects.exists()


def test_prune_deletes_old_tasks_and_history_old_rows_of_ours() -> None:
    old = rows.task("SUCCESSFUL", age=20 * 86_400)
    for number in range(3):
        run = Run(job="j", tick=rows.ago(86_400 * (40 + number)), state="done")
        run.started_at = rows.ago(86_400 * (40 + number))
        run.save()
    code, document = as_json("run", "prune")
    assert (code, document["runs"][0]["report"]["rows"]) == (0, 1)
    assert not rows.DBTaskResult.objects.filter(pk=old.pk).exists()
    assert Run.objects.filter(job="j").count() == 3

    maint("run", "history")
    (newest,) = Run.objects.filter(job="j")  # from it on the next tick counts
    assert newest.tick == max(Run.objects.filter(job="j").values_list("tick", flat=True))


def test_rescue_gives_back_the_task_of_a_dead_worker() -> None:
    lost = rows.lost()
    code, document = as_json("run", "rescue")
    assert (code, document["runs"][0]["report"]["rescued"]) == (0, 1)
    lost.refresh_from_db()
    assert lost.status == "READY"


def test_findings_tells_of_what_is_open_and_exits_1_until_somebody_knows() -> None:
    rows.task(age=1200)
    assert maint("run", "findings")[0] == 0  # seen once
    code, document = as_json("run", "findings")
    report = document["runs"][0]["report"]
    assert (code, document["runs"][0]["state"]) == (1, "done")
    assert (report["opened"], report["closed"]) == (["NoWorkers default"], [])
    assert [each["code"] for each in report["problems"]] == ["NoWorkers"]
    code, said = maint("run", "findings")
    assert (code, "NoWorkers default: no worker is running; 1 ready" in said) == (1, True)
    maint("ack", "NoWorkers", "--for=1h", "--why=known")
    assert maint("run", "findings")[0] == 0


@pytest.mark.parametrize("name", ["queues", "schedule"])
def test_a_job_that_is_no_more_is_named_with_what_replaced_it(name: str) -> None:
    with of_the_site(**{name: {"enabled": False}}):
        (problem,) = get_settings().job_problems
        assert (problem.id, 'the job "findings" looks for that' in problem.message) == (
            *("argus_maint.E004",),
            True,
        )
    with of_the_site(**{name: {"command": "check", "schedule": EVERY_MINUTE}}):
        assert get_settings().jobs[name].target == "check"  # the site's own may be called so


def function(**options: Any) -> Any:
    """A job of a site."""
    if "raises" in options:
        raise ValueError(options["raises"])
    return options


@pytest.mark.parametrize(
    ("job", "code", "says"),
    [
        ({"function": "tests.commands.test_jobs.function", "options": {"a": 1}}, 0, "'a': 1"),
        ({"function": "tests.commands.test_jobs.function", "options": {"raises": "oh"}}, 1, "oh"),
        ({"function": "tests.no_such.thing"}, 1, "cannot be imported"),
        ({"task": "tests.tasks.add", "options": {"a": 1, "b": 2}}, 0, "task_id"),
        ({"task": "tests.commands.test_jobs.function"}, 1, "is no task"),
        ({"command": ["diffsettings", "--output=unified"]}, 0, "DATABASES"),
        ({"command": ["diffsettings", "--output=x"]}, 1, "ended with status 1"),
        ({"command": "no_such_command"}, 1, "Unknown command"),
    ],
)
def test_a_job_of_the_site_runs_whatever_its_kind(
    job: dict[str, Any], code: int, says: str
) -> None:
    with of_the_site(mine={**job, "schedule": EVERY_MINUTE}):
        ended, said = maint("run", "mine", "--json")
    validate("run", json.loads(said))
    assert (ended, says in said) == (code, True), said
    if "task" in job and not code:
        assert rows.DBTaskResult.objects.get().args_kwargs["kwargs"] == {"a": 1, "b": 2}


def test_a_command_is_ended_at_its_time_limit_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is over when what it has started is there."""
    pid = tmp_path / "pid"
    script = f"echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 99"
    command = ["shell", "-v0", "-c", f"import subprocess; subprocess.run(['sh', '-c', {script!r}])"]
    monkeypatch.setattr(performing, "now", lambda: 6.0 * pid.exists())
    with of_the_site(mine={"command": command, "schedule": EVERY_MINUTE, "time_limit": 5}):
        code, said = maint("run", "mine")
    assert (code, "was ended at its time limit, 5 s" in said) == (1, True), said
    until(lambda: gone(int(pid.read_text())))


# -- by a crontab ---------------------------------------------------------------------


@of_the_site(mine={"function": "tests.commands.test_jobs.function", "schedule": EVERY_MINUTE})
def test_tick_runs_what_is_due_and_says_nothing_when_all_is_well() -> None:
    overdue("mine", minutes=2)
    assert maint("tick") == (0, "")
    assert Run.objects.filter(job="mine", driver="cron", report={"returned": "{}"}).exists()


@of_the_site(
    mine={
        "function": "tests.commands.test_jobs.function",
        "schedule": EVERY_MINUTE,
        "options": {"raises": "oh"},
    }
)
def test_tick_prints_what_failed_for_cron_to_mail() -> None:
    overdue("mine", minutes=2)
    code, said = maint("tick")
    assert (code, said) == (1, "mine  failed: ValueError: oh\n")


@of_the_site()
def test_what_is_not_due_is_not_run_and_nothing_is_written() -> None:
    overdue("prune", minutes=0)
    before = Run.objects.count()
    assert maint("run", "prune", "--scheduled") == (0, "")
    assert Run.objects.count() == before


def test_two_crontab_lines_on_two_hosts_run_a_tick_once(lab: Lab) -> None:
    job = {"function": "tests.commands.test_jobs.function", "schedule": "0 0 1 1 *"}
    lab.setting(RESCUE={}, JOBS={"mine": job})
    Run.objects.create(
        job="mine", tick=rows.ago(86_400 * 800), state="done", started_at=rows.ago(9)
    )
    command = [sys.executable, "-m", "django", "maint", "run", "mine", "--scheduled", "--json"]
    both = [subprocess.Popen(command, env=lab.env, stdout=subprocess.PIPE) for _ in range(2)]
    made = [json.loads(each.communicate(timeout=60)[0])["runs"] for each in both]
    assert sorted(map(len, made)) == [0, 1]
    assert Run.objects.filter(job="mine", state="done").count() == 2


def test_an_interrupted_run_is_written_down_and_can_run_again(lab: Lab) -> None:
    job = {"function": "tests.commands.test_jobs.hang", "schedule": "0 0 1 1 *"}
    lab.setting(RESCUE={}, JOBS={"mine": job})
    command = [sys.executable, "-m", "django", "maint", "run", "mine"]
    with subprocess.Popen(command, env=lab.env, stderr=subprocess.DEVNULL) as process:
        until(lambda: Run.objects.filter(state="running").exists())
        again = lab.manage("maint", "run", "mine", check=False)
        assert (again.returncode, "mine is running on" in again.stderr) == (1, True)
        listed = lab.manage("maint", "jobs", "--job", "mine").stdout
        assert f"hand on {this_host().hostname}, pid {process.pid}" in listed
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
    (run,) = Run.objects.all()
    assert (run.state, run.error, run.running) == ("failed", "interrupted", None)
    assert ", pid " not in lab.manage("maint", "jobs", "--job", "mine").stdout
    assert not Process.objects.exists()


def hang() -> None:
    """A job that does not end."""
    import time

    time.sleep(600)


def test_a_run_that_was_killed_is_taken_over_by_the_next_line_of_the_crontab() -> None:
    dead = rows.process("s", kind="scheduler", pid=rows.dead_pid())
    tick = get_settings().jobs["prune"].schedule.latest(ledger.utc_now("default"))
    assert ledger.claim("prune", tick, Holder("cron", "here", dead.supervisor), "default")
    _, document = as_json("tick")
    found = [run for run in document["runs"] if run["job"] == "prune"]
    assert [(run["state"], run["attempt"]) for run in found] == [("done", 2)]


# -- the list -------------------------------------------------------------------------


def test_the_list_shows_every_job_its_last_run_and_its_next() -> None:
    maint("run", "findings")
    code, document = as_json("jobs")
    validate("jobs", document)
    by_name = {each["name"]: each for each in document["jobs"]}
    assert code == 0
    assert list(by_name) == ["rescue", "findings", "prune", "storage", "history"]
    assert by_name["findings"]["last"]["state"] == "done"
    assert by_name["prune"]["last"] is None
    code, said = maint("jobs")
    assert "17 3 * * *" in said
    assert "never" in said


def test_where_the_schedulers_are_gone_the_list_says_that_nobody_runs_what_is_due() -> None:
    says = "No scheduler is running: nobody will run what is due next. Start one: manage.py cront"
    assert says not in maint("jobs")[1]  # it may be about to be driven by cron
    one = rows.process("s1", kind="scheduler", info={"driver": "crontask"})
    notes.run("prune", driver="crontask", age=300)
    assert says not in maint("jobs")[1]
    Process.objects.filter(pk=one.pk).update(state="ended", reason="stopped", ended_at=rows.ago(5))
    assert says in maint("jobs")[1]
    assert says not in maint("jobs", "--job=rescue")[1]
    notes.run("findings", driver="keeper", age=10)
    assert says in maint("jobs")[1]
    notes.run("prune", driver="cron", age=10)
    assert says not in maint("jobs")[1]


def test_the_runs_of_one_job_are_listed_the_newest_first() -> None:
    for _ in range(3):
        maint("run", "findings")
    code, document = as_json("jobs", "--job", "findings", "--runs", "2")
    validate("jobs", document)
    ids = [run["id"] for run in document["runs"]]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 2
    assert "by hand" in maint("jobs", "--job", "findings")[1]


# -- a person's mistakes --------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "jobs"])
def test_an_unknown_job_is_named_with_the_one_that_was_meant(command: str) -> None:
    flag = ["--job"] if command == "jobs" else []
    with pytest.raises(CommandError, match="there is no job 'prun'. Did you mean \"prune\"?"):
        call_command("maint", command, *flag, "prun")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--runs=5",), "--runs goes with --job."),
        (("--job=prune", "--runs=0"), "'0' is not a whole number of at least 1"),
        (("--job=prune", "--runs=1001"), "1000 is the most that it shows"),
    ],
)
def test_a_wrong_number_of_runs_is_one_short_line(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(CommandError) as error:
        call_command("maint", "jobs", *arguments)
    assert says in str(error.value) and len(str(error.value)) < 100


@of_the_site(
    prune={"schedule": "61 * * * *"},
    x={"command": "chek", "schedule": EVERY_MINUTE},
)
def test_a_wrong_job_stops_no_other_and_says_so_every_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def manage(*arguments: str) -> tuple[int, str]:
        """A command line, with its checks."""
        code = 0
        try:
            execute_from_command_line(["manage.py", *arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        return code, capsys.readouterr().err

    code, said = manage("check")
    assert code == 1
    assert "wrong minute, '61'" in said
    assert 'no command "chek". Did you mean "check"?' in said
    code, said = manage("maint", "run", "findings")
    assert (code, "argus_maint.E004" in said) == (0, True)
    code, said = manage("maint", "run", "prune")
    assert (code, "wrong minute" in said) == (2, True)
    assert manage("maint", "tick")[0] == 1
