"""The page for the person on call knows every event of the log, and every word of ours."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from django.db.models import TextChoices

from argus_maint.models import Finding, LedgerEntry, Process, Run

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
LEVELS = {"debug", "info", "warning", "error", "exception"}
# What a name that is put together may end in: ``task.{action}``.
ENDINGS = ("requeued", "failed", "quarantined", "discarded", "moved", "prioritized")


def _events() -> set[str]:
    """Every event name in the code."""
    paths = (path for path in (ROOT / "argus_maint").rglob("*.py") if "demo" not in path.parts)
    calls = (
        node
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    )
    return {name for call in calls if _logs(call) for name in _names(call.args[0])}


def _logs(call: ast.Call) -> bool:
    func = call.func
    if isinstance(func, ast.Name):
        return func.id == "report"  # logger.info or logger.warning
    owner = func.value if isinstance(func, ast.Attribute) and func.attr in LEVELS else None
    return isinstance(owner, ast.Name) and owner.id == "logger"


def _names(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.IfExp):
        yield from _names(node.body)
        yield from _names(node.orelse)
    elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
        yield from (f"{node.values[0].value}{ending}" for ending in ENDINGS)
    else:
        raise AssertionError(f"no event name that a test can read: {ast.unparse(node)}")


def _section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def _in_first_column(section: str) -> set[str]:
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_the_page_lists_every_event_and_no_other() -> None:
    listed = _in_first_column(_section("Every event of the log"))
    assert sorted(listed) == sorted(_events())


def test_the_page_explains_every_word() -> None:
    choices: list[type[TextChoices]] = [
        Process.State,
        LedgerEntry.Verdict,
        LedgerEntry.Action,
        Run.State,
        Finding.State,
    ]
    words = {value for each in choices for value in each.values}
    reasons = {"crashed", "lost", "overdue", "stuck", "manual", "shutdown", "stopped", "receivers"}
    problems = {"unserved", "no_worker", "no_scheduler", "stalled", "silent", "unregistered"}
    problems |= {"locked", "job", "backend"}
    listed = _in_first_column(_section("Every word"))
    assert sorted((words | reasons | problems) - listed) == []


def test_every_command_on_the_page_exists() -> None:
    from argus_maint.management.commands.maint import SUBCOMMANDS

    named = set(re.findall(r"maint (\w+)(?=[ `])", PAGE.replace("**", "")))
    assert named - {"and"} <= set(SUBCOMMANDS)


def test_a_table_has_as_many_cells_in_every_line() -> None:
    lines = PAGE.splitlines()
    for before, line in zip(lines, lines[1:], strict=False):
        if before.startswith("|") and line.startswith("|"):
            assert _cells(line) == _cells(before), line


def _cells(line: str) -> int:
    return len(re.findall(r"(?<!\\)\|", line))
