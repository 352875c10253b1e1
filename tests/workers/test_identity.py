"""Is it still the same process? Real pids, zombies and namespaces give the answer."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from argus_maint.workers import identity
from argus_maint.workers.identity import (
    Host,
    Presence,
    member_id,
    new_incarnation,
    presence,
    same_place,
    start_time,
    stat_of,
    this_host,
)
from tests.conftest import ROOT
from tests.lab import Lab, until

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
HERE, GONE, UNKNOWN = Presence.HERE, Presence.GONE, Presence.UNKNOWN


@contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@linux
def test_a_process_that_runs_or_is_stopped_is_here() -> None:
    with sleeper() as process:
        started = start_time(process.pid)
        assert started.isdigit()
        assert presence(process.pid, started) is HERE
        process.send_signal(signal.SIGSTOP)
        until(lambda: stat_of(process.pid)[0] == "T")
        assert presence(process.pid, started) is HERE


@linux
def test_a_zombie_is_gone_and_so_is_a_pid_that_nobody_has() -> None:
    with sleeper() as process:
        started = start_time(process.pid)
        process.kill()
        until(lambda: stat_of(process.pid)[0] == "Z")
        assert presence(process.pid, started) is GONE
        assert presence(process.pid, "") is GONE  # a zombie, whoever it was
    assert presence(process.pid, started) is GONE
    assert presence(process.pid, "") is GONE


@linux
def test_another_process_under_the_same_pid_is_told_by_its_start_time() -> None:
    with sleeper() as process:
        assert presence(process.pid, str(int(start_time(process.pid)) - 1)) is GONE


@linux
def test_what_was_not_recorded_proves_nothing() -> None:
    with sleeper() as process:
        assert presence(process.pid, "") is UNKNOWN


@pytest.mark.parametrize("pid", [-1, 0, 1 << 31, 1 << 70])
def test_what_is_no_pid_proves_nothing(pid: int) -> None:
    assert presence(pid, "12345") is UNKNOWN


def test_where_nothing_can_be_read_only_the_missing_pid_is_proof(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with sleeper() as process:
        monkeypatch.setattr(identity, "_read", lambda path: "")
        assert stat_of(process.pid) == ("", "")
        assert presence(process.pid, "12345") is UNKNOWN
    assert presence(process.pid, "12345") is GONE


@linux
def test_a_proc_that_shows_other_processes_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with sleeper() as process:
        monkeypatch.setattr(identity, "_proc_is_ours", lambda: False)
        assert start_time(process.pid) == ""
        assert presence(process.pid, "12345") is UNKNOWN
        assert this_host().pid_namespace == ""


@linux
def test_a_command_name_may_hold_spaces_and_parentheses(tmp_path) -> None:
    odd = tmp_path / "a) Z 1 (b"
    shutil.copy(shutil.which("sleep") or "", odd)
    process = subprocess.Popen([odd, "600"])
    try:
        until(lambda: stat_of(process.pid)[0] == "S")
        assert int(start_time(process.pid)) >= int(start_time(os.getpid()))
        assert presence(process.pid, start_time(process.pid)) is HERE
    finally:
        process.kill()
        process.wait()


HIDDEN = """
import encodings.ascii
import os
from argus_maint.workers.identity import presence, stat_of, this_host
os.setgroups([]), os.setgid(65534), os.setuid(65534)
print(stat_of(1), presence(1, "12345").value, presence(99999, "1").value)
print(presence(os.getpid(), stat_of(os.getpid())[1]).value, bool(this_host().pid_namespace))
"""


@linux
@pytest.mark.skipif(os.geteuid() != 0, reason="hiding processes takes root")
def test_a_process_hidden_by_hidepid_is_unknown_and_not_dead() -> None:
    # The shell stays as PID 1, owned by root: it is the one that is hidden.
    alone = ["unshare", "--mount", "--pid", "--fork", "--mount-proc"]
    script = 'mount -o remount,hidepid=2 /proc || exit 77; "$0" -c "$1"; exit $?'
    done = subprocess.run(
        [*alone, "sh", "-c", script, sys.executable, HIDDEN],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no hidepid here: {done.stderr.strip()}")
    assert done.stdout.splitlines() == ["('', '') unknown gone", "here True"], done.stderr


@linux
def test_a_host_is_described_by_what_makes_a_pid_mean_something() -> None:
    host = this_host()
    assert re.fullmatch(r"[0-9a-f-]{36}", host.boot_id)
    assert re.fullmatch(r"pid:\[\d+\]", host.pid_namespace)
    assert host.hostname
    assert same_place(host, host.boot_id, host.pid_namespace)


@pytest.mark.parametrize(
    ("boot_id", "namespace"), [("other", "pid:[1]"), ("boot", "pid:[2]"), ("", "pid:[1]")]
)
def test_a_pid_of_another_boot_or_namespace_is_not_looked_up(boot_id: str, namespace: str) -> None:
    host = Host("machine", "name", "boot", "pid:[1]")
    assert not same_place(host, boot_id, namespace)


def test_what_this_host_cannot_tell_about_itself_is_equal_to_nothing() -> None:
    assert not same_place(Host("", "", "", ""), "", "")
    assert not same_place(Host("m", "n", "boot", ""), "boot", "")


def test_ids_differ_by_life_by_child_and_by_registration() -> None:
    lives = {new_incarnation() for _ in range(100)}
    assert len(lives) == 100
    ids = [member_id("w", life, number, epoch) for life in ("a", "b") for number in (0, 1, 11)
           for epoch in (0, 1, 11)]  # fmt: skip
    assert len(set(ids)) == len(ids)
    assert len(member_id("n" * 64, "0" * 12, 10**6, 10**6)) <= 128


def test_a_name_that_a_living_supervisor_has_is_warned_about(lab: Lab) -> None:
    first = lab.worker(name="twin").ready()
    assert "name.taken" not in first.log
    second = lab.worker(name="twin").ready(2)
    until(lambda: f"pid={first.pid}" in second.log)
    (line,) = [line for line in second.log.splitlines() if "event=name.taken" in line]
    assert "name=twin" in line and "--worker-id" in line
    assert second.stop() == 0

    first.signal(signal.SIGKILL)
    first.wait()
    third = lab.worker(name="twin")
    until(lambda: any(row.pid == third.pid and row.beats for row in third.rows("supervisor")))
    assert "name.taken" not in third.log
