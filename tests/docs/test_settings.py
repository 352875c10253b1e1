"""The page of the settings knows every key there is, and the default that it has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from argus_maint import checks, conf, conf_findings, conf_jobs, conf_ping, conf_storage, retention
from argus_maint.backends.adapters import KNOWN
from argus_maint.options import Option, Reader
from tools.docs import settings

PAGE = settings.pages()[settings.PATH]


def _section(name: str) -> str:
    return PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]


def _known(section: str, value: object) -> list[str]:
    """The keys that the code knows, as it says for one that it does not."""
    reader = Reader()
    conf.SECTIONS[section](value, reader)
    hint = next(each.hint for each in reader.problems if each.hint.startswith("Known keys"))
    return hint.removeprefix("Known keys: ").removesuffix(".").split(", ")


def test_every_section_is_on_the_page() -> None:
    assert list(settings.SECTIONS) == list(conf.SECTIONS)
    assert re.findall(r"^## ([A-Z]+)$", PAGE, re.MULTILINE) == list(conf.SECTIONS)


@pytest.mark.parametrize(
    "name", [name for name in conf.SECTIONS if name not in ("JOBS", "BACKENDS")]
)
def test_every_key_is_on_the_page(name: str) -> None:
    wrong = {"no_such_key": 1}
    keys = _known(name, {"*": wrong} if name == "RESCUE" else wrong)
    assert len(keys) > 1
    for key in keys:
        assert f"`{key}`" in _section(name), key


def test_every_key_of_a_job_is_on_the_page() -> None:
    for key in conf_jobs._ALL_KEYS:
        assert re.search(rf"^\| `{key}` \| \S", _section("JOBS"), re.MULTILINE), key
    for name, ours in conf_jobs.OURS.items():
        assert re.search(rf"^\| `{name}` \| `[^`]+` \| `", _section("JOBS"), re.MULTILINE)
        for option in ours.options:
            assert f"| `{name}` | `{option}` |" in _section("JOBS")


def test_every_backend_that_is_built_in_is_on_the_page() -> None:
    for backend, adapter in KNOWN.items():
        assert f"| `{backend}` | `{adapter}` |" in _section("BACKENDS")


def test_every_threshold_of_a_finding_is_on_the_page() -> None:
    for name, code in conf_findings.CODES.items():
        for key in code.options:
            assert f"| `{name}` | `{key}` |" in _section("FINDINGS")


def _defaults() -> Iterator[tuple[str, Option, Any]]:
    tables: list[tuple[str, Mapping[str, Option], Mapping[str, Any]]] = [
        ("RESCUE", conf.POLICY_OPTIONS, settings.vars_of(conf.Policy())),
        ("PROCESSES", conf.PROCESS_OPTIONS, settings._processes()),
        ("RETENTION", retention.AGES, retention.Retention().ages),
        ("RETENTION", retention.OWN, settings.vars_of(retention.Retention())),
        ("PRUNE", conf.PRUNE_OPTIONS, settings.vars_of(conf.Prune())),
        ("STORAGE", conf_storage.OPTIONS, settings.vars_of(conf_storage.Storage())),
        ("PING", conf_ping.OPTIONS, settings.vars_of(conf_ping.Ping())),
    ]
    tables += [
        (name, settings._own_options(name), code.options)
        for name, code in conf_findings.CODES.items()
    ]
    for name, options, values in tables:
        for key, option in options.items():
            yield f"{name}.{key}", option, values[key]


def test_a_default_is_what_a_site_would_write() -> None:
    for name, option, value in _defaults():
        shown = settings.shown(value, option)
        assert option.parse(ast.literal_eval(shown), name) == value
        cells = f"`{name.split('.')[1]}` | `{shown}` |"
        row = next(line for line in PAGE.splitlines() if cells in line)
        assert row.endswith(". |"), row


def test_a_default_that_a_hint_names_is_the_one() -> None:
    named = 0
    for name, option, value in _defaults():
        if said := settings._DEFAULT.search(option.hint):
            text = said[0].strip(";. ").rpartition("default is ")[2].removesuffix(" s")
            assert option.parse(ast.literal_eval(text), name) == value
            named += 1
    assert named > 20


def test_every_check_is_on_the_page() -> None:
    source = Path(checks.__file__).read_text(encoding="utf-8") + Path(conf.__file__).read_text()
    ids = set(re.findall(r"\b[EW]0\d\d\b", source))
    listed = set(re.findall(r"^\| `argus_maint\.(\w+)`", _section("System checks"), re.MULTILINE))
    assert ids == listed
