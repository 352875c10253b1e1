"""Backends as a site may write them."""

from __future__ import annotations

from typing import Any

from django.tasks.backends.base import BaseTaskBackend
from django_tasks_local import ThreadPoolBackend


class Pool(ThreadPoolBackend):
    """One that is built on a pool in memory."""


class NoPool:
    """Another thing."""


class Cloudy(BaseTaskBackend):
    """One that passes for a class of django-tasks-cloud, without a cloud."""

    __module__ = "django_tasks_cloud.aws.backends"

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Nothing."""
        raise NotImplementedError
