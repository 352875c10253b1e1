"""The ARGUS_MAINT setting."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from argus_maint import conf
from argus_maint.conf import Policy, Settings, get_settings, problems, resolve_lease
from argus_maint.conf_storage import Storage

DAY = 86_400


def read(settings, raw) -> Settings:
    settings.ARGUS_MAINT = raw
    return get_settings()


def only_problem(raw) -> conf.Problem:
    (problem,) = problems(raw)
    return problem


# -- the whole setting


@pytest.mark.parametrize("raw", [{}, {"PROCESSES": {}}])
def test_a_site_that_sets_nothing_gets_the_documented_defaults(settings, raw):
    found = read(settings, raw)
    assert found == Settings(
        rescue=(),
        lease=15,
        beat=5,
        process_retention=7 * DAY,
        unregistered_after=None,
        stalled_after=900,
    )


def test_the_setting_may_be_absent(settings):
    del settings.ARGUS_MAINT
    assert get_settings() == Settings()


def test_every_option_is_read_and_durations_become_seconds(settings):
    found = read(
        settings,
        {
            "RESCUE": {
                "*": {
                    "on_lost": "fail",
                    "max_losses": 5,
                    "backoff": ["0", "2m"],
                    "time_limit": "1h30m",
                    "on_overdue": "kill",
                }
            },
            "PROCESSES": {
                "lease": "20s",
                "beat": 4,
                "retention": "2d",
                "unregistered_after": "1h",
                "stalled_after": "2h",
            },
        },
    )
    assert found == Settings(
        rescue=(
            (
                "*",
                {
                    "on_lost": "fail",
                    "max_losses": 5,
                    "backoff": (0.0, 120.0),
                    "time_limit": 5_400.0,
                    "on_overdue": "kill",
                },
            ),
        ),
        lease=20,
        beat=4,
        process_retention=2 * DAY,
        unregistered_after=3_600,
        stalled_after=7_200,
    )


def test_the_settings_are_cached_until_the_setting_changes(settings):
    settings.ARGUS_MAINT = {"PROCESSES": {"lease": 30}}
    first = get_settings()
    assert first.lease == 30
    settings.DEBUG = not settings.DEBUG
    assert get_settings() is first
    settings.ARGUS_MAINT = {"PROCESSES": {"lease": 60}}
    assert get_settings().lease == 60


def test_all_problems_are_raised_together_one_a_line(settings):
    settings.ARGUS_MAINT = {"RESCU": {}, "PROCESSES": {"lease": "soon", "beat": 0}}
    with pytest.raises(ImproperlyConfigured) as caught:
        get_settings()
    first, *lines = str(caught.value).splitlines()
    assert first == "The setting ARGUS_MAINT is wrong:"
    assert len(lines) == 3
    assert 'Did you mean "RESCUE"?' in lines[0]
    assert 'ARGUS_MAINT["PROCESSES"]["lease"]' in lines[1]
    assert 'ARGUS_MAINT["PROCESSES"]["beat"]' in lines[2]


WORDS = st.sampled_from(
    ["RESCUE", "PROCESSES", "*", "a.*", "", "lease", "beat", "backoff", "on_lost", "max_losses"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | WORDS
RAW = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | SCALARS, inner, max_size=3),
    max_leaves=8,
)


@examples(deadline=None, max_examples=60)
@given(RAW | st.dictionaries(WORDS, st.dictionaries(WORDS, RAW, max_size=3), max_size=3))
def test_no_setting_however_wrong_makes_the_search_for_problems_raise(raw):
    for problem in problems(raw):
        assert problem.id in {"argus_maint.E001", "argus_maint.E002", "argus_maint.E003"}
        assert problem.message
        assert problem.hint


# -- unknown keys


@pytest.mark.parametrize(
    ("raw", "where", "meant"),
    [
        ({"rescue": {}}, "ARGUS_MAINT has no key 'rescue'.", '"RESCUE"'),
        (
            {"RESCUE": {"*": {"on_lots": "fail"}}},
            """ARGUS_MAINT["RESCUE"]["*"] has no key 'on_lots'.""",
            '"on_lost"',
        ),
        (
            {"PROCESSES": {"leese": 3}},
            """ARGUS_MAINT["PROCESSES"] has no key 'leese'.""",
            '"lease"',
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_one_that_was_meant(raw, where, meant):
    problem = only_problem(raw)
    assert problem.id == "argus_maint.E002"
    assert problem.message == f"{where} Did you mean {meant}?"
    assert meant.strip('"') in problem.hint


def test_an_unknown_key_that_is_near_to_nothing_gets_the_list_of_known_ones():
    problem = only_problem({"ZEBRA": {}})
    assert "Did you mean" not in problem.message
    assert (
        problem.hint
        == "Known keys: BACKENDS, FINDINGS, JOBS, PING, PROCESSES, PRUNE, RESCUE, RETENTION, "
        "STORAGE."
    )


# -- wrong values


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (None, "ARGUS_MAINT must be a dict, not None."),
        ({"RESCUE": ["*"]}, """ARGUS_MAINT["RESCUE"] must be a dict, not ['*']."""),
        ({"RESCUE": {"*": "fail"}}, """ARGUS_MAINT["RESCUE"]["*"] must be a dict, not 'fail'."""),
        ({"PROCESSES": 15}, """ARGUS_MAINT["PROCESSES"] must be a dict, not 15."""),
    ],
)
def test_a_section_that_is_no_dict_is_an_error_with_an_example(raw, says):
    problem = only_problem(raw)
    assert problem.id == "argus_maint.E001"
    assert problem.message == says
    assert problem.hint.startswith("For example {")


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("on_lost", "retry", 'must be "requeue" or "fail", not \'retry\'.'),
        ("on_lost", "requeu", 'Did you mean "requeue"?'),
        ("on_lost", None, 'must be "requeue" or "fail", not None.'),
        ("on_overdue", "fail", 'must be "report" or "kill"'),
        ("max_losses", 0, "must be a whole number, 1 or more, not 0."),
        ("max_losses", True, "must be a whole number"),
        ("max_losses", 2.0, "must be a whole number"),
        ("max_losses", None, "must be a whole number"),
        ("backoff", 5, "must be a pair, first delay and ceiling"),
        ("backoff", (1, 2, 3), "must be a pair"),
        ("backoff", "12", "must be a pair"),
        ("backoff", (60, 1), "as in (1, 60)."),
        ("backoff", (1, "soon"), '["backoff"][1] must be a duration'),
        ("time_limit", 0, "must be longer than 0 s."),
        ("time_limit", "soon", "must be a duration"),
    ],
)
def test_a_wrong_policy_option_says_what_is_right(option, value, says):
    problem = only_problem({"RESCUE": {"*": {option: value}}})
    assert problem.id == "argus_maint.E001"
    assert problem.message.startswith(f'ARGUS_MAINT["RESCUE"]["*"]["{option}"]')
    assert says in problem.message
    assert "default" in problem.hint


@pytest.mark.parametrize("option", ["lease", "beat", "unregistered_after", "stalled_after"])
def test_a_duration_of_a_process_is_longer_than_nothing(option):
    assert only_problem({"PROCESSES": {option: 0}}).id == "argus_maint.E001"


def test_rows_of_dead_processes_may_be_kept_for_no_time(settings):
    assert read(settings, {"PROCESSES": {"retention": 0}}).process_retention == 0


# -- patterns


@pytest.mark.parametrize("pattern", ["", " ", "a b", "a.*\n", 5, None])
def test_a_pattern_that_can_match_no_task_path_is_an_error(pattern):
    problem = only_problem({"RESCUE": {pattern: {}}})
    assert problem.id == "argus_maint.E001"
    assert "a pattern must be a string, not empty and without spaces" in problem.message


def test_patterns_are_ordered_from_the_least_to_the_most_specific(settings):
    ordered = [
        "*",
        "*.tasks.*",
        "pay.tasks.*",
        "pay.tasks.[a-zA-Z]*",  # a set is no literal; the order of the setting decides
        "pay.tasks.c*",
        "pay.tasks.charge*",
        "pay.tasks.charge",  # as many literals, but no star
    ]
    written = [ordered[n] for n in (6, 1, 2, 3, 0, 5, 4)]
    found = read(settings, {"RESCUE": {pattern: {} for pattern in written}})
    assert [pattern for pattern, _ in found.rescue] == ordered


# -- lease and beat


@pytest.mark.parametrize(
    ("processes", "lease", "beat"),
    [
        ({"lease": 30}, 30, 10),
        ({"lease": 3}, 3, 1),
        ({"lease": 1}, 1, 1 / 3),
        ({"beat": 2}, 15, 2),
        ({"beat": 7.5}, 15, 7.5),
        ({"lease": 10, "beat": 5}, 10, 5),
    ],
)
def test_a_lease_alone_sets_the_beat_and_a_beat_alone_keeps_the_lease(
    settings, processes, lease, beat
):
    found = read(settings, {"PROCESSES": processes})
    assert found.lease == lease
    assert found.beat == pytest.approx(beat)


@pytest.mark.parametrize(
    ("processes", "says"),
    [
        (
            {"lease": 9, "beat": 5},
            "a lease of 9 s does not outlast one missed beat of 5 s; "
            "use a lease of at least 10 s or a beat of at most 4.5 s.",
        ),
        ({"beat": 8}, "use a lease of at least 16 s or a beat of at most 7.5 s."),
        ({"lease": 0.9}, "the lease must be 1 s or more, not 0.9 s."),
    ],
)
def test_a_lease_that_does_not_fit_its_beat_is_an_error_that_says_what_would(processes, says):
    problem = only_problem({"PROCESSES": processes})
    assert problem.id == "argus_maint.E003"
    assert says in problem.message


@pytest.mark.parametrize("processes", [{"lease": "long", "beat": 8}, {"lease": 2, "beat": "often"}])
def test_a_wrong_lease_or_beat_is_not_blamed_on_the_other_as_well(processes):
    assert only_problem({"PROCESSES": processes}).id == "argus_maint.E001"


@pytest.mark.parametrize(
    ("lease", "beat", "expected"),
    [
        (None, None, (20, 4)),
        (6, None, (6, 2)),
        (None, 8, (20, 8)),
        (6, 3, (6, 3)),
    ],
)
def test_the_command_line_wins_over_the_setting(lease, beat, expected):
    assert resolve_lease(lease, beat, Settings(lease=20, beat=4)) == expected


@pytest.mark.parametrize(
    ("lease", "beat"),
    [(0, None), (0.5, None), (-1, None), (float("nan"), None), (float("inf"), None)]
    + [(None, 0), (None, 11), (5, 3), (None, float("nan"))],
)
def test_a_lease_on_the_command_line_that_cannot_work_is_refused(lease, beat):
    with pytest.raises(ValueError, match="lease|beat"):
        resolve_lease(lease, beat, Settings(lease=20, beat=4))


# -- backoff


def test_the_default_policy_is_the_documented_one():
    assert Policy() == Policy("requeue", 3, (1.0, 60.0), None, "report")


def test_each_further_loss_doubles_the_delay_up_to_the_ceiling():
    delays = [Policy(backoff=(1, 60)).delay(losses) for losses in range(1, 9)]
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]


def test_nothing_lost_is_nothing_to_wait_for():
    assert Policy().delay(0) == 0


@examples(deadline=None)
@given(
    st.floats(0, conf.parse_duration("36500d", what="it")),
    st.floats(0, conf.parse_duration("36500d", what="it")),
    st.integers(1, 10**30),
)
def test_a_delay_lies_between_its_first_and_its_ceiling_whatever_was_lost(a, b, losses):
    first, ceiling = sorted((a, b))
    policy = Policy(backoff=(first, ceiling))
    assert policy.delay(1) == first
    assert first <= policy.delay(losses) <= policy.delay(losses + 1) <= ceiling


# -- STORAGE


def test_storage_is_read_with_sizes_in_bytes_and_the_rest_by_default(settings):
    raw = {"STORAGE": {"min_size": "1G", "max_seconds": "10m", "bloat": 0.3}}
    assert read(settings, raw).storage == Storage(
        bloat=0.3, min_size=1024**3, max_seconds=600, target=0.05, duty=0.25
    )
    assert read(settings, {}).storage == Storage()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bloat", 0),
        ("bloat", 50),
        ("min_size", "-1M"),
        ("max_seconds", 0),
        ("target", "fast"),
        ("duty", 2),
    ],
)
def test_a_wrong_value_of_storage_is_named_with_its_default(key, value):
    problem = only_problem({"STORAGE": {key: value}})
    assert problem.message.startswith(f'ARGUS_MAINT["STORAGE"]["{key}"] must be')
    assert "default" in problem.hint
