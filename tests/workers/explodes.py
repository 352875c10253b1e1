"""A module of tasks that cannot be imported."""

raise RuntimeError("no tasks here")
