"""Files for cron and for service managers, rendered from the jobs of this site.

Using it::

    render("systemd", site, get_settings().jobs.values())  # {"argus-maint-worker.service": ...}

Formats are the keys of ``FORMATS``. A job that is switched off is left out. A file that
begins with ``#!`` is to be executable. Nothing is written, and nothing secret is rendered.

Raises ``CannotHold`` where the site or a job has what the format cannot write down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from argus_maint.conf_jobs import Job
from argus_maint.units import crontab, kubernetes, openrc, runit, supervisord, systemd
from argus_maint.units.site import CannotHold, Site

__all__ = ["FORMATS", "WITHOUT_WORKERS", "CannotHold", "Site", "executable", "render"]

FORMATS: dict[str, Callable[[Site, Iterable[Job]], dict[str, str]]] = {
    "crontab": crontab.render_crontab,
    "cron.d": crontab.render_cron_d,
    "systemd": systemd.render,
    "supervisord": supervisord.render,
    "runit": runit.render,
    "openrc": openrc.render,
    "kubernetes": kubernetes.render,
}
WITHOUT_WORKERS = ("crontab", "cron.d")


def render(form: str, site: Site, jobs: Iterable[Job]) -> dict[str, str]:
    """Relative file names, and what is in them."""
    return FORMATS[form](site, [job for job in jobs if job.enabled])


def executable(text: str) -> bool:
    """Whether a file is a script."""
    return text.startswith("#!")
