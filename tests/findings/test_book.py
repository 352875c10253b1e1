"""The book: patience on the way in and out, one row a condition, and what a person does."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from django.db import connection
from django.db.models.signals import pre_delete
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from argus_maint.conf_findings import CODES
from argus_maint.dbtime import db_now
from argus_maint.findings import book
from argus_maint.findings.observation import Observation
from argus_maint.models import Act, Finding
from tests import rows

pytestmark = pytest.mark.django_db(transaction=True)

BACKLOG = "QueueBacklog"  # three passes to open, two to close


def seen(code: str, *objects: str, **values: Any) -> list[Observation]:
    return [Observation(code, each, f"about {each}", {"queue": each}, **values) for each in objects]


def one_pass(*observations: Observation, looked_for: set[str] | None = None) -> book.Outcome:
    return book.record(observations, CODES if looked_for is None else looked_for, "me", "default")


def names(findings: list[Finding]) -> list[str]:
    return [str(each) for each in findings]


def open_now() -> list[str]:
    return names(book.open_findings("default"))


def test_it_opens_after_so_many_passes_in_a_row_and_closes_after_so_many(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "argus_maint")
    found = seen(BACKLOG, "bulk")
    assert [names(one_pass(*found).opened) for _ in range(4)] == [[], [], ["QueueBacklog bulk"], []]
    assert names(one_pass(*found).updated) == ["QueueBacklog bulk"]
    assert names(one_pass().closed) == []
    assert open_now() == ["QueueBacklog bulk"]
    assert names(one_pass().closed) == ["QueueBacklog bulk"]
    (finding,) = Finding.objects.all()
    assert (finding.state, finding.live, finding.closed_by) == ("closed", None, "")
    assert finding.first_seen_at <= finding.opened_at <= finding.last_seen_at < finding.closed_at  # type: ignore[operator]
    events = [line.getMessage().split()[0] for line in caplog.records]
    assert events == ["event=finding.opened", "event=finding.closed"]
    assert caplog.records[0].levelname == "WARNING"


def test_a_pass_that_misses_it_begins_the_count_anew() -> None:
    found = seen(BACKLOG, "bulk")
    one_pass(*found), one_pass(*found), one_pass()
    assert not Finding.objects.exists()  # what never opened leaves no trace
    one_pass(*found), one_pass(*found)
    assert open_now() == []
    one_pass(*found)
    one_pass()
    one_pass(*found)  # one gap does not close it
    one_pass()
    assert open_now() == ["QueueBacklog bulk"]


def test_a_code_that_was_not_looked_for_closes_nothing() -> None:
    one_pass(*seen("PoisonTask", "a.b"))
    for _ in range(3):
        one_pass(looked_for=set(CODES) - {"PoisonTask"})
    assert open_now() == ["PoisonTask a.b"]
    one_pass(looked_for={"PoisonTask"})
    assert open_now() == []


@override_settings(
    ARGUS_MAINT={"FINDINGS": {BACKLOG: {"opens_after": 1, "closes_after": 1, "severity": "info"}}}
)
def test_patience_and_severity_are_the_sites_to_choose() -> None:
    one_pass(*seen(BACKLOG, "bulk"))
    (finding,) = book.open_findings("default")
    assert finding.severity == "info"
    one_pass(*seen(BACKLOG, "bulk", severity="critical"))
    (finding,) = book.open_findings("default")
    assert finding.severity == "critical"
    assert names(one_pass().closed) == ["QueueBacklog bulk"]


def test_what_is_switched_off_never_opens_and_what_was_open_closes() -> None:
    one_pass(*seen("PoisonTask", "a.b"))
    with override_settings(ARGUS_MAINT={"FINDINGS": {"PoisonTask": {"enabled": False}}}):
        outcome = one_pass(*seen("PoisonTask", "a.b", "c.d"))
    assert (names(outcome.opened), names(outcome.closed)) == ([], ["PoisonTask a.b"])


def test_evidence_and_summary_are_those_of_the_last_pass() -> None:
    one_pass(Observation("PoisonTask", "a.b", "3 tasks\nwait", {"tasks": 3}))
    one_pass(Observation("PoisonTask", "a.b", "", {"tasks": 4, "task_id": rows.INCARNATION}))
    (finding,) = book.open_findings("default")
    assert finding.evidence == {"tasks": 4, "task_id": rows.INCARNATION}
    assert finding.summary == CODES["PoisonTask"].summary


def test_a_code_has_so_many_rows_and_one_for_the_others() -> None:
    many = seen("PoisonTask", *(f"task{number:03}" for number in range(50)))
    one_pass(*many)
    assert len(open_now()) == book.MOST + 1
    others = Finding.objects.get(object=book.OTHERS)
    assert others.evidence["more"] == 30
    assert others.summary.startswith("and 30 more: task020, ")
    before = set(open_now())
    one_pass(*reversed(many))  # whatever the order, the rows that are there stay
    assert set(open_now()) == before
    assert names(one_pass(*many[:5]).closed).count("PoisonTask (others)") == 1
    assert len(open_now()) == 5


def test_what_closed_and_comes_back_is_another_finding() -> None:
    one_pass(*seen("PoisonTask", "a.b")), one_pass(), one_pass(*seen("PoisonTask", "a.b"))
    assert sorted(Finding.objects.values_list("state", flat=True)) == ["closed", "open"]
    assert names(book.closed("default")) == ["PoisonTask a.b"]


def test_the_most_urgent_comes_first() -> None:
    one_pass(*seen("PoisonTask", "old"))
    one_pass(*seen("PoisonTask", "old", "new"), *seen("DatabaseLocked", ""))
    assert open_now() == ["DatabaseLocked", "PoisonTask old", "PoisonTask new"]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer at a time")
def test_many_passes_at_once_make_one_row_and_count_no_pass_twice() -> None:
    """They may count fewer: who finds a row changed leaves it to who changed it."""
    start = threading.Barrier(6)

    def work() -> None:
        try:
            start.wait(10)
            one_pass(*seen(BACKLOG, "bulk", "mail"))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert Finding.objects.count() == 2
    assert all(1 <= each.seen <= 6 for each in Finding.objects.all())


def test_a_row_that_another_pass_has_changed_is_left_alone() -> None:
    one_pass(*seen("PoisonTask", "a.b"))
    (known,) = Finding.objects.all()
    Finding.objects.update(seen=7)
    assert not book._changed(known, "default", seen=2)


# -- a person ---------------------------------------------------------------------------


def test_an_acknowledgement_leaves_it_open_and_is_on_record() -> None:
    one_pass(*seen("PoisonTask", "a.b", "c.d"))
    done = book.acknowledge("PoisonTask", "a.b", "alice@web1", "known", 60, "default")
    assert names(done) == ["PoisonTask a.b"]
    now = rows.db_now("default")
    acked = {each.object: book.is_acked(each, now) for each in book.open_findings("default")}
    assert acked == {"a.b": True, "c.d": False}
    assert not book.is_acked(done[0], now + rows.timedelta(seconds=61))
    (act,) = Act.objects.all()
    assert (act.verb, act.subject, act.by, act.why) == (
        *("ack", "PoisonTask a.b"),
        *("alice@web1", "known"),
    )
    book.unacknowledge("PoisonTask", None, "bob@web1", "no", "default")
    assert not any(book.is_acked(each, now) for each in book.open_findings("default"))


def test_an_acknowledgement_holds_for_its_time_also_where_it_was_closed_meanwhile() -> None:
    one_pass(*seen("PoisonTask", "a.b"))
    book.acknowledge("PoisonTask", None, "alice@web1", "known", 60, "default")
    one_pass(), one_pass(*seen("PoisonTask", "a.b"))
    (again,) = book.open_findings("default")
    assert (book.is_acked(again, rows.db_now("default")), again.acked_why) == (True, "known")
    book.resolve("PoisonTask", None, "alice@web1", "gone", "default")
    one_pass(*seen("PoisonTask", "a.b"))
    (again,) = book.open_findings("default")
    assert again.acked_until is None


def test_what_a_person_resolves_is_closed_by_them_and_sets_a_mark() -> None:
    one_pass(*seen("PoisonTask", "a.b", "c.d"))
    before = rows.db_now("default") - rows.timedelta(seconds=1)
    assert book.resolve("PoisonTask", "nothing", "me@h", "x", "default") == []
    assert names(book.resolve("PoisonTask", "a.b", "me@h", "seen to", "default")) == [
        "PoisonTask a.b"
    ]
    one_pass()  # and the other by itself
    marks = book.resolved_at("PoisonTask", before, "default")
    assert list(marks) == ["a.b"]
    assert marks["a.b"] > before
    assert {(each.object, each.closed_by, each.closed_why) for each in book.closed("default")} == {
        ("a.b", "me@h", "seen to"),
        ("c.d", "", ""),
    }


def test_a_pass_that_looked_before_a_person_resolved_it_does_not_open_it_anew() -> None:
    one_pass(*seen("PoisonTask", "a.b"))
    before = db_now("default")
    book.resolve("PoisonTask", "a.b", "me@h", "seen to", "default")
    found = seen("PoisonTask", "a.b", "c.d")
    late = book.record(found, CODES, "me", "default", began=before)
    assert names(late.opened) == ["PoisonTask c.d"]
    next_ = book.record(found, CODES, "me", "default", began=db_now("default"))
    assert names(next_.opened) == ["PoisonTask a.b"]


def test_what_another_has_opened_is_not_forgotten_where_somebody_listens() -> None:
    """Django reads what it is to delete where a signal has a receiver, and deletes by keys."""
    one_pass(*seen(BACKLOG, "bulk"))
    told: list[Any] = []
    pre_delete.connect(told.append, sender=Finding)
    try:
        with CaptureQueriesContext(connection) as queries:
            one_pass()
    finally:
        pre_delete.disconnect(told.append, sender=Finding)
    (delete,) = [each["sql"] for each in queries if each["sql"].startswith("DELETE")]
    assert "unseen" in delete and "state" in delete
    assert not Finding.objects.exists()


def test_an_object_is_named_letter_by_letter() -> None:
    one_pass(*seen("PoisonTask", "bulk", "Bulk"))
    assert names(book.resolve("PoisonTask", "bulk", "me@h", "x", "default")) == ["PoisonTask bulk"]
    assert open_now() == ["PoisonTask Bulk"]
