"""Workers and scheduler as services of systemd, jobs as timers.

Using it: ``render(site, jobs)`` gives ``NAME-worker.service``, the same for other workers,
``NAME-scheduler.service`` and for each job ``NAME-job-JOB.service`` with its timer. Scheduler
and timers may both run: a tick is claimed in the database.

Where clocks change, systemd leaves out what an hour that does not exist has hidden, and
the whole of the hour that comes twice (252 does). So a job at a fixed time gets the hour
after the gap too, and one that runs all the time is written in UTC (see ``zones``).

Raises nothing of its own: what ``Site`` holds, a unit can hold.

Sources: systemd.service(5), systemd.exec(5), systemd.time(7), systemd.syntax(7).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from argus_maint.conf_jobs import Job
from argus_maint.units import zones
from argus_maint.units.calendar import on_calendar, parse
from argus_maint.units.site import MARGIN, SLACK, Site, comment, scheduler
from argus_maint.units.workers import SCHEDULER, Worker

PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
HOMES = ("/home/", "/root/", "/run/user/")
SANDBOX = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome={home}
ReadWritePaths={writable}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
UMask=0027
"""


def quoted(text: str) -> str:
    """One word of a list, without a specifier."""
    text = text.replace("%", "%%")
    return text if PLAIN.fullmatch(text) else '"' + text.replace('"', '\\"') + '"'


def word(text: str) -> str:
    """One word of a command line, where there are variables too."""
    return quoted(text.replace("$", "$$"))


def value(text: str) -> str:
    """A value that is not split into words, such as a path."""
    return text.replace("%", "%%")


def render(site: Site, jobs: Iterable[Job]) -> dict[str, str]:
    """All units."""
    jobs = list(jobs)
    every = (*site.workers, scheduler(site))
    files = {f"{site.name}-{each.role}.service": _service(site, each) for each in every}
    if site.one_line:
        names = ", ".join(job.name for job in jobs)
        files |= _pair(site, "tick", f"all jobs that are due: {names}", site.tick, ["*:*:00"], None)
        return files
    for job in jobs:
        summary, limit = f"{job.name}: {job.summary}", job.time_limit
        files |= _pair(site, f"job-{job.name}", summary, site.run(job.name), when(job), limit)
    return files


def when(job: Job) -> list[str]:
    """Values of OnCalendar= among whose times is every tick of a job."""
    fields, zone = parse(job.schedule.expression), job.schedule.zone
    if zones.constant(zone):
        return on_calendar(fields, zone)
    if fields.wild:
        return on_calendar(zones.elsewhere(fields, zone, "UTC"), "UTC")
    return on_calendar(zones.over_gaps(fields, zone), zone)


HEAD = """
argus_maint: {what}.

Where:    /etc/systemd/system/{unit}
Install:  systemctl daemon-reload && systemctl enable --now {unit}
"""
LOOK = """\
Look:     systemctl status {unit}; journalctl -u {unit}
Stop:     {stop}
"""
TWICE = """\
Twice:    any number of schedulers may run, and timers beside them.
"""
NOTIFIES = "Type=notify\nNotifyAccess=main"
PINGS = """\
# It pings from the loop that does the work, at half that time.
WatchdogSec=30
# It asks for more as long as the database does not answer.
TimeoutStartSec=90
"""


def _service(site: Site, worker: Worker) -> str:
    kind, unit = worker.kind, f"{site.name}-{worker.role}.service"
    head = HEAD + (TWICE if kind is SCHEDULER else LOOK)
    told = head.format(what=kind.what, unit=unit, stop=site.stopping(worker))
    what = f"argus_maint {worker.role}" if kind.pings else worker.command[0]
    first = "main process, which ends the others in order" if kind.pings else "main process only"
    comes_back = "its task comes back, " if kind.pings else ""
    return f"""\
{comment(told)}
[Unit]
Description={what} ({site.name})
Wants=network-online.target
After=network-online.target postgresql.service mariadb.service redis-server.service
# A database that is away for an hour is no reason to give up.
StartLimitIntervalSec=0

[Service]
{NOTIFIES if kind.pings else "Type=exec"}
{_process(site, worker.command)}
Restart=always
RestartSec=5
# Wrong arguments do not get better.
RestartPreventExitStatus=2
{PINGS if kind.pings else ""}TimeoutStopSec={site.stop_seconds}
# TERM goes to the {first}.
KillMode=mixed
# The kernel may kill one process for its memory: {comes_back}the rest go on.
OOMPolicy=continue

{_sandbox(site)}
[Install]
WantedBy=multi-user.target
"""


def _process(site: Site, command: tuple[str, ...]) -> str:
    lines = [f"User={site.user}", f"WorkingDirectory={value(site.folder)}"]
    if site.settings:
        lines.append(f"Environment=DJANGO_SETTINGS_MODULE={site.settings}")
    if site.environment:
        lines.append(f"EnvironmentFile={value(site.environment)}")
    return "\n".join([*lines, "ExecStart=" + " ".join(map(word, site.words(command)))])


def _sandbox(site: Site) -> str:
    paths = site.writable or (site.folder,)
    used = (site.python, site.manage, site.folder, *paths)
    home = "read-only" if any(path.startswith(HOMES) for path in used) else "yes"
    note = "Tasks may write to these folders and to /tmp, a private one."
    return comment(note) + SANDBOX.format(home=home, writable=" ".join(map(quoted, paths)))


def _pair(
    site: Site,
    name: str,
    summary: str,
    command: tuple[str, ...],
    calendar: list[str],
    limit: float | None,
) -> dict[str, str]:
    unit = f"{site.name}-{name}"
    description = summary.replace("\\", "/").replace("%", "%%")
    seconds = "infinity" if limit is None else str(int(limit) + MARGIN)
    service = f"""\
{
        comment(f'''argus_maint: {description}

Where:    /etc/systemd/system/{unit}.service, beside its timer.
Try:      systemctl start {unit}.service; journalctl -u {unit}.service
''')
    }
[Unit]
Description=argus_maint {description}
After=network-online.target postgresql.service mariadb.service redis-server.service

[Service]
Type=oneshot
{_process(site, command)}
TimeoutStartSec={seconds}
TimeoutStopSec={SLACK * 3}
Nice=10

{_sandbox(site)}"""
    timer = f"""\
{
        comment(f'''argus_maint: when to run {unit}.service; not needed where the scheduler runs.

Where:    /etc/systemd/system/{unit}.timer
Install:  systemctl daemon-reload && systemctl enable --now {unit}.timer
Look:     systemctl list-timers {unit}.timer
It may fire more often than the job is due: then nothing happens.
''')
    }
[Unit]
Description=argus_maint timer: {description}

[Timer]
{"".join(f"OnCalendar={each}" + chr(10) for each in calendar)}AccuracySec=1s
# What was missed while the host was down runs at the next boot, once.
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{unit}.service": service, f"{unit}.timer": timer}
