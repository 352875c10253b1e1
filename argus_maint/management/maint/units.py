"""``maint units``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from argus_maint.conf import get_settings
from argus_maint.management.maint.arguments import Arguments, add_json
from argus_maint.management.maint.context import Context
from argus_maint.management.maint.siting import add_services, add_site, me, site_of
from argus_maint.management.maint.working import add_workers, with_workers
from argus_maint.units import FORMATS, WITHOUT_WORKERS, CannotHold, Site, executable, render

NAME = "units"
SUMMARY = "files for cron, systemd, supervisord, runit, openrc and Kubernetes"
HELP = """\
Print or write the files that run workers, the scheduler and the jobs of this site.
They are made from the jobs in ARGUS_MAINT["JOBS"] as they are set now; each begins
with where it goes and how to install it. Nothing is installed, and no secret is in
them.

  crontab       the jobs, for a user's crontab (see maint crontab --install)
  cron.d        the jobs, for /etc/cron.d
  systemd       workers, scheduler, and a timer for each job
  supervisord   workers and scheduler
  runit         workers and scheduler
  openrc        workers and scheduler
  kubernetes    Deployments, PodDisruptionBudgets, and a CronJob for each job

Which workers these are is read from the setting TASKS: db_worker for an alias of the
task table, rqworker for one of django-tasks-rq, run_redis_tasks for one of
django-tasks-redis.

The scheduler runs every job; cron lines, timers and CronJobs are for a site without
one. Both together are harmless: a tick is claimed in the database, and runs once."""
EXAMPLES = """\
examples:
  manage.py maint units --format crontab --one-line
  manage.py maint units --format systemd --user shop --environment-file /etc/shop.env \\
      --output /tmp/units
  manage.py maint units --format kubernetes --image registry.example.org/shop:7 \\
      --python /usr/local/bin/python --manage /app/manage.py | kubectl apply -f -

exit status: 0 done; 1 a file could not be written, or differs and --force was not
given; 2 wrong arguments, or a value that this format cannot hold"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument(
        "--format", choices=tuple(FORMATS), required=True, metavar="FORMAT", help="One of these."
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="Write them into this folder, which is made."
    )
    parser.add_argument(
        "--force", action="store_true", help="With --output: replace files that differ."
    )
    add_site(parser)
    add_workers(parser)
    add_services(parser)
    add_json(parser, "units")


def run(context: Context, options: dict[str, Any]) -> int:
    """Print or write them."""
    if options["force"] and not options["output"]:
        raise CommandError("--force goes with --output.", returncode=2)
    site = _site(options)
    if site.user == "root" and options["format"] not in ("crontab", "kubernetes"):
        context.note("these run as root: --user names another")
    if options["format"] == "kubernetes" and options["user"] and not options["user"].isdigit():
        context.note(f"for Kubernetes a user is a number: --user {options['user']} is left out")
    try:
        if options["format"] not in WITHOUT_WORKERS:
            site = with_workers(context, site, options)
        files = render(options["format"], site, get_settings().jobs.values())
    except CannotHold as error:
        raise CommandError(f"{error}.", returncode=2) from error
    if options["json"]:
        context.json(_as_dict(options["format"], files))
    elif not options["output"]:
        context.out.out.write(_together(files))
        context.out.out.flush()
    return _write(context, files, options) if options["output"] else 0


def _site(options: dict[str, Any]) -> Site:
    names = ("queues", "processes", "grace", "secret", "replicas")
    more = {name: options[name] for name in names}
    if options["image"]:
        more["image"] = options["image"]
    return site_of(
        options,
        user=options["user"] or me(),
        logs=options["logs"].rstrip("/"),
        flags=tuple(options["worker_flag"]),
        writable=tuple(options["writable"]),
        **more,
    )


def _together(files: dict[str, str]) -> str:
    """One file as it is; several with their names before them."""
    if len(files) == 1:
        return "".join(files.values())
    return "\n".join(f"==> {name} <==\n{text}" for name, text in files.items())


def _as_dict(form: str, files: dict[str, str]) -> dict[str, Any]:
    """The JSON form (``schemas/units.json``)."""
    return {
        "kind": "argus_maint.units",
        "version": 1,
        "format": form,
        "files": [
            {"name": name, "executable": executable(text), "text": text}
            for name, text in files.items()
        ],
    }


def _write(context: Context, files: dict[str, str], options: dict[str, Any]) -> int:
    """All or none: no file is written where one would be lost."""
    paths = {options["output"] / name: text for name, text in files.items()}
    try:
        lost = [path for path, text in paths.items() if _differs(path, text)]
        if lost and not options["force"]:
            for path in lost:
                context.note(f"{path} is there and differs: --force replaces it")
            return 1
        for path, text in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o755 if executable(text) else 0o644)
            if not options["json"]:
                context.show([str(path)])
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be written: {error.strerror}") from error
    return 0


def _differs(path: Path, text: str) -> bool:
    return path.exists() and path.read_bytes() != text.encode()
