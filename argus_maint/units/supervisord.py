"""Workers and scheduler as programs of supervisord.

Using it: ``render(site, jobs)`` gives ``NAME.conf``. supervisord has no calendar: the
scheduler runs the jobs.

Raises ``CannotHold`` for folders that its file cannot name.

Sources: supervisord.org/configuration.html, and the parser of its 4.3.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from argus_maint.conf_jobs import Job
from argus_maint.units.site import CannotHold, Site, comment, scheduler, shell
from argus_maint.units.workers import Worker

REMARK = re.compile(r"(\s)([;#])")


def render(site: Site, jobs: Iterable[Job]) -> dict[str, str]:
    """One file with a program for each."""
    if REMARK.search(site.folder) or REMARK.search(site.logs):
        raise CannotHold("supervisord takes a ; or # after a space in a path for a remark")
    if "%" in site.logs:
        raise CannotHold("supervisord expands a % in the path of a log twice")
    first = (*site.workers, scheduler(site))[0].role
    stop = "".join(
        f"Stop:     {site.stopping(each)}\n" for each in site.workers[:1] if site.database
    )
    head = comment(
        f"""
argus_maint: workers that take tasks from the queue, and the scheduler that runs the jobs.

Where:    /etc/supervisor/conf.d/{site.name}.conf (Debian), or what [include] names.
Install:  supervisorctl reread && supervisorctl update
Look:     supervisorctl status {site.name}-{first}; supervisorctl tail {site.name}-{first}
{stop}""",
        ";",
    )
    text = "".join(f"\n{_program(site, each)}" for each in (*site.workers, scheduler(site)))
    return {f"{site.name}.conf": head + text}


def _program(site: Site, worker: Worker) -> str:
    role, kind = worker.role, worker.kind
    head = "" if kind.pings else comment(f"{kind.what}:\n{site.stopping(worker)}", ";")
    variables = f'environment=DJANGO_SETTINGS_MODULE="{site.settings}"\n' if site.settings else ""
    log = f"{site.logs}/{site.name}-{role}.log"
    return f"""\
{head}[program:{site.name}-{role}]
command={_command(site, worker.command)}
directory={_percent(site.folder)}
user={site.user}
{variables}autostart=true
autorestart=true
; {kind.start}
startsecs=5
startretries={100 if kind.pings else 1000}
stopsignal=TERM
stopwaitsecs={site.stop_seconds}
; {kind.group}
stopasgroup=false
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
"""


def _command(site: Site, command: tuple[str, ...]) -> str:
    """Words as its shlex reads them; a shell only where it must read the environment."""
    words = ("/bin/sh", "-c", shell(site, command)) if site.environment else site.words(command)
    # A ; or # after a space begins a remark, also between quotes: close and open them.
    return _percent(" ".join(REMARK.sub(r"\1''\2", shlex.quote(each)) for each in words))


def _percent(text: str) -> str:
    return text.replace("%", "%%")
