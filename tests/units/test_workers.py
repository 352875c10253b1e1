"""Workers of other backends than the task table: which are written, and how they stop."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from argus_maint.units import FORMATS, WITHOUT_WORKERS, CannotHold, executable, render
from argus_maint.units.workers import concurrent_worker, redis_worker, role, rq_worker
from tests.commands.sites import BACKPORT
from tests.schemas import validate
from tests.units import examples, tools
from tests.units.sites import NASTY, job, site
from tests.units.test_rendering import sh_reads, systemd_reads
from tests.units.test_validators import kubernetes_says

SERVICES = [form for form in FORMATS if form not in WITHOUT_WORKERS]
OTHERS = (
    rq_worker("rq", ["high", "default"]),
    redis_worker("redis", "bulk", 30),
    concurrent_worker("concurrent", "io", "default"),
)
RQ_WORDS = ["rqworker", "--job-class=django_tasks_rq.Job", "--with-scheduler", "high", "default"]
DATABASE = {"BACKEND": "django_tasks_db.DatabaseBackend"}
RQ = {"BACKEND": "django_tasks_rq.RQBackend"}
REDIS = {"BACKEND": "django_tasks_redis.RedisTaskBackend"}
NUMBER = "for Kubernetes a user is a number: --user shop is left out\n"
WORLD = "django_tasks" if BACKPORT else "django.tasks"
PATHS = ("--python=/venv/bin/python", "--manage=/srv/shop/manage.py", "--user=shop")


def files(form: str, **more: Any) -> dict[str, str]:
    return render(form, site(others=OTHERS, **more), [job()])


# -- how each is written, before the tools that read it


@pytest.mark.parametrize("form", SERVICES)
def test_the_workers_come_beside_what_was_there_and_change_nothing_of_it(form: str) -> None:
    before, after = render(form, site(), [job()]), files(form)
    text = "".join(after.values())
    for command in ("rqworker", "run_redis_tasks", "concurrent_worker"):
        assert command in text
    if len(after) > 1:
        assert before.items() <= after.items()
    else:
        assert all(line in text for line in "".join(before.values()).splitlines())


@pytest.mark.parametrize("form", SERVICES)
def test_a_site_without_the_task_table_has_no_db_worker(form: str) -> None:
    text = "".join(files(form, database=False).values())
    assert "db_worker --processes" not in text and '"db_worker"' not in text
    assert "rqworker" in text and "crontask" in text


def test_systemd_has_no_word_against_them(tmp_path: Path) -> None:
    made = files("systemd", folder=NASTY, environment=NASTY)
    assert {"argus-maint-rq.service", "argus-maint-redis.service"} <= set(made)
    assert tools.systemd_says(made, tmp_path / "units") == ""
    unit = made["argus-maint-rq.service"]
    (line,) = re.findall(r"(?m)^ExecStart=(.*)$", unit)
    assert systemd_reads(line)[2:] == RQ_WORDS
    # They do not ping: who waits for it would kill them.
    for name in ("rq", "redis", "concurrent"):
        unit = made[f"argus-maint-{name}.service"]
        assert "\nType=exec\n" in unit and "\nKillMode=mixed\n" in unit
        assert "Watchdog" not in unit and "TimeoutStopSec=45\n" in unit


def test_the_sandbox_of_the_others_is_as_tight(tmp_path: Path) -> None:
    analyze = tools.need("systemd-analyze", "systemd")
    text = files("systemd")["argus-maint-rq.service"]
    (tmp_path / "argus-maint-rq.service").write_text(text)
    security = [analyze, "security", "--offline=yes", "--threshold=35", "argus-maint-rq.service"]
    done = subprocess.run(security, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_supervisord_reads_every_program(tmp_path: Path) -> None:
    shop = site(user="root", folder=str(tmp_path), logs=str(tmp_path), others=OTHERS)
    (text,) = render("supervisord", shop, []).values()
    found: Any = tools.supervisord_reads(text, tmp_path)
    programs = {each.name.removeprefix("argus-maint-"): each for each in found}
    assert set(programs) == {"worker", "rq", "redis", "concurrent", "scheduler"}
    for each in programs.values():
        # TERM to the group would be the end of the task that an rqworker has in hand.
        assert (each.stopsignal, each.stopasgroup, each.killasgroup) == (15, False, True)
        assert each.stopwaitsecs == 45
    assert programs["rq"].startretries > programs["worker"].startretries
    command = sh_reads(shlex.split(programs["rq"].command)[2])
    assert command[2:] == RQ_WORDS


def test_kubernetes_has_nothing_against_them() -> None:
    yaml = tools.module("yaml")
    # A job of the same name must not be taken for the worker's pods.
    jobs = [job(), job("rq"), job("redis")]
    (text,) = render("kubernetes", replace(examples.POD, others=OTHERS), jobs).values()
    found = list(yaml.safe_load_all(text))
    assert kubernetes_says(found) == []
    labels = [each["metadata"]["labels"]["app.kubernetes.io/name"] for each in found]
    budgets = [each for each in found if each["kind"] == "PodDisruptionBudget"]
    assert len(budgets) == 4 and len(set(labels)) == len(labels) - len(budgets)
    pods = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in found
        if each["kind"] == "Deployment"
    }
    (container,) = pods["argus-maint-rq"]["containers"]
    assert container["command"][2:] == RQ_WORDS
    assert "livenessProbe" not in container
    assert {each["name"] for each in container["env"]} == {
        "PYTHONUNBUFFERED",
        "DJANGO_SETTINGS_MODULE",
    }
    assert pods["argus-maint-redis"]["terminationGracePeriodSeconds"] == 45
    assert "livenessProbe" in pods["argus-maint-worker"]["containers"][0]


def test_runit_and_openrc_get_scripts() -> None:
    made = {**files("runit", folder=NASTY), **files("openrc", folder="/srv/a b")}
    for name in ("rq", "redis", "concurrent"):
        assert executable(made[f"argus-maint-{name}"])
        assert executable(made[f"argus-maint-{name}/run"])
    assert all(tools.sh_says(text) == "" for text in made.values())
    chpst = made["argus-maint-rq/run"].splitlines()[-1].removeprefix("exec chpst -u shop ")
    assert sh_reads(f" && exec {chpst}")[2:] == RQ_WORDS
    # The second TERM takes the task with it, so that nothing outlives its service.
    assert "\nretry=TERM/45/TERM/5/KILL/5\n" in made["argus-maint-rq"]
    assert "\nretry=TERM/45/KILL/5\n" in made["argus-maint-redis"]


@pytest.mark.parametrize("form", SERVICES)
def test_each_file_says_what_becomes_of_tasks_when_it_stops(form: str) -> None:
    text = " ".join("".join(files(form).values()).replace("#", "").replace(";", "").split())
    assert "the task in hand gets 45 s to finish what is left is found by the job rescue." in text
    assert "what is left goes back to the queue." in text
    assert "the task in hand gets 30 s" in text


def test_the_worker_of_redis_ends_by_itself_before_it_is_killed() -> None:
    unit = render("systemd", site(grace=120, others=(redis_worker("redis", "x", 120),)), [])
    text = unit["argus-maint-redis.service"]
    assert "--shutdown-timeout=120\n" in text and "TimeoutStopSec=135\n" in text


def test_a_queue_that_no_format_can_hold_is_refused() -> None:
    with pytest.raises(CannotHold, match="a word of rqworker must be printable text"):
        site(others=(rq_worker("rq", ["a\nb"]),))


def test_two_of_a_kind_have_names_of_their_own() -> None:
    taken: list[str] = []
    for name in ("Mail Out", "Mail Out", "mail_out", "ünï", "x" * 50):
        taken.append(role("rq", name, taken))
    assert taken == ["rq", "rq-mail-out", "rq-mail-out-2", "rq-n", f"rq-{'x' * 24}"]


# -- which are written: by TASKS, or by an option


def units(form: str, *arguments: str) -> tuple[dict[str, str], str]:
    """Texts by name, and what was said beside."""
    out, err = io.StringIO(), io.StringIO()
    call_command(
        "maint", "units", "--format", form, *PATHS, "--json", *arguments, stdout=out, stderr=err
    )
    document = json.loads(out.getvalue())
    validate("units", document)
    return {each["name"]: each["text"] for each in document["files"]}, err.getvalue()


def commands(*arguments: str) -> dict[str, str]:
    """Of each service of systemd what follows manage.py."""
    made, _ = units("systemd", *arguments)
    found = {}
    for name, text in made.items():
        if name.endswith(".service") and "-job-" not in name:
            (line,) = re.findall(r"(?m)^ExecStart=.* /srv/shop/manage.py (.*)$", text)
            found[name.removeprefix("argus-maint-").removesuffix(".service")] = line
    return found


def complaint(*arguments: str) -> str:
    with pytest.raises(CommandError) as error:
        units("systemd", *arguments)
    assert error.value.returncode == 2 and "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def several(settings: Any) -> None:
    settings.TASKS = {
        "queue": {**RQ, "QUEUES": ["high", "default"]},
        "default": DATABASE,
        "io": {**DATABASE, "QUEUES": ["io", "mail"]},
        "bulk": REDIS,
        "noted": {"BACKEND": f"{WORLD}.backends.dummy.DummyBackend"},
    }
    place = {"HOST": "localhost", "PORT": 6379}
    settings.RQ_QUEUES = {"default": place, "high": {**place, "DEFAULT_TIMEOUT": 5}}


def test_a_site_on_the_task_table_alone_gets_what_it_got(settings: Any) -> None:
    settings.TASKS = {"default": DATABASE}
    for form in FORMATS:
        made, said = units(form)
        assert not re.search("^.*(rqworker|redis_tasks|_concurrent)", "".join(made.values()))
        assert said == ("" if form != "kubernetes" else NUMBER)
    assert set(commands()) == {"worker", "scheduler"}


@pytest.mark.usefixtures("several")
def test_every_alias_with_workers_gets_one() -> None:
    rq = "rqworker --job-class=django_tasks_rq.Job --with-scheduler high default"
    assert commands() == {
        "worker": "db_worker --processes=1 --grace=30",
        "worker-io": "db_worker --processes=1 --grace=30 --backend=io",
        "rq": rq,
        "redis": "run_redis_tasks --continuous --backend=bulk --shutdown-timeout=30",
        "scheduler": "crontask",
    }
    assert set(commands("--backend=queue")) == {"rq", "scheduler"}
    alone = commands("--backend=io", "--queues=io")
    assert alone["worker"] == "db_worker --processes=1 --grace=30 --backend=io --queue-name=io"


@pytest.mark.usefixtures("several")
def test_concurrent_worker_takes_the_place_of_db_worker_queue_by_queue() -> None:
    found = commands("--concurrent=io", "--backend=io")
    assert found == {
        "concurrent": "concurrent_worker --backend=io --queue-name=io",
        "concurrent-mail": "concurrent_worker --backend=io --queue-name=mail",
        "scheduler": "crontask",
    }
    _, said = units("systemd", "--concurrent=io", "--backend=io")
    assert "django_tasks_concurrent is not in INSTALLED_APPS" in said


def test_queues_of_several_servers_get_an_rqworker_each(settings: Any) -> None:
    settings.TASKS = {"default": {**RQ, "QUEUES": []}}
    here, there = {"URL": "redis://a"}, {"URL": "redis://b"}
    settings.RQ_QUEUES = {"a": here, "b": there, "c": {**here, "ASYNC": True}}
    found = commands()
    assert found["rq"].endswith(" a c") and found["rq-default"].endswith(" b")
    assert set(found) == {"rq", "rq-default", "scheduler"}


def test_a_site_without_workers_gets_a_scheduler_and_a_word(settings: Any) -> None:
    settings.TASKS = {"default": {"BACKEND": "no.such.Backend"}}
    made, said = units("runit")
    assert all(name.startswith("argus-maint-scheduler/") for name in made)
    assert "no.such.Backend cannot be used" in said
    assert "no alias of TASKS has workers: only the scheduler is written\n" in said


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--backend=quue"], "TASKS has no backend 'quue'. Did you mean \"queue\"?"),
        (["--backend=noted"], 'TASKS["noted"] has no workers to write: nothing to do'),
        (["--concurrent=bulk"], "--concurrent bulk: TASKS[\"bulk\"] is no alias of the task table"),
        (["--concurrent=blk"], "TASKS has no backend 'blk'. Did you mean \"bulk\"?"),
    ],
)  # fmt: skip
def test_a_wrong_alias_is_one_line(arguments: list[str], says: str) -> None:
    assert says in complaint(*arguments)


def test_a_queue_that_rq_does_not_have_is_one_line(settings: Any) -> None:
    settings.TASKS = {"default": {**RQ, "QUEUES": ["mail"]}}
    assert complaint() == 'TASKS["default"] has the queue "mail", and RQ_QUEUES has not.'
