"""``maint findings``, ``ack`` and ``resolve``: what a person sees, and their mistakes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django_tasks_db.models import DBTaskResult

from argus_maint.findings import book
from argus_maint.findings.observation import Observation
from argus_maint.jobs import detect
from argus_maint.models import Act, Finding, LedgerEntry, Process
from tests import rows
from tests.commands.calls import as_json, maint, wrong
from tests.commands.test_jobs import maint as run
from tests.findings.test_detect import SQLITE, writer
from tests.observe import notes
from tests.observe import test_status_plans as plans
from tests.schemas import validate

pytestmark = pytest.mark.django_db(transaction=True)


def opened(code: str, *objects: str) -> None:
    """Findings that are open."""
    found = [Observation(code, each, f"about {each}", {"queue": each}) for each in objects]
    for _ in range(3):
        book.record(found, {code}, "w1@h", "default")


def listed(*arguments: str) -> tuple[int, Any]:
    code, said = run("findings", *arguments, "--json")
    document = json.loads(said)
    validate("findings", document)
    return code, document


def test_where_nothing_is_open_it_says_so_and_exits_0() -> None:
    assert run("findings") == (0, "nothing is open\n")
    assert listed() == (
        0,
        {
            "kind": "argus_maint.findings",
            "version": 1,
            "dry_run": False,
            "look": None,
            "findings": [],
        },
    )


def test_an_open_one_is_listed_with_its_runbook_and_exits_1() -> None:
    opened("QueueBacklog", "bulk; rm")
    code, said = run("findings")
    assert code == 1
    assert "warning   QueueBacklog bulk; rm  since " in said
    assert "    manage.py maint runbook QueueBacklog 'bulk; rm'\n" in said
    code, document = listed("QueueBacklog")
    (finding,) = document["findings"]
    assert (code, finding["evidence"], finding["noticed_by"]) == (1, {"queue": "bulk; rm"}, "w1@h")
    assert run("findings", "PoisonTask") == (0, "nothing is open\n")


def test_one_that_is_acked_is_listed_and_does_not_count() -> None:
    opened("QueueBacklog", "bulk", "mail")
    said = maint("ack", "QueueBacklog", "--for", "2h", "--why", "import runs", "bulk")
    assert "acked by " in said and ": import runs" in said
    assert run("findings")[0] == 1  # mail
    document = as_json("findings", "ack", "QueueBacklog", "--for=1h", "--why=x", "--yes")
    assert [each["acked"]["why"] for each in document["findings"]] == ["x", "x"]
    code, said = run("findings")
    assert (code, said.count("acked by"), "runbook" in said) == (0, 2, False)
    maint("ack", "QueueBacklog", "mail", "--undo", "--why", "over")
    assert run("findings")[0] == 1
    assert list(Act.objects.order_by("pk").values_list("verb", "subject")) == [
        ("ack", "QueueBacklog bulk"),
        ("ack", "QueueBacklog bulk"),
        ("ack", "QueueBacklog mail"),
        ("unack", "QueueBacklog mail"),
    ]
    acts = as_json("history", "history", "--acts")["acts"]
    assert [each["verb"] for each in acts] == ["unack", "ack", "ack", "ack"]
    assert "import runs" in maint("history", "--acts", "--since=1h")
    assert maint("history", "--acts", "--by=nobody") == "nothing on record\n"


def test_all_of_a_code_are_meant_only_where_somebody_says_so() -> None:
    opened("QueueBacklog", "bulk", "mail")
    acks = ("ack", "QueueBacklog", "--for=1h", "--why=x")
    for arguments in (acks, (*acks, "--json"), ("resolve", "QueueBacklog", "--why=x")):
        said = wrong(*arguments)
        assert said.startswith(f"This would {arguments[0]} 2 findings QueueBacklog: ")
        assert "bulk" in said and said.endswith("Name one, or add --yes.")
    assert not Act.objects.exists()
    assert maint("resolve", "QueueBacklog", "--why=x", "--dry-run").count("QueueBacklog") > 2
    assert "2 findings" in wrong("ack", "QueueBacklog", "--undo", "--why=x")
    assert maint(*acks, "--yes").count("acked by") == 2
    maint("resolve", "QueueBacklog", "bulk", "--why=x")
    maint("resolve", "QueueBacklog", "--why=x")  # the only one
    assert book.open_findings("default") == []


def test_an_object_is_named_by_an_unmistakable_beginning() -> None:
    tasks = ["0f3c9a1e-7a5c-4a5e-9a0e-5b7f3d1c2b4a", "0f3d0000-7a5c-4a5e-9a0e-5b7f3d1c2b4a"]
    opened("StuckTask", *tasks)
    opened("QueueBacklog", "bulk", "bulk-2")
    document = as_json("findings", "ack", "StuckTask", "0f3c9a1e", "--for=1h", "--why=x")
    assert [each["object"] for each in document["findings"]] == tasks[:1]
    said = wrong("resolve", "StuckTask", "0f3", "--why=x")
    assert said.startswith("Several open findings of StuckTask begin with '0f3': 0f3")
    assert "No finding StuckTask  is open." in wrong("resolve", "StuckTask", "", "--why=x")
    maint("resolve", "QueueBacklog", "bulk", "--why=x")
    assert [each.object for each in book.open_findings("default", "QueueBacklog")] == ["bulk-2"]


def test_findings_are_narrowed_to_an_object_and_so_is_the_exit_status() -> None:
    opened("QueueBacklog", "bulk", "mail")
    assert listed("QueueBacklog", "bu")[0] == 1
    assert [each["object"] for each in listed("QueueBacklog", "bulk")[1]["findings"]] == ["bulk"]
    assert run("findings", "QueueBacklog", "other") == (0, "nothing is open\n")
    assert run("findings", "QueueBacklog", "") == (0, "nothing is open\n")
    maint("ack", "QueueBacklog", "mail", "--for=1h", "--why=x")
    assert [run("findings", "QueueBacklog", *each)[0] for each in (["mail"], [])] == [0, 1]
    maint("resolve", "QueueBacklog", "bulk", "--why=x")
    assert "bulk" in run("findings", "QueueBacklog", "bul", "--closed")[1]
    assert run("findings", "QueueBacklog", "mail", "--closed")[1] == "nothing has closed\n"
    rows.task(age=900)
    assert listed("NoWorkers", "default", "--look")[1]["look"]["seen"]
    assert not listed("NoWorkers", "other", "--look")[1]["look"]["seen"]
    opened("QueueBacklog", "mail", "mails")
    assert "begin with 'ma'" in wrong("findings", "QueueBacklog", "ma")


def test_resolve_closes_it_and_the_history_keeps_who_and_why() -> None:
    opened("ZombieWrite", "w1", "w2")
    document = as_json("findings", "resolve", "ZombieWrite", "w1", "--why=seen", "--dry-run")
    assert (document["dry_run"], document["findings"][0]["state"]) == (True, "open")
    assert len(book.open_findings("default")) == 2
    assert "s ago by " in maint("resolve", "ZombieWrite", "w1", "--why=seen")
    assert [each.object for each in book.open_findings("default")] == ["w2"]
    _, document = listed("--closed", "--since=1h")
    (finding,) = document["findings"]
    assert (finding["object"], finding["closed_why"]) == ("w1", "seen")
    assert "seen" in run("findings", "--closed")[1]


def test_a_look_is_a_pass_that_counts() -> None:
    rows.task(age=900)
    code, document = listed("--look")
    assert (code, document["findings"], document["look"]["recorded"]) == (0, [], True)
    assert [each["code"] for each in document["look"]["seen"]] == ["NoWorkers"]
    code, document = listed("--look")
    assert (code, document["look"]["opened"]) == (1, ["NoWorkers default"])
    rows.process("w1")
    code, document = listed("--look")
    assert (code, document["look"]["closed"]) == (0, ["NoWorkers default"])


def test_what_was_seen_and_is_not_open_yet_is_shown_too() -> None:
    rows.task(age=900)
    _, said = run("findings", "--look")
    assert "seen, and not open yet:\nNoWorkers default\n" in said
    assert said.endswith("nothing is open\n")


@SQLITE
@override_settings(ARGUS_MAINT={"FINDINGS": {"DatabaseLocked": {"held": 0.3}}})
def test_a_look_at_a_locked_database_says_what_it_saw_and_that_it_is_not_recorded() -> None:
    with writer() as pid:
        code, document = listed("--look")
        assert (code, document["look"]["recorded"]) == (1, False)
        (seen,) = document["look"]["seen"]
        assert (seen["code"], seen["evidence"]["pid"]) == ("DatabaseLocked", pid)
        code, said = run("findings", "--look")
        _, page = run("runbook", "DatabaseLocked")
    assert (code, f"pid {pid}" in said, "nothing is open" in said) == (1, True, False)
    assert "> Seen now, and not recorded: the write lock could not be had for 2 s" in page
    assert f"\n> PID      {pid}\n" in page
    assert not Finding.objects.exists()


@SQLITE
def test_while_the_database_is_locked_something_is_open_without_a_look_too() -> None:
    rows.process("w1", silent=900), rows.task(age=900)
    notes.run("findings", age=30)
    with writer() as pid:
        code, said = run("findings")
        assert (code, said.splitlines()[:2]) == (
            1,
            ["Seen now, and not recorded:", "DatabaseLocked"],
        )
        assert f"pid {pid}" in said and "nothing is open" not in said
        assert "manage.py maint runbook DatabaseLocked" in said
        code, document = listed("DatabaseLocked")
        assert (code, document["findings"]) == (1, [])
        assert [each["code"] for each in document["look"]["seen"]] == ["DatabaseLocked"]
        assert document["look"]["recorded"] is False
        assert run("findings", "PoisonTask") == (0, "nothing is open\n")
        assert run("findings", "--closed") == (0, "nothing has closed\n")
        page = maint("status")
        problems = as_json("status", "status")["problems"]
    assert "no worker" in page and "maint runbook DatabaseLocked" in page
    assert not any(each in page for each in ("manage.py db_worker", "crontask", "maint rescue"))
    assert {each["command"] for each in problems[1:]} == {""}
    assert run("findings") == (0, "nothing is open\n")


# -- mistakes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("findings", "StuckTasks"), 'Did you mean "StuckTask"?'),
        (("ack", "QueueBaklog", "--for=1h", "--why=x"), 'Did you mean "QueueBacklog"?'),
        (("ack", "QueueBacklog", "--for=1h"), "Say why: --why TEXT."),
        (("ack", "QueueBacklog", "--for=1h", "--why= "), "--why: give a reason"),
        (("ack", "QueueBacklog", "--why=x"), "Say for how long: --for 2h."),
        (("ack", "QueueBacklog", "--why=x", "--for=0s"), "it must be longer than 0"),
        (("ack", "QueueBacklog", "--why=x", "--for=1h", "--undo"), "exclude each other"),
        (("resolve", "QueueBacklog", "bulk"), "Say why: --why TEXT."),
        (("findings", "--since=1h"), "--since goes with --closed."),
        (("history", "--acts", "--worker=w"), "--worker is about tasks"),
    ],
)
def test_a_wrong_argument_is_one_line_that_says_what_would_be_right(
    arguments: tuple[str, ...], says: str
) -> None:
    assert says in wrong(*arguments)


def test_what_is_not_open_is_named_with_what_is() -> None:
    assert "No finding QueueBacklog is open." in wrong("ack", "QueueBacklog", "--for=1h", "--why=x")
    opened("QueueBacklog", "bulk", "mail")
    said = wrong("resolve", "QueueBacklog", "bulc", "--why=x")
    assert said.startswith('No finding QueueBacklog bulc is open. Did you mean "bulk"?')
    assert set(said.partition("Open are: ")[2].split(", ")) == {"bulk", "mail"}


# -- cost and retention -----------------------------------------------------------------


def test_history_deletes_closed_findings_and_acts_past_their_retention() -> None:
    opened("QueueBacklog", "bulk", "mail")
    maint("resolve", "QueueBacklog", "bulk", "--why=x")
    Finding.objects.filter(object="bulk").update(closed_at=rows.ago(91 * 86_400))
    Act.objects.update(acted_at=rows.ago(366 * 86_400))
    assert run("run", "history")[0] == 0
    assert [each.object for each in Finding.objects.all()] == ["mail"]
    assert not Act.objects.exists()


def test_a_pass_reads_neither_finished_tasks_nor_past_history() -> None:
    """By the plan of each query: every big table is searched by an index, none is scanned."""
    rows.process()
    template = rows.task("SUCCESSFUL")
    old = [plans._copy(template) for _ in range(6000)]
    for each in old:
        each.finished_at = rows.ago(86_400)
    DBTaskResult.objects.bulk_create(old, batch_size=1000)
    row = rows.task("FAILED")
    rows.entry(row, action="quarantined")
    rows.task("RUNNING", workers=("stock",))
    LedgerEntry.objects.bulk_create(
        [plans._entry(row) for _ in range(6000)],
        batch_size=1000,
    )
    LedgerEntry.objects.filter(verdict="manual").update(acted_at=rows.ago(86_400 * 60))
    Process.objects.bulk_create([plans._ended(number) for number in range(3000)], batch_size=1000)
    Finding.objects.bulk_create([_closed(number) for number in range(3000)], batch_size=1000)
    # SQLite knows of an index how many rows a value has on average, and so, with nearly all
    # processes ended, would rather go through them all; they are few.
    few = () if connection.vendor == "sqlite" else (Process,)
    plans._analyze((DBTaskResult, LedgerEntry, Finding, *few))
    with CaptureQueriesContext(connection) as queries:
        seen = detect.observe("default", patience=0.1)
        book.record(seen.observations, seen.looked_for, "me", "default")
    assert not seen.errors
    scans = [
        f"{sql}\n{plan}"
        for sql in plans._selects(queries)
        if not any(name in sql for name in ("information_schema", "to_regclass", "unnest"))
        for plan in [plans._plan(sql)]
        if plans._is_scan(sql, plan)
    ]
    assert not scans, "\n\n".join(scans)
    assert len(queries) < 150


def _closed(number: int) -> Finding:
    moment = rows.ago(86_400)
    values = dict.fromkeys(("first_seen_at", "last_seen_at", "closed_at"), moment)
    return Finding(
        code="QueueBacklog", object=str(number), fingerprint=str(number), state="closed", **values
    )
