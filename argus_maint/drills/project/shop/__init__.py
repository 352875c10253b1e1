"""A shop with a task queue."""
