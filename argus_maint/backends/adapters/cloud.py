"""django-tasks-cloud: SQS, SNS, EventBridge, Lambda, Azure's queues.

The package hands a message over and sends no signal; what becomes of it is known to the
provider alone. Schedules, ``maint tick`` and pings do not need a queue of ours, and go on.
"""

from __future__ import annotations

from argus_maint.backends import signals
from argus_maint.backends.adapters.base import Adapter

_PROVIDER = "is the provider's: look at its console"


class Cloud(Adapter):
    """Any backend of the package."""

    name = "cloud"
    package = "django-tasks-cloud"
    why_not = {
        "stats": f"the depth of its queues {_PROVIDER}",
        "liveness": f"who consumes its messages {_PROVIDER}",
        "rescue": f"a message that nobody confirms {_PROVIDER}; it delivers it again by itself",
        "tasks": f"what is in its queues {_PROVIDER}",
        "requeue": f"what is in its queues {_PROVIDER}; use its dead-letter queue and redrive",
        "fail": f"the end of a message {_PROVIDER}",
        "fence": f"to deliver a message once or twice {_PROVIDER}",
        "prune": f"how long messages are kept {_PROVIDER}",
    }

    def counters(self) -> dict[str, int]:
        """Signals in processes of this site, if its own consumer sends any; else nothing."""
        return signals.totals(self.alias, self.using)

    def warnings(self) -> list[str]:
        """Where to look, since nothing can be seen from here."""
        return [
            f"{type(self.backend).__name__} tells nothing of a task once it has handed it over: "
            "set alarms on the provider's queue and its dead-letter queue"
        ]
