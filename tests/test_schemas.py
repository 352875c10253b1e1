"""The JSON schemas that the package ships: each stands alone, and none contradicts another."""

from __future__ import annotations

from tests.schemas import load


def test_a_ledger_entry_is_the_same_in_every_schema() -> None:
    entries = [load(name)["$defs"]["ledger_entry"] for name in ("history", "rescue", "status")]
    assert entries[0]["required"]
    assert entries == [entries[0]] * 3
