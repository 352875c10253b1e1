"""``ARGUS_MAINT["JOBS"]``: what a wrong job says, and that the others stand."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from argus_maint import conf
from argus_maint.checks import TAG
from argus_maint.conf_jobs import OURS

COMMAND = {"command": "check", "schedule": "0 6 * * *"}


def problem(jobs: Any) -> conf.Problem:
    (found,) = conf.problems({"JOBS": jobs})
    return found


@pytest.mark.parametrize(
    ("jobs", "says"),
    [
        ({"prunne": {"enabled": False}}, 'Did you mean "prune"?'),
        ({"prune": {"scedule": "1 1 * * *"}}, 'Did you mean "schedule"?'),
        ({"prune": {"options": {"max_row": 5}}}, 'Did you mean "max_rows"?'),
        ({"prune": {"zone": "Europe/Olso"}}, 'Did you mean "Europe/Oslo"?'),
        ({"prune": {"schedule": "0 0 30 2 *"}}, "never fires"),
        ({"prune": {"schedule": "61 * * * *"}}, "a wrong minute, '61'; it is 0 to 59"),
        ({"prune": {"schedule": "0 0 * * 8"}}, "a wrong day-of-week, '8'"),
        ({"prune": {"schedule": "0 0 * *"}}, "has 4 fields"),
        ({"prune": {"schedule": "@daily"}}, '"0 0 * * *" says the same'),
        ({"prune": {"enabled": 0}}, "must be True or False"),
        ({"prune": {"command": "check"}}, 'another name than "prune"'),
        ({"mine": "check"}, """["mine"] must be a dict, not 'check'."""),
        ({"mine": {"command": "check"}}, "needs a schedule"),
        ({"mine": {"command": "rm -rf", "schedule": "0 6 * * *"}}, 'must be such as "check_token'),
        ({"mine": {**COMMAND, "function": "shop.jobs.tidy"}}, "function and command"),
        ({"Mine": COMMAND}, "lower-case letters"),
        ({"mine": {**COMMAND, "summary": "two\nlines"}}, "one line of text"),
    ],
)
def test_a_wrong_job_is_one_clear_line_and_the_others_stand(jobs: Any, says: str) -> None:
    found = problem({**jobs, "storage": {"schedule": "5 5 * * *"}})
    assert found.id == "argus_maint.E004"
    assert says in f"{found}"
    with override_settings(ARGUS_MAINT={"JOBS": {**jobs, "storage": {"schedule": "5 5 * * *"}}}):
        settings = conf.get_settings()
        assert settings.job_problems == (found,)
        assert settings.jobs["storage"].schedule.expression == "5 5 * * *"
        assert set(settings.jobs) == set(OURS) - set(jobs)


def test_a_section_that_is_wrong_is_wrong_for_all() -> None:
    wrong = override_settings(ARGUS_MAINT={"JOBS": [], "PRUNE": {"duty": 7}})
    with wrong, pytest.raises(ImproperlyConfigured, match="duty"):
        conf.get_settings()


@override_settings(ARGUS_MAINT={"RESCUE": {}, "JOBS": {"mine": {"command": "chek", **{}}}})
def test_the_check_names_the_job() -> None:
    messages = [each for each in checks.run_checks(tags=[TAG]) if each.id == "argus_maint.E004"]
    assert [each.level for each in messages] == [checks.ERROR]
    assert 'ARGUS_MAINT["JOBS"]["mine"] needs a schedule' in messages[0].msg


@override_settings(
    ARGUS_MAINT={
        "JOBS": {"mine": {**COMMAND, "zone": "UTC", "catch_up": "all", "time_limit": "5m"}}
    }
)
def test_a_job_of_the_site_reports_a_lost_run_and_ours_run_again() -> None:
    jobs = conf.get_settings().jobs
    mine, prune = jobs["mine"], jobs["prune"]
    assert (mine.kind, mine.target, mine.on_lost, mine.time_limit) == (
        "command", "check", "report", 300.0,
    )  # fmt: skip
    assert (prune.kind, prune.on_lost, prune.catch_up) == ("ours", "rerun", "latest")
