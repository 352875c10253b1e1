"""What is told to whom outside, and that nobody inside waits for it or fails by it."""

from __future__ import annotations

import base64
import importlib.util
import json
import logging
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.management import call_command
from django.test import override_settings

from argus_maint import __version__
from argus_maint.conf_jobs import Job
from argus_maint.conf_ping import Ping
from argus_maint.exceptions import JobError, JobStopped, Overlap
from argus_maint.models import Run
from argus_maint.scheduling import ledger, pings, sender
from argus_maint.scheduling.driver import Driver
from argus_maint.scheduling.ledger import Holder
from argus_maint.scheduling.member import Member
from argus_maint.scheduling.pings import Pings, Whole
from argus_maint.scheduling.runner import Runner
from argus_maint.scheduling.sender import Sender
from argus_maint.ticks import parse_schedule
from tests import rows
from tests.lab import until

SECRET = "5bf66975-d4c7-4bf5"
database = pytest.mark.django_db(transaction=True)


class Request:
    """One that a server got."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        self.method, self.path, self.query = handler.command, parts.path, parse_qs(parts.query)
        self.headers = handler.headers
        self.body = handler.rfile.read(int(handler.headers.get("Content-Length", 0))).decode()

    @property
    def signal(self) -> str:
        """What follows the secret part."""
        return self.path.partition(SECRET)[2]

    @property
    def rid(self) -> str:
        return self.query["rid"][0]


class Server:
    """A real HTTP server, which answers as it is told: a status, a place, or ``hang``."""

    def __init__(self) -> None:
        self.got: list[Request] = []
        self.status, self.location, self.hang = 200, "", False
        self.release = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.got.append(Request(self))
                if outer.hang:
                    outer.release.wait()
                self.send_response(outer.status)
                if 300 <= outer.status < 400:
                    self.send_header("Location", outer.location)
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.http.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}/ping/{SECRET}"

    def signals(self) -> list[str]:
        return [each.signal for each in self.got]

    def close(self) -> None:
        self.release.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Sender:
    """A sender of this test's own, which does not pause between its tries."""
    made = Sender()
    monkeypatch.setattr(sender, "PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(pings, "sender", lambda: made)
    return made


def nowhere() -> str:
    """A URL at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return f"http://127.0.0.1:{port}/ping/{SECRET}"


def job(url: str | None, **values: Any) -> Job:
    return Job("j", "a job", parse_schedule("* * * * *", "UTC"), ping=url, **values)


class Site:
    """A runner whose job does as it is told."""

    def __init__(self, member: Member, *more: Any) -> None:
        self.member, self.outcome = member, {"n": 1}
        self.runner = Runner("default", member, self.perform, [*more, Pings(Ping())])

    def perform(self, job: Job, run: Run) -> dict[str, Any]:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.fixture
def site(db: None) -> Iterator[Site]:
    member = Member("default", "cron")
    with member.beating():
        yield Site(member)


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Names of the events of pings, in their order."""
    found = (re.search(r"event=(ping\.\w+|observer\.\w+)", each) for each in caplog.messages)
    return [match[1] for match in found if match]


# -- what is sent


@database
def test_a_run_tells_its_start_and_its_end(site: Site, server: Server, post: Sender) -> None:
    run = site.runner.by_hand(job(server.url, options={"password": "hunter2", "n": 3}))
    assert post.flush(30)
    assert server.signals() == ["/start", ""]
    start, end = server.got
    assert start.rid == end.rid == str(pings.rid_of(run))
    assert {each.method for each in server.got} == {"POST"}
    assert {each.headers["User-Agent"] for each in server.got} == {f"argus_maint/{__version__}"}
    assert start.body.splitlines() == ["job: j", f"host: {run.host}", "due: by hand"]
    assert end.body.splitlines()[3:] == ["state: done", "n: 1"]


@database
@pytest.mark.parametrize(
    ("outcome", "ending", "says"),
    [
        (JobError("two rows could not go", {"rows": 5}), "/fail", "two rows could not go"),
        (JobError("check ended with status 3", {"status": 3}), "/3", "status: 3"),
        (JobError("killed", {"status": -9}), "/fail", "status: -9"),
        (ZeroDivisionError("oh"), "/fail", "ZeroDivisionError: oh"),
    ],
)
def test_a_run_that_failed_says_how(
    site: Site, server: Server, post: Sender, outcome: Exception, ending: str, says: str
) -> None:
    site.outcome = outcome
    site.runner.by_hand(job(server.url))
    assert post.flush(30)
    assert server.signals() == ["/start", ending]
    assert says in server.got[1].body


@database
def test_an_interrupt_is_a_failure(site: Site, server: Server, post: Sender) -> None:
    site.outcome = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        site.runner.by_hand(job(server.url))
    assert post.flush(30)
    assert server.signals() == ["/start", "/fail"]


@database
def test_no_body_holds_what_is_secret_or_too_long(site: Site, server: Server, post: Sender) -> None:
    options = {"argv": ("--token=hunter2", "-v"), "deep": [{"key": "abcdef"}]}
    site.outcome = {"output": "hunter2 abcdef postgres://me:pw99@db/x -v " + "ø" * 20_000}
    site.runner.by_hand(job(server.url, options=options))
    assert post.flush(30)
    body = server.got[1].body
    assert "output: *** *** postgres://***@db/x -v øøø" in body
    assert 9_990 < len(body.encode()) <= 10_000


@database
def test_a_job_without_a_url_and_a_tick_that_is_skipped_tell_nothing(
    site: Site, server: Server, post: Sender
) -> None:
    site.runner.by_hand(job(None))
    other = rows.process("s", kind="scheduler")
    assert ledger.claim("j", None, Holder("hand", "here", other.supervisor), "default")
    site.runner.fire(job(server.url))
    with pytest.raises(Overlap):
        site.runner.by_hand(job(server.url))
    assert Run.objects.filter(state="skipped").count() == 1
    assert post.flush(30)
    assert server.got == []


def lost_run() -> Run:
    """One of a minute ago, whose process is dead."""
    dead = rows.process("s", kind="scheduler", pid=rows.dead_pid())
    tick = job(None).schedule.latest(ledger.utc_now("default"))
    run = ledger.claim("j", tick, Holder("cron", "here", dead.supervisor), "default")
    assert run is not None
    return run


@database
def test_a_lost_run_that_is_not_run_again_has_failed(
    site: Site, server: Server, post: Sender
) -> None:
    lost = lost_run()
    site.runner.take_over({"j": job(server.url, on_lost="report")})
    assert post.flush(30)
    assert server.signals() == ["/fail"]
    assert server.got[0].rid == str(pings.rid_of(lost))
    assert "error: its process died" in server.got[0].body


@database
def test_a_lost_run_that_is_run_again_starts_again(
    site: Site, server: Server, post: Sender
) -> None:
    lost = lost_run()
    yearly = Job("j", "a job", parse_schedule("0 0 1 1 *", "UTC"), ping=server.url)
    site.runner.take_over({"j": yearly})
    assert post.flush(30)
    assert server.signals() == ["/start", ""]
    assert {each.rid for each in server.got} != {str(pings.rid_of(lost))}
    assert "attempt: 2" in server.got[0].body


@database
def test_a_run_that_is_stopped_or_no_longer_ours_tells_no_end(
    site: Site, server: Server, post: Sender
) -> None:
    site.outcome = JobStopped()
    site.runner.by_hand(job(server.url))
    Run.objects.all().delete()

    def taken_over(job: Job, run: Run) -> dict[str, Any]:
        Run.objects.filter(pk=run.pk).update(attempt=2)
        return {}

    site.runner.perform = taken_over
    assert site.runner.by_hand(job(server.url)).state == "lost"
    assert post.flush(30)
    assert server.signals() == ["/start", "/start"]


@database
def test_an_observer_that_raises_changes_nothing(
    server: Server, post: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def began(self, run: Run, job: Job) -> None:
            raise ZeroDivisionError

        ended = began

    member = Member("default", "cron")
    with member.beating():
        assert Site(member, Broken()).runner.by_hand(job(server.url)).state == "done"
    assert post.flush(30)
    assert server.signals() == ["/start", ""]
    assert events(caplog) == ["observer.error"] * 2


# -- where a ping goes


def test_the_signal_goes_before_the_query_and_a_login_into_a_header(
    server: Server, post: Sender
) -> None:
    post.send("j", f"http://me:p%40ss@{server.address}/ping/{SECRET}/?create=1", "/start")
    assert post.flush(30)
    (got,) = server.got
    assert (got.path, got.query) == (f"/ping/{SECRET}/start", {"create": ["1"]})
    assert base64.b64decode(got.headers["Authorization"].split()[1]) == b"me:p@ss"
    assert got.headers["Host"] == server.address


def test_a_proxy_of_the_environment_is_used(
    server: Server, post: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{server.address}")
    post.send("j", f"http://ping.example/{SECRET}", "/fail")
    assert post.flush(30)
    assert (server.got[0].headers["Host"], server.signals()) == ("ping.example", ["/fail"])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_followed_with_the_body_and_without_the_login(
    server: Server, post: Sender, status: int
) -> None:
    other = Server()
    try:
        server.status, server.location = status, f"{other.url}/start"
        post.send("j", f"http://me:pw@{server.address}/ping/{SECRET}", "/start", body="hello")
        assert post.flush(30)
        (got,) = other.got
        assert (got.method, got.signal, got.body) == ("POST", "/start", "hello")
        assert got.headers["Authorization"] is None
    finally:
        other.close()


@pytest.mark.parametrize("place", ["file:///etc/passwd", f"ftp://127.0.0.1/{SECRET}"])
def test_a_redirect_to_another_scheme_is_refused(
    server: Server, post: Sender, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    server.status, server.location = 302, place
    post.send("j", server.url)
    assert post.flush(30)
    assert len(server.got) == 1
    assert events(caplog) == ["ping.failed"]
    assert f'host=http://{server.address} job=j error="HTTP 302"' in caplog.text
    assert "passwd" not in caplog.text


# -- a server that is not well


@database
@pytest.mark.parametrize("fault", ["500", "404", "hangs", "away"])
def test_a_run_does_not_wait_for_a_server_nor_fail_with_it(
    site: Site, server: Server, post: Sender, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """Each fault is there for good: a run that waited for the server would never end."""
    url = nowhere() if fault == "away" else server.url
    server.status, server.hang = int(fault) if fault.isdigit() else 200, fault == "hangs"
    run = site.runner.by_hand(job(url))
    assert (run.state, run.error) == ("done", "")
    if fault == "hangs":
        until(lambda: server.got)
        assert not post.flush(0.01)  # a command ends, though the ping is on its way
        assert (post.sending, len(post.waiting)) == (True, 1)
    else:
        assert post.flush(30)
        assert events(caplog) == ["ping.failed"]
    assert SECRET not in caplog.text


def test_a_server_that_fails_is_asked_twice_more_and_then_once_a_ping(
    server: Server, post: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.status = 500
    for _ in range(3):
        post.send("j", server.url)
        assert post.flush(30)
    assert len(server.got) == 3 + 1 + 1
    assert events(caplog) == ["ping.failed"]
    server.status = 200
    post.send("j", server.url)
    assert post.flush(30)
    assert events(caplog) == ["ping.failed", "ping.back"]


def test_a_url_that_is_refused_is_told_once_while_others_of_its_host_are_well(
    server: Server, post: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def send(status: int, url: str) -> None:
        server.status = status
        post.send("j", url)
        assert post.flush(30)

    for _ in range(2):
        send(404, server.url)
        send(200, f"{server.url}-other")
    assert len(server.got) == 4  # to ask again would not help
    assert events(caplog) == ["ping.failed"]
    send(200, server.url)
    assert events(caplog) == ["ping.failed", "ping.back"]


def test_a_host_that_hangs_is_given_up_and_the_next_one_gets_its_ping(
    server: Server, post: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    other = Server()
    other.hang = True
    try:
        post.send("j", other.url, timeout=0.05)
        post.send("k", server.url)
        assert post.flush(30)
    finally:
        other.close()
    assert len(server.got) == 1
    assert events(caplog) == ["ping.failed"]
    assert "TimeoutError" in caplog.text


def test_a_queue_that_is_full_drops_the_oldest_and_counts(
    server: Server, post: Sender, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "MOST", 3)
    server.hang = True
    post.send("j", server.url, "/0")
    until(lambda: server.got)
    for n in range(1, 6):
        post.send("j", server.url, f"/{n}")
    assert (len(post.waiting), post.dropped) == (3, 2)
    server.release.set()
    assert post.flush(30)
    assert server.signals() == ["/0", "/3", "/4", "/5"]
    until(lambda: events(caplog))
    assert [each for each in caplog.messages if "dropped" in each] == ["event=ping.dropped pings=2"]


# -- the whole


def test_the_whole_is_told_no_more_often_than_asked_for(
    server: Server, post: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 100.0
    monkeypatch.setattr(pings, "now", lambda: at)
    whole = Whole(Ping(url=server.url, every=60), "web-1")
    for at in (100.0, 105.0, 150.0, 159.9, 161.0):  # noqa: B007 - `now` reads it
        whole.beat()
    assert post.flush(30)
    assert [(each.signal, each.body) for each in server.got] == [("", "host: web-1")] * 2


class Manager:
    watchdog_every = None

    def tell(self, message: str) -> None:
        pass


@database
def test_a_scheduler_is_well_while_what_is_due_is_claimed(site: Site) -> None:
    told: list[str] = []
    jobs = {"j": job(None)}
    driver = Driver(site.runner, jobs, lambda: None, Manager(), lambda: told.append("well"))  # type: ignore[arg-type]
    try:
        driver._beat()
        assert told == ["well"]  # it has just begun, and may have found a tick due
        until(lambda: not driver.due or driver._beat())
        until(lambda: not driver.busy)
        told.clear()

        driver.pool.submit = lambda *args: None  # type: ignore[assignment] # nobody claims
        Run.objects.all().delete()
        driver._beat()
        driver._beat()
        assert driver.due == {"j"}
        driver._beat()
        assert told == ["well"]  # at the first beat, when it had only just come due
    finally:
        driver.end()


@database
@pytest.mark.parametrize(
    ("target", "ending", "code"), [("builtins.dict", "", 0), ("builtins.nothing", "/1", 1)]
)
def test_a_tick_tells_how_it_ended(
    server: Server, post: Sender, target: str, ending: str, code: int
) -> None:
    off = {name: {"enabled": False} for name in ("rescue", "findings")}
    off |= {name: {"enabled": False} for name in ("prune", "storage", "history")}
    mine = {"function": target, "schedule": "* * * * *", "ping": f"{server.url}/mine"}
    setting = {"JOBS": {**off, "mine": mine}, "PING": {"url": f"{server.url}/all"}}
    with override_settings(ARGUS_MAINT={"RESCUE": {}, **setting}):
        if code:
            with pytest.raises(SystemExit) as left:
                call_command("maint", "tick")
            assert left.value.code == code
        else:
            call_command("maint", "tick")
    assert post.flush(30)
    of_job = "/fail" if code else ""
    assert server.signals() == ["/mine/start", f"/mine{of_job}", f"/all{ending}"]
    assert f"exit status: {code}" in server.got[2].body


def test_a_real_scheduler_tells_that_it_works_and_its_last_run_too(
    server: Server, child_env: dict[str, str]
) -> None:
    jobs = {"findings": {"ping": f"{server.url}/findings"}}
    setting = {"RESCUE": {}, "JOBS": jobs, "PING": {"url": f"{server.url}/all", "every": 1}}
    env = {**child_env, "ARGUS_MAINT_TEST_SETTING": json.dumps(setting), "no_proxy": "127.0.0.1"}
    command = [sys.executable, "-m", "django", "crontask"]
    with subprocess.Popen(command, env=env, stdout=-1, stderr=-2, text=True) as process:
        try:
            until(lambda: {"/all", "/findings/start", "/findings"} <= set(server.signals()))
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert SECRET not in out
    assert [each.body for each in server.got if each.signal == "/all"][0].startswith("host: ")


# -- Sentry


@pytest.fixture
def envelopes() -> Iterator[list[dict[str, Any]]]:
    """The check-ins that the real client hands to its transport."""
    if importlib.util.find_spec("sentry_sdk") is None:
        pytest.skip("sentry-sdk is not installed")
    import sentry_sdk
    from sentry_sdk.transport import Transport

    found: list[dict[str, Any]] = []

    class Collecting(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            found.extend(each.payload.json for each in envelope if each.type == "check_in")

    sentry_sdk.init(
        dsn="https://key@sentry.example/1", transport=Collecting, default_integrations=False
    )
    yield found
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)


@database
@pytest.mark.parametrize(("outcome", "status"), [({}, "ok"), (ZeroDivisionError(), "error")])
def test_a_run_checks_in_at_sentry(
    envelopes: list[dict[str, Any]], site: Site, outcome: Any, status: str
) -> None:
    from argus_maint.scheduling.sentry import CheckIns

    site.runner.observers, site.outcome = (CheckIns(),), outcome
    nightly = Job("j", "", parse_schedule("17 3 * * *", "Europe/Oslo"), time_limit=90.0)
    site.runner.by_hand(nightly)
    begin, end = envelopes
    assert (begin["status"], end["status"]) == ("in_progress", status)
    assert begin["check_in_id"] == end["check_in_id"]
    assert end["duration"] >= 0
    assert begin["monitor_slug"] == end["monitor_slug"] == "argus-maint-j"
    assert begin["monitor_config"] == {
        "schedule": {"type": "crontab", "value": "17 3 * * *"},
        "timezone": "Europe/Oslo",
        "checkin_margin": 5,
        "max_runtime": 2,
    }


@database
def test_sentry_hears_nothing_where_it_is_not_initialised(
    envelopes: list[dict[str, Any]], site: Site
) -> None:
    import sentry_sdk

    from argus_maint.scheduling.sentry import CheckIns

    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)
    site.runner.observers = (CheckIns(),)
    assert site.runner.by_hand(job(None)).state == "done"
    assert envelopes == []


@pytest.mark.parametrize(("setting", "kinds"), [(True, ["Pings", "CheckIns"]), (False, ["Pings"])])
def test_check_ins_can_be_switched_off(setting: bool, kinds: list[str]) -> None:
    from argus_maint.scheduling.observers import observers

    with override_settings(ARGUS_MAINT={"PING": {"sentry": setting}}):
        assert [type(each).__name__ for each in observers()] == kinds
