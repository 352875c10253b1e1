"""Rescue policies: what a task declares beside its code, and what is in force for it.

Using it, below or above ``@task``::

    from argus_maint.policy import rescue_policy

    @task
    @rescue_policy(on_lost="fail", time_limit="10m")
    def charge(invoice_id): ...

Options are those of ``argus_maint.conf.Policy``, defaults included. What is in
force for a task are the defaults, then the patterns of
``ARGUS_MAINT["RESCUE"]`` that match its path, then what it declares itself.

Errors: a wrong option raises where the decorator is applied, TypeError for an
unknown one and ValueError for a wrong value.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeVar

from argus_maint.conf import POLICY_OPTIONS, Policy, Settings, get_settings
from argus_maint.options import UNKNOWN_KEY, Reader

if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Literal, TypedDict

    from typing_extensions import Unpack

    Duration = float | str | timedelta

    class PolicyOptions(TypedDict, total=False):
        on_lost: Literal["requeue", "fail"]
        max_losses: int
        backoff: tuple[Duration, Duration]
        time_limit: Duration | None
        on_overdue: Literal["report", "kill"]


ATTRIBUTE = "argus_maint_policy"

T = TypeVar("T")


def rescue_policy(*misplaced: Any, **options: Unpack[PolicyOptions]) -> Callable[[T], T]:
    """Declare how a task is rescued; returns the task or the function unchanged.

    Applied twice, the options add up and the outer one wins.
    """
    if misplaced or not options:
        raise TypeError(
            'rescue_policy() takes options by name, as in @rescue_policy(on_lost="fail"). '
            f"Known options: {', '.join(POLICY_OPTIONS)}."
        )
    declared = _validated(options)

    def declare(target: T) -> T:
        function = _function_of(target)
        if not callable(function):
            raise TypeError(f"rescue_policy() decorates a task or its function, not {target!r}.")
        # A new dict: functools.wraps shares the old one between two functions.
        merged = {**declared_options(target), **declared}
        try:
            setattr(function, ATTRIBUTE, merged)
        except AttributeError:
            raise TypeError(
                f"rescue_policy() cannot mark {function!r}, which takes no attributes; "
                "decorate a plain function."
            ) from None
        return target

    return declare


def declared_options(task: Any) -> dict[str, Any]:
    """Return the options that a task (or its function) declares, validated; else none."""
    function = inspect.unwrap(_function_of(task), stop=lambda each: hasattr(each, ATTRIBUTE))
    return dict(getattr(function, ATTRIBUTE, {}))


def policy_for(
    task_path: str,
    declared: Mapping[str, Any] | None = None,
    *,
    settings: Settings | None = None,
) -> Policy:
    """Return the policy in force for a task path.

    ``declared`` is what ``declared_options`` gave, or what ``freeze`` made of it.
    Raises ValueError where a stored value is not one that this version knows.
    """
    settings = settings or get_settings()
    options: dict[str, Any] = {}
    for pattern, partial in settings.rescue:
        if fnmatchcase(task_path, pattern):
            options |= partial
    if declared:
        options |= thaw(declared)
    return Policy(**options)


def freeze(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return declared options as JSON can hold them."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in declared.items()}


def thaw(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return declared options from what ``freeze`` made, validated again.

    During a rolling upgrade a newer version may have stored an option that this
    one does not know: it is left out. A wrong value raises ValueError, because a
    guess might run again a task that must not repeat.
    """
    return _validated({k: v for k, v in stored.items() if k in POLICY_OPTIONS})


def _validated(options: Mapping[str, Any]) -> dict[str, Any]:
    reader = Reader()
    values = reader.options(options, POLICY_OPTIONS, "rescue_policy()", item=": {}")
    if reader.problems:
        unknown = any(problem.id == UNKNOWN_KEY for problem in reader.problems)
        text = " ".join(str(problem) for problem in reader.problems)
        raise (TypeError if unknown else ValueError)(text)
    return values


def _function_of(target: Any) -> Any:
    """Return the function of a Task, which itself is frozen and has slots; else ``target``."""
    is_task = hasattr(target, "func") and hasattr(target, "enqueue")
    return target.func if is_task else target
