"""Every format before the real tool that reads it, and what is broken before it too."""

from __future__ import annotations

import re
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from argus_maint.units import executable, render
from argus_maint.units.kubernetes import schedule
from tests.conftest import ROOT
from tests.units import examples, tools
from tests.units.sites import NASTY, job, site

ODD = [
    job(),
    job("weekly", "*/20 1,2 1-7,*/9 feb-nov/3 mon,5-7"),
    job("oslo", "30 2 13 * fri", zone="Europe/Oslo"),
    job("endless", "*/7 * * * *", zone="Asia/Kolkata", time_limit=None),
]


def test_the_examples_are_what_is_rendered_today() -> None:
    """python -m tests.units.examples writes them anew."""
    there = {
        str(path.relative_to(examples.FOLDER)): path.read_text()
        for path in examples.FOLDER.rglob("*")
        if path.is_file()
    }
    assert there == examples.examples()
    for path in examples.FOLDER.rglob("*"):
        if path.is_file():
            assert bool(path.stat().st_mode & stat.S_IXUSR) == executable(path.read_text()), path


def test_the_examples_name_nobody_and_no_machine() -> None:
    text = "".join(examples.examples().values())
    assert str(ROOT) not in text
    assert set(re.findall(r"/(?:home|root|tmp)/\w+", text)) <= {"/tmp/notify"}


# -- cron -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(examples.FOLDER.glob("*.crontab")), ids=lambda p: p.name)
def test_crontab_takes_the_examples(path: Path, tmp_path: Path) -> None:
    assert tools.crontab_says(path.read_text(), tmp_path) == ""


@pytest.mark.parametrize("zone", ["UTC", "Europe/Oslo", "Asia/Kathmandu"])
def test_crontab_takes_odd_jobs(zone: str, tmp_path: Path) -> None:
    nasty = site(folder=NASTY, environment=NASTY, host_zone=zone, locks=NASTY)
    (text,) = render("crontab", nasty, ODD).values()
    assert tools.crontab_says(text, tmp_path) == ""


def test_a_broken_crontab_is_refused(tmp_path: Path) -> None:
    text = "".join(render("crontab", site(), [job()]).values()).replace("17 3", "61 3")
    assert "bad minute" in tools.crontab_says(text, tmp_path)


# -- systemd --------------------------------------------------------------------------


def units(**more: Any) -> dict[str, str]:
    return render("systemd", replace(examples.SHOP, **more), ODD)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"one_line": True},
        {"folder": NASTY, "environment": NASTY, "manage": NASTY, "queues": "%i $x ;"},
        {"folder": "/home/shop", "writable": ("/var/lib/shop", NASTY)},
    ],
    ids=["plain", "one-line", "nasty", "home"],
)
def test_systemd_has_no_word_against_them(more: Any, tmp_path: Path) -> None:
    assert tools.systemd_says(units(**more), tmp_path / "units") == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("KillMode=mixed", "KillMode=mixt"),
        ("OOMPolicy=continue", "OomPolicy=continue"),
        ("Type=notify", "Type=notice"),
        ("OnCalendar=*-*-* 03", "OnCalendar=*-*-* 25"),
        ("WatchdogSec=30", "WatchdogSec=30 bells"),
    ],
)
def test_a_broken_unit_is_refused(right: str, wrong: str, tmp_path: Path) -> None:
    broken = {name: text.replace(right, wrong) for name, text in units().items()}
    assert broken != units()
    assert tools.systemd_says(broken, tmp_path / "units")


