"""Each fault makes its own finding true, and no other: what drills and runbooks stand on.

The faults themselves are in ``argus_maint.drills.faults`` and not in this folder, since
``maint drill`` needs them where only the wheel is installed.
"""

from __future__ import annotations

import pytest

from argus_maint.conf_findings import CODES
from argus_maint.drills import clock
from argus_maint.drills.faults import FAULTS, fault_of
from argus_maint.drills.proof import told
from tests.faults.conftest import cannot
from tests.scratches import KIND, Scratches


def test_every_code_has_one_fault() -> None:
    assert sorted(fault.code for fault in FAULTS.values()) == sorted(CODES)
    assert all(fault_of(code).code == code for code in CODES)
    assert all(fault.hints and set(fault.beside) <= set(CODES) for fault in FAULTS.values())


# One that needs another backend's packages goes with the proofs, which have them.
EACH = [
    pytest.param(name, marks=pytest.mark.proof if fault.packages else pytest.mark.slow)
    for name, fault in FAULTS.items()
]


@pytest.mark.skipif(KIND == "mariadb", reason="no scratch projects on MariaDB")
@pytest.mark.parametrize("name", EACH)
def test_a_fault_makes_its_finding_true_and_no_other(scratches: Scratches, name: str) -> None:
    fault = FAULTS[name]
    if fault.code == "ClockSkew" and (why := clock.missing()):
        cannot(why)
    with scratches.one() as scratch:
        scratch.start()

        def seen() -> set[str]:
            done = scratch.manage("maint", "findings", "--look", "--json", check=False)
            return {row["code"] for row in told(done.output)["look"]["seen"]}

        assert seen() == set()

        fault.inject(scratch)

        scratch.until(lambda: fault.code in seen(), f"{fault.code} is seen")
        assert seen() - set(fault.beside) == {fault.code}
