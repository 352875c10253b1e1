"""Workers and scheduler as services of runit.

Using it: ``render(site, jobs)`` gives ``NAME-worker/run`` and its ``log/run``, and the same
for other workers and for the scheduler, which runs the jobs. The scripts are to be executable.

Each must ``exec``: runsv sends TERM to the process that it has started itself.

Sources: runsv(8), chpst(8), svlogd(8).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from argus_maint.conf_jobs import Job
from argus_maint.units.site import Site, comment, environment, scheduler
from argus_maint.units.workers import Worker


def render(site: Site, jobs: Iterable[Job]) -> dict[str, str]:
    """A service for each, with a log."""
    files = {}
    for each in (*site.workers, scheduler(site)):
        files[f"{site.name}-{each.role}/run"] = _run(site, each)
        files[f"{site.name}-{each.role}/log/run"] = _log(site, each.role)
    return files


def _run(site: Site, worker: Worker) -> str:
    role, ours = worker.role, worker.kind.pings
    what, first = worker.kind.what, "the supervisor" if ours else "the worker"
    more = "" if ours else f"\n          {site.stopping(worker)}"
    service = f"{site.name}-{role}"
    head = comment(f"""
argus_maint: {what}.

Where:    /etc/sv/{service}/run, mode 755
Install:  ln -s /etc/sv/{service} /etc/service/
Look:     sv status {service}   (it exits 0 for a dead service too: read what it prints)
Stop:     sv -w {site.stop_seconds} down {service}{more}
""")
    steps = "\n".join([f"cd {shlex.quote(site.folder)}", *environment(site)])
    words = shlex.join(site.words(worker.command))
    return f"""\
#!/bin/sh
{head}
set -e
exec 2>&1
{steps}
# exec: TERM from runsv must reach {first}, and no shell.
exec chpst -u {site.user} {words}
"""


def _log(site: Site, role: str) -> str:
    folder = f"{site.logs}/{site.name}-{role}"
    head = comment(f"""
argus_maint: the log of {site.name}-{role}, with times, rotated.

Where:    /etc/sv/{site.name}-{role}/log/run, mode 755
Look:     tail -F {folder}/current
""")
    quoted = shlex.quote(folder)
    return f"#!/bin/sh\n{head}\nset -e\nmkdir -p {quoted}\nexec svlogd -tt {quoted}\n"
