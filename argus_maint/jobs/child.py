"""A management command of the site as a process of its own.

    python -m ... PARENT NAME ARGUMENTS

It dies with its parent: left alone it would run beside the one that takes its tick over.
As with ``call_command``, the system checks are left out: they were made when the scheduler
started, and what is wrong with another job is no reason not to run this one.
"""

from __future__ import annotations

import sys

from argus_maint.workers.children import die_with


def main(parent: int, arguments: list[str]) -> int:
    """Run it; its exit status is ours."""
    die_with(parent)
    import django
    from django.core.management import call_command
    from django.core.management.base import CommandError

    django.setup()
    try:
        call_command(*arguments)
    except CommandError as error:
        print(error, file=sys.stderr)
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
