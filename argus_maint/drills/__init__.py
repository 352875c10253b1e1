"""A shop to break on purpose: a throw-away project, faults, and drills.

``scratch.Scratch`` is the project, with real workers and a real scheduler. ``faults.FAULTS``
has a fault for each finding. ``maint drill`` lets a person practise on them, and
the tests of the runbooks prove with them that the pages work.

They are part of the package, and not of its tests, so that a drill works from an installed
wheel.
"""
