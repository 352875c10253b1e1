"""The verdicts: what is proof of a death, and how much patience an expired lease needs."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from argus_maint.models import Process
from argus_maint.workers import liveness
from argus_maint.workers.identity import Host, Presence
from argus_maint.workers.liveness import GAP, Verdict, Watch, judge, lease_is_over

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
HERE = Host("machine", "host", "boot", "pid:[1]")
BEAT, LEASE = 5.0, 15.0


def process(age: float = 0, beats: int = 1, **values: Any) -> Process:
    """A process that beat ``age`` seconds ago, of this host unless said otherwise."""
    values = {"boot_id": "boot", "pid_namespace": "pid:[1]", "pid": 1, "start_time": "1", **values}
    return Process(
        worker_id="w", lease=LEASE, beats=beats, last_beat_at=NOW - timedelta(seconds=age), **values
    )


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[Presence]:
    """What the host will say about every pid."""
    answers = [Presence.HERE]
    monkeypatch.setattr(liveness, "presence", lambda pid, started: answers[-1])
    return answers


def verdict(of: Process, watch: Watch | None = None, at: float = 0.0) -> Verdict:
    return judge(of, HERE, NOW, watch, at)


# -- exited ----------------------------------------------------------------------------


def test_what_this_host_proves_to_be_gone_has_exited_at_once(looked_up: list[Presence]) -> None:
    looked_up.append(Presence.GONE)
    assert verdict(process(age=0)) is Verdict.EXITED
    assert verdict(process(age=3600)) is Verdict.EXITED


@pytest.mark.parametrize("answer", [Presence.HERE, Presence.UNKNOWN])
def test_what_is_not_proved_to_be_gone_has_its_lease(
    looked_up: list[Presence], answer: Presence
) -> None:
    looked_up.append(answer)
    assert verdict(process(age=LEASE)) is Verdict.ALIVE
    assert verdict(process(age=LEASE + 1)) is Verdict.WAITING


@pytest.mark.parametrize(
    "elsewhere", [{"boot_id": "other"}, {"pid_namespace": "pid:[2]"}, {"boot_id": ""}], ids=str
)
def test_a_pid_from_elsewhere_is_not_looked_up(
    looked_up: list[Presence], elsewhere: dict[str, str]
) -> None:
    looked_up.append(Presence.GONE)
    assert verdict(process(**elsewhere)) is Verdict.ALIVE


# -- expired -----------------------------------------------------------------------------


def watched(of: Process, since: float, until: float, beat: float = BEAT) -> Watch:
    """A watcher that has committed a beat and looked, every ``beat`` seconds."""
    watch = Watch(BEAT)
    at = since
    while at <= until:
        watch.committed(at)
        watch.observe(of, at)
        at += beat
    return watch


def test_nobody_is_taken_for_dead_by_one_look(looked_up: list[Presence]) -> None:
    of = process(age=3600)
    watch = watched(of, 100, 100)
    assert verdict(of, watch, 100) is Verdict.WAITING
    assert watch.confirms_at(of) == 100 + LEASE


def test_without_a_watch_a_lease_alone_proves_nothing(looked_up: list[Presence]) -> None:
    assert verdict(process(age=3600)) is Verdict.WAITING


def test_silence_for_a_whole_lease_is_proof(looked_up: list[Presence]) -> None:
    of = process(age=LEASE + 1)
    watch = watched(of, 100, 115)
    assert verdict(of, watch, 114.9) is Verdict.WAITING
    assert verdict(of, watch, 115) is Verdict.EXPIRED


def test_a_beat_begins_the_silence_anew(looked_up: list[Presence]) -> None:
    before = process(beats=1)
    watch = watched(before, 100, 110)
    after = process(age=LEASE + 1, beats=2, pk=before.pk)
    watch.committed(115)
    watch.observe(after, 115)
    assert verdict(after, watch, 116) is Verdict.WAITING
    assert watch.confirms_at(after) == 130


def test_a_watcher_that_could_not_beat_either_begins_anew(looked_up: list[Presence]) -> None:
    """The database was away for all: everybody was silent, and nobody is dead."""
    of = process(age=LEASE + 1)
    watch = watched(of, 100, 110)
    watch.observe(of, 140)  # reads go on; beats did not
    assert verdict(of, watch, 140) is Verdict.WAITING
    watch.committed(141)
    assert verdict(of, watch, 141) is Verdict.WAITING
    assert watch.confirms_at(of) == 141 + LEASE


def test_a_commit_that_comes_a_little_late_is_no_gap(looked_up: list[Presence]) -> None:
    of = process(age=LEASE + 1)
    watch = watched(of, 100, 115, beat=BEAT * 1.2)
    watch.committed(118)
    assert watch.confirms_at(of) == 115
    watch.committed(118 + BEAT * GAP + 0.1)
    assert watch.confirms_at(of) == 118 + BEAT * GAP + 0.1 + LEASE


def test_a_watcher_whose_own_last_beat_is_old_judges_nobody(looked_up: list[Presence]) -> None:
    of = process(age=LEASE + 1)
    watch = watched(of, 100, 115)
    assert verdict(of, watch, 115 + BEAT * GAP) is Verdict.EXPIRED
    assert verdict(of, watch, 115 + BEAT * GAP + 0.1) is Verdict.WAITING


def test_what_is_listed_again_is_watched_anew(looked_up: list[Presence]) -> None:
    of = process(age=LEASE + 1)
    watch = watched(of, 100, 115)
    watch.forget(set())
    assert verdict(of, watch, 116) is Verdict.WAITING
    watch.observe(of, 116)
    watch.forget({of.pk})
    assert watch.confirms_at(of) == 116 + LEASE


def test_a_clock_of_the_database_that_was_set_back_does_not_keep_the_dead_alive(
    looked_up: list[Presence],
) -> None:
    of = process(age=-3600)
    assert lease_is_over(of, NOW)
    assert verdict(of, watched(of, 100, 110), 110) is Verdict.WAITING
    assert verdict(of, watched(of, 100, 115), 115) is Verdict.EXPIRED


steps = st.lists(
    st.tuples(
        st.sampled_from([0.1, 1.0, 2.5, 4.9, 5.1, 7.4, 7.6]),  # seconds since the step before
        st.sampled_from(["commit", "commit", "look", "beat"]),
    ),
    min_size=8,
    max_size=40,
)


@settings(max_examples=400, deadline=None)
@given(steps)
def test_no_verdict_without_a_lease_of_silence_that_the_watcher_could_have_heard(
    history: list[tuple[float, str]],
) -> None:
    """Whatever happens in whatever order, EXPIRED has its whole proof in the history."""
    watch, at, beats = Watch(BEAT), 0.0, 0
    commits: list[float] = []
    looks: list[tuple[float, int]] = []
    of = process(age=3600, pid_namespace="elsewhere")
    for pause, what in history:
        at += pause
        if what == "commit":
            watch.committed(at)
            commits.append(at)
        elif what == "beat":
            beats += 1
        else:
            of.beats = beats
            watch.observe(of, at)
            looks.append((at, beats))
        if verdict(of, watch, at) is not Verdict.EXPIRED:
            continue
        event("expired")
        begin = at - of.lease
        # It looked a lease ago or before, and every look since found the same counter.
        same = [when for when, counter in looks if counter == looks[-1][1]]
        since = max([0.0, *(when for when, counter in looks if counter != looks[-1][1])])
        assert min(when for when in same if when > since or since == 0.0) <= begin + 1e-6
        # And its own commits cover that lease without a gap.
        cover = [when for when in commits if when <= begin + 1e-6][-1:] + [
            when for when in commits if when > begin + 1e-6
        ]
        assert cover
        assert cover[0] <= begin + 1e-6
        chain = [*cover, at]
        assert all(b - a <= BEAT * GAP + 1e-6 for a, b in zip(chain, chain[1:], strict=False))