def test_the_sandbox_is_worth_its_name(tmp_path: Path) -> None:
    """systemd's own mark, from 0 (safe) to 10; a service without a sandbox gets 9.6."""
    analyze = tools.need("systemd-analyze", "systemd")
    for name, text in units().items():
        if name.endswith(".service"):
            (tmp_path / name).write_text(text)
            security = [analyze, "security", "--offline=yes", "--threshold=35", name]
            done = subprocess.run(security, cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout


def test_every_timer_has_its_service() -> None:
    """Of a timer without one systemd-analyze says nothing."""
    names = set(units())
    assert {name.replace(".timer", ".service") for name in names} <= names
    assert len([name for name in names if name.endswith(".timer")]) == len(ODD)


# -- supervisord ----------------------------------------------------------------------


def test_supervisord_reads_both_programs(tmp_path: Path) -> None:
    # It looks the user up, and folders that are not there are an error to it.
    shop = site(user="root", folder=str(tmp_path), logs=str(tmp_path))
    (text,) = render("supervisord", shop, []).values()
    worker, scheduler = sorted(tools.supervisord_reads(text, tmp_path), key=lambda p: p.name)[::-1]
    assert (worker.name, scheduler.name) == ("argus-maint-worker", "argus-maint-scheduler")
    assert (worker.stopwaitsecs, worker.stopasgroup, worker.killasgroup) == (45, False, True)
    assert worker.environment == {"DJANGO_SETTINGS_MODULE": "shop.settings"}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("stopsignal=TERM", "stopsignal=TREM"), ("startsecs=5", "startsecs=soon"),
     ("directory=", "directory=%")],
)  # fmt: skip
def test_a_broken_program_is_refused(
    right: str, wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = site(user="root", folder=str(tmp_path), logs=str(tmp_path))
    (text,) = render("supervisord", shop, []).values()
    with pytest.raises((ValueError, SystemExit)):
        tools.supervisord_reads(text.replace(right, wrong), tmp_path)


# -- kubernetes -----------------------------------------------------------------------


def objects(**more: Any) -> list[dict[str, Any]]:
    yaml = tools.module("yaml")
    (text,) = render("kubernetes", replace(examples.POD, **more), ODD).values()
    return list(yaml.safe_load_all(text))


def kubernetes_says(found: list[dict[str, Any]]) -> list[str]:
    """The schema's complaints, and of what the schema has nothing to say."""
    validator = tools.module("kubernetes_validate")
    said = []
    for each in found:
        name = f"{each['kind']}/{each['metadata']['name']}"
        try:
            validator.validate(each, "1.31", strict=True)
        except validator.ValidationError as error:
            said.append(f"{name}: {error}")
        said += [f"{name}: {what}" for what in _missed(each)]
    return said


def _missed(each: dict[str, Any]) -> list[str]:
    spec, said = each["spec"], []
    labels = each["metadata"]["labels"]
    if each["kind"] == "PodDisruptionBudget":
        return [] if spec["selector"]["matchLabels"] == labels else ["selects no pod"]
    cron = each["kind"] == "CronJob"
    pod = spec["jobTemplate"]["spec"]["template"] if cron else spec["template"]
    if pod["spec"].get("restartPolicy", "Always") not in (("Never",) if cron else ("Always",)):
        said.append("restartPolicy")
    if pod["metadata"]["labels"] != labels:
        said.append("labels")
    if cron:
        if spec["concurrencyPolicy"] not in ("Allow", "Forbid", "Replace"):
            said.append("concurrencyPolicy")
        if not _kubernetes_takes(spec["schedule"]):
            said.append(f"schedule {spec['schedule']}")
        if len(each["metadata"]["name"]) > 52:
            said.append("name")
    elif not spec["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items():
        said.append("selector")
    (container,) = pod["spec"]["containers"]
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    if mounts != {volume["name"] for volume in pod["spec"]["volumes"]}:
        said.append("volumes")
    return said


def _kubernetes_takes(expression: str) -> bool:
    """The grammar of robfig/cron's standard parser: a weekday is 0 to 6."""
    bounds = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
    fields = expression.split()
    return len(fields) == 5 and all(
        re.fullmatch(r"(\*|\w+(-\w+)?)(/\d+)?", term)
        and all(low <= int(number) <= high for number in re.findall(r"\d+", term.split("/")[0]))
        for text, (low, high) in zip(fields, bounds, strict=True)
        for term in text.split(",")
    )


@pytest.mark.parametrize(
    "more", [{}, {"one_line": True}, {"folder": NASTY, "manage": NASTY, "queues": "$(X) a"}],
    ids=["plain", "one-line", "nasty"],
)  # fmt: skip
def test_kubernetes_has_nothing_against_them(more: Any) -> None:
    assert kubernetes_says(objects(**more)) == []


def spoil(kind: str, change: Callable[[dict[str, Any]], Any]) -> list[dict[str, Any]]:
    found = objects()
    change(next(each for each in found if each["kind"] == kind)["spec"])
    return found


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("Deployment", lambda spec: spec.update(replicas="two")),
        ("Deployment", lambda spec: spec.update(replica=2)),
        ("Deployment", lambda spec: spec["selector"]["matchLabels"].update(a="b")),
        ("PodDisruptionBudget", lambda spec: spec["selector"]["matchLabels"].update(a="b")),
        ("CronJob", lambda spec: spec.update(schedule="0 0 * * 7")),
        ("CronJob", lambda spec: spec.update(concurrencyPolicy="Forbidden")),
        ("CronJob", lambda spec: spec["jobTemplate"]["spec"]["template"]["spec"].pop(
            "restartPolicy")),
        ("CronJob", lambda spec: spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
            ["env"].append({"name": 1})),
    ],
    ids=["type", "key", "selector", "budget", "weekday", "enum", "restart", "variable"],
)  # fmt: skip
def test_a_broken_object_is_refused(kind: str, change: Any) -> None:
    assert len(kubernetes_says(spoil(kind, change))) == 1


@pytest.mark.parametrize(
    ("expression", "zone", "made"),
    [
        ("17 3 * * *", "UTC", "17 3 * * *"),
        ("0 0 * * 7", "UTC", "0 0 * * 0"),
        ("0 0 1 * 5-7", "UTC", "0 0 1 * 0,5,6"),
        ("0 0 15 * 0-6", "UTC", "0 0 15 * 0-6"),  # a star would mean the 15th only
        ("30 2 * * *", "Europe/Oslo", "30 2,3 * * *"),
        ("*/20 2 * * *", "Europe/Oslo", "*/20 2 * * *"),
        ("30 23 * * 6", "America/Nuuk", "30 0,23 * * *"),
    ],
)
def test_schedules_of_cronjobs(expression: str, zone: str, made: str) -> None:
    assert schedule(job(expression=expression, zone=zone)) == made
