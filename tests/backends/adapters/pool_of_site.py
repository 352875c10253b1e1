"""Backends as a site may write them."""

from __future__ import annotations

from django_tasks_local import ThreadPoolBackend


class Pool(ThreadPoolBackend):
    """One that is built on a pool in memory."""


class NoPool:
    """Another thing."""
