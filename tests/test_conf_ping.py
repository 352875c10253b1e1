"""``ARGUS_MAINT["PING"]`` and the key ``"ping"`` of a job: what is right, and that no URL shows."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from argus_maint import conf

GOOD = "https://ping.example/5bf66975?create=1"
SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("section", "id", "says"),
    [
        ({"uri": GOOD}, "E002", 'Did you mean "url"?'),
        ({"url": f"ftp://ping.example/{SECRET}"}, "E001", '["url"] must be an http or https URL'),
        ({"url": f"ping.example/{SECRET}"}, "E001", "not this text"),
        ({"url": f"https://ping.example/{SECRET} 1"}, "E001", "not this text"),
        ({"url": f"https://ping.example:{SECRET}/"}, "E001", "not this text"),
        ({"url": f"https:///{SECRET}"}, "E001", "not this text"),
        ({"url": [GOOD]}, "E001", "not list"),
        ({"every": 0}, "E001", "longer than 0 s"),
        ({"timeout": "soon"}, "E001", "must be a duration"),
        ({"sentry": 1}, "E001", "True or False"),
        (f"https://ping.example/{SECRET}", "E001", "must be a dict, not str"),
    ],
)
def test_what_is_wrong_is_one_line_without_the_url(section: Any, id: str, says: str) -> None:
    (problem,) = conf.problems({"PING": section})
    assert problem.id == f"argus_maint.{id}"
    assert says in str(problem)
    assert SECRET not in str(problem)


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ({"ping": f"ftp://ping.example/{SECRET}"}, '["prune"]["ping"] must be an http or https'),
        ({"pings": GOOD}, 'Did you mean "ping"?'),
        (f"https://me:{SECRET}@ping.example/", "must be a dict"),
    ],
)
def test_a_job_with_a_wrong_url_is_a_wrong_job(job: Any, says: str) -> None:
    (problem,) = conf.problems({"JOBS": {"prune": job}})
    assert problem.id == "argus_maint.E004"
    assert says in str(problem)
    assert SECRET not in str(problem)


@override_settings(
    ARGUS_MAINT={
        "PING": {"url": GOOD, "every": "5m", "timeout": 2},
        "JOBS": {"prune": {"ping": f"http://me:{SECRET}@[::1]:8000/p/"}, "storage": {"ping": None}},
    }
)
def test_what_is_right_is_taken_and_does_not_show_either() -> None:
    settings = conf.get_settings()
    ping = settings.ping
    assert (ping.url, ping.every, ping.timeout, ping.sentry) == (GOOD, 300.0, 2.0, True)
    assert settings.jobs["prune"].ping == f"http://me:{SECRET}@[::1]:8000/p/"
    assert settings.jobs["storage"].ping is None
    assert SECRET not in repr(settings)
    assert GOOD not in repr(settings)
