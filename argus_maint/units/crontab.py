"""Jobs as lines of cron: of a user's crontab, or of a file in /etc/cron.d.

Using it::

    lines(site, jobs)          # what ``maint crontab --install`` puts between its markers
    render_crontab(site, jobs) # the same, as a file with a head
    render_cron_d(site, jobs)  # with the column for the user

A line sets nothing that would reach other lines of the same crontab: the folder and the
environment are the command's own. A job whose zone is not the host's gets a line that
fires more often (see ``zones``).

Raises ``CannotHold`` for a line that is longer than Debian's cron reads.

Sources: crontab(5) and cron(8) of Debian.
"""

from __future__ import annotations

from collections.abc import Iterable

from argus_maint.conf_jobs import Job
from argus_maint.units import zones
from argus_maint.units.calendar import Fields, cron_field, parse
from argus_maint.units.site import CannotHold, Site, comment, shell

LONGEST = 998  # the command, the user's name included
EVERY_MINUTE = "* * * * *"


def lines(site: Site, jobs: Iterable[Job], user: str = "") -> str:
    """The lines and their comments; with ``user``, as /etc/cron.d wants them."""
    jobs = list(jobs)
    if site.one_line:
        what = comment(f"All jobs that are due: {', '.join(job.name for job in jobs)}")
        return what + _line(site, EVERY_MINUTE, "tick", site.tick, user)
    return "".join(_job(site, job, user) for job in jobs)


def _job(site: Site, job: Job, user: str) -> str:
    expression, zone = job.schedule.expression, job.schedule.zone
    what = f"{job.name}: {job.summary}"
    if zones.differences(zone, site.host_zone) != {0}:
        wide = _expression(zones.elsewhere(parse(expression), zone, site.host_zone))
        if wide != expression:
            what += f"\n{expression} in {zone}: this fires more often, and runs only what is due."
        expression = wide
    return comment(what) + _line(site, expression, job.name, site.run(job.name), user)


def _expression(fields: Fields) -> str:
    """Only the time: what is fired from elsewhere may fire on any day."""
    minutes = cron_field(fields.minutes, 0, 59)
    return f"{minutes} {cron_field(fields.hours, 0, 23)} * * *"


def _line(site: Site, expression: str, name: str, command: tuple[str, ...], user: str) -> str:
    lock = f"{site.locks}/{site.name}-{name}.lock"
    before = ("flock", "-n", lock) if site.locks else ()
    column = f"{user} " if user else ""
    # cron would make a newline of a bare %.
    text = column + shell(site, command, before).replace("%", r"\%")
    if len(text.encode()) > LONGEST:
        raise CannotHold(
            f"the line of {name} would be {len(text.encode())} bytes long, and cron reads "
            f"{LONGEST}: shorten the paths"
        )
    return f"{expression} {text}\n"


def _head(site: Site, where: str, install: str) -> str:
    what = "all jobs in one line" if site.one_line else "one line a job"
    lock = "flock spares it a start." if site.locks else "the others see that and end."
    return comment(f"""
argus_maint: the jobs that keep the task queue healthy, {what}.

Where:    {where}
Install:  {install}
Times:    {site.host_zone}, the zone of this host's cron.
Output:   cron mails what a command prints, to MAILTO or else to the user.
Twice:    on several hosts, or beside a running scheduler, a tick runs once all the same:
          the first to claim it in the database runs it; {lock}
Changes:  come from the setting ARGUS_MAINT["JOBS"]; then render this again.
""")


def render_crontab(site: Site, jobs: Iterable[Job]) -> dict[str, str]:
    """``NAME.crontab``."""
    install = "manage.py maint crontab --install   (it keeps all other lines)"
    head = _head(site, f"in the crontab of {site.user}, who can read the site.", install)
    return {f"{site.name}.crontab": f"{head}\n{lines(site, jobs)}"}


def render_cron_d(site: Site, jobs: Iterable[Job]) -> dict[str, str]:
    """``NAME``; cron skips files in /etc/cron.d whose name has a dot."""
    where = f"/etc/cron.d/{site.name}, owned by root, mode 644, no dot in its name."
    head = _head(site, where, f"install -m 644 FILE /etc/cron.d/{site.name}")
    return {site.name: f"{head}\nSHELL=/bin/sh\n\n{lines(site, jobs, site.user)}"}
