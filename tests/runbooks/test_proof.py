"""Every runbook against the real fault: three tests a page.

- On a healthy site its Diagnosis does not hold.
- With the fault its finding is open, Diagnosis, Mitigation and Verify hold, and the finding
  is closed.
- Without Mitigation, Verify does not hold.

They run on SQLite, and for pages that differ there on PostgreSQL::

    ARGUS_MAINT_TEST_DB=postgres pytest -m proof tests/runbooks
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from argus_maint.drills.faults import FAULTS
from argus_maint.drills.scratch import Scratch
from argus_maint.runbooks.page import parse
from argus_maint.runbooks.places import CHECKOUT
from tests.runbooks.proof import PATIENCE, Proof, of_what_is_well, pages
from tests.scratches import KIND, VENDORS, Scratches

VENDOR = VENDORS[KIND]


def here() -> list[Path]:
    """The pages that are proved on this database."""
    if KIND == "sqlite":
        return pages(CHECKOUT)
    return [
        path
        for path in pages(CHECKOUT)
        if any(step.database == VENDOR for step in parse(path).steps)
    ]


pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(240),
    pytest.mark.skipif(KIND == "mariadb", reason="no scratch projects on MariaDB"),
]
each_page = pytest.mark.parametrize("path", here(), ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def healthy(scratches: Scratches) -> Iterator[Scratch]:
    """One that nobody breaks; at the end it is still as it was."""
    with scratches.one() as scratch:
        scratch.start()
        yield scratch
        done = scratch.manage("maint", "findings", "--look", check=False)
        assert done.status == 0, f"the Diagnosis of a page has broken something:\n{done.output}"


@pytest.fixture
def scratch(scratches: Scratches) -> Iterator[Scratch]:
    with scratches.one() as scratch:
        scratch.start()
        yield scratch


def broken(scratch: Scratch, path: Path) -> Proof:
    """The fault of a page is there, and its finding is open."""
    proof = Proof(scratch, parse(path))
    FAULTS[proof.page.matter.fault].inject(scratch)
    scratch.until(lambda: path.stem in proof.look(), f"the finding {path.stem} is seen")
    return proof


@each_page
def test_its_diagnosis_does_not_hold_on_a_healthy_site(healthy: Scratch, path: Path) -> None:
    proof = Proof(healthy, parse(path))
    proof.evidence = of_what_is_well(healthy)

    outcome = proof.goes("Diagnosis", PATIENCE)

    assert outcome is not None, "all that it says is so where nothing is wrong"


@each_page
def test_it_leads_from_the_fault_to_a_closed_finding(scratch: Scratch, path: Path) -> None:
    proof = broken(scratch, path)

    for section in ("Diagnosis", "Mitigation", "Verify"):
        proof.must(section)

    assert path.stem not in proof.look(), f"it is still there: {proof.evidence}"


@each_page
def test_its_verify_does_not_hold_without_mitigation(scratch: Scratch, path: Path) -> None:
    proof = broken(scratch, path)

    outcome = proof.goes("Verify", PATIENCE)

    assert outcome is not None, "all that it says is so while the fault is there"
