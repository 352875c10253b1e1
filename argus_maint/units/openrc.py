"""Workers and scheduler as services of OpenRC, under its supervise-daemon.

Using it: ``render(site, jobs)`` gives ``NAME-worker`` and ``NAME-scheduler``, and one for
each other worker: scripts that are to be executable. The scheduler runs the jobs.

OpenRC reads most variables twice, the second time with ``eval``, so that what has a space
is quoted twice.

Raises ``CannotHold`` for a folder that it would not read as one.

Sources: openrc-run(8), supervise-daemon(8), and its supervise-daemon.sh.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from argus_maint.conf_jobs import Job
from argus_maint.units.site import CannotHold, Site, comment, scheduler, shell
from argus_maint.units.workers import DATABASE, SCHEDULER, Worker

PATTERN = re.compile(r"  |[*?\[]")
WHAT = {
    DATABASE: "Workers that take tasks from the queue",
    SCHEDULER: "The scheduler, which runs each job when it is due",
}


def render(site: Site, jobs: Iterable[Job]) -> dict[str, str]:
    """A script for each."""
    every = (*site.workers, scheduler(site))
    return {f"{site.name}-{each.role}": _script(site, each) for each in every}


def _script(site: Site, worker: Worker) -> str:
    service, kind = f"{site.name}-{worker.role}", worker.kind
    what = WHAT.get(kind, kind.what)
    tasks = f"(tasks get {site.grace} s to finish)" if kind.pings else ""
    more = "" if kind.pings else f"\n          {site.stopping(worker)}"
    again, once = ("TERM/5/", ", TERM once more, which ends them") if kind.again else ("", "")
    head = comment(f"""
argus_maint: {what}.

Where:    /etc/init.d/{service}, mode 755
Install:  rc-update add {service} default && rc-service {service} start
Look:     rc-service {service} status; tail -F {site.logs}/{service}.log
Stop:     rc-service {service} stop   {tasks}{more}
""")
    log = _twice(f"{site.logs}/{service}.log")
    return f"""\
#!/sbin/openrc-run
{head}
description="{what}"
supervisor=supervise-daemon
# In a variable, for OpenRC would split the words, and look for files that match them.
# Not in start_pre: a PATH in the environment file would hide OpenRC's own functions.
command_line={shlex.quote(shell(site, worker.command))}
command=/bin/sh
command_args='-c "$command_line"'
command_user={site.user}
directory={_twice(site.folder)}
output_log={log}
error_log={log}
# For ever, and not at once.
respawn_delay=5
respawn_max=0
# TERM, time for the tasks in hand{once}, and only then KILL.
retry=TERM/{site.stop_seconds}/{again}KILL/5

depend() {{
\tuse net dns logger
\tafter postgresql mysql mariadb redis
}}
"""


def _twice(text: str) -> str:
    """A path that is read a second time, unquoted."""
    if PATTERN.search(text):
        raise CannotHold(f"OpenRC splits such a path, or takes it for a pattern: {text!r}")
    return shlex.quote(shlex.quote(text))
