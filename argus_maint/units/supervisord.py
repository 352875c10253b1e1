"""Worker and scheduler as programs of supervisord.

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
from argus_maint.units.site import CannotHold, Site, comment, shell

REMARK = re.compile(r"(\s)([;#])")


def render(site: Site, jobs: Iterable[Job]) -> dict[str, str]:
    """One file with two programs."""
    if REMARK.search(site.folder) or REMARK.search(site.logs):
        raise CannotHold("supervisord takes a ; or # after a space in a path for a remark")
    if "%" in site.logs:
        raise CannotHold("supervisord expands a % in the path of a log twice")
    head = comment(
        f"""
argus_maint: workers that take tasks from the queue, and the scheduler that runs the jobs.

Where:    /etc/supervisor/conf.d/{site.name}.conf (Debian), or what [include] names.
Install:  supervisorctl reread && supervisorctl update
Look:     supervisorctl status {site.name}-worker; supervisorctl tail {site.name}-worker
Stop:     running tasks get {site.grace} s to finish; what is left goes back to the queue.
""",
        ";",
    )
    programs = (("worker", site.worker), ("scheduler", site.scheduler))
    text = "".join(f"\n{_program(site, role, command)}" for role, command in programs)
    return {f"{site.name}.conf": head + text}


def _program(site: Site, role: str, command: tuple[str, ...]) -> str:
    variables = f'environment=DJANGO_SETTINGS_MODULE="{site.settings}"\n' if site.settings else ""
    log = f"{site.logs}/{site.name}-{role}.log"
    return f"""\
[program:{site.name}-{role}]
command={_command(site, command)}
directory={_percent(site.folder)}
user={site.user}
{variables}autostart=true
autorestart=true
; It waits for the database by itself; what ends sooner than that is not set up rightly.
startsecs=5
startretries=100
stopsignal=TERM
stopwaitsecs={site.stop_seconds}
; TERM goes to the first process only, which ends the others in order; KILL to all.
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
