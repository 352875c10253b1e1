"""The options that say where a site is, shared by ``maint units`` and ``maint crontab``."""

from __future__ import annotations

import os
import pwd
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from argus_maint.management.maint.arguments import Arguments, count
from argus_maint.options import did_you_mean
from argus_maint.units import CannotHold, Site
from argus_maint.units.zones import constant, zone_of_host


def add_site(parser: Arguments) -> None:
    """What every format needs."""
    for name, metavar, text in (
        ("--python", "PATH", "The interpreter (default: the one that runs this)."),
        ("--manage", "PATH", "The site's manage.py (default: the one that runs this; else "
         "python -m django)."),
        ("--folder", "PATH", "Where commands run (default: the folder of manage.py)."),
        ("--environment-file", "PATH", "A file of NAME=value lines that a command's "
         "environment is read from, secrets included (default: none)."),
        ("--name", "NAME", "What files, services and markers begin with (default: "
         "argus-maint); another one for each site of a host."),
    ):  # fmt: skip
        parser.add_argument(name, default="", metavar=metavar, help=text)
    parser.add_argument(
        "--flock",
        nargs="?",
        const="/run/lock",
        default="",
        metavar="FOLDER",
        help="Have flock keep a cron line from starting beside itself; its files are in "
        "this folder (default: /run/lock).",
    )
    parser.add_argument(
        "--host-zone",
        type=zone,
        metavar="ZONE",
        help="The time zone of the host's cron (default: that of this host).",
    )
    parser.add_argument(
        "--one-line",
        action="store_true",
        help="One line, timer or CronJob that runs all that is due, every minute.",
    )


def zone(text: str) -> str:
    """The name of a time zone."""
    try:
        constant(text)
    except (KeyError, OSError, ValueError):
        from zoneinfo import available_timezones

        near = did_you_mean(text, available_timezones())
        raise ArgumentTypeError(f"there is no time zone {text!r}.{near}") from None
    return text


def add_services(parser: Arguments) -> None:
    """What workers and schedulers need beyond that."""
    parser.add_argument(
        "--user",
        default="",
        metavar="NAME",
        help="Who they run as (default: you). For Kubernetes a number.",
    )
    parser.add_argument("--queues", default="", metavar="NAMES", help="db_worker --queue-name.")
    parser.add_argument(
        "--processes", type=count, default=1, metavar="N", help="db_worker --processes (1)."
    )
    parser.add_argument(
        "--grace", type=count, default=30, metavar="SECONDS", help="db_worker --grace (30)."
    )
    parser.add_argument(
        "--worker-flag",
        action="append",
        default=[],
        metavar="FLAG",
        help="Another flag of db_worker, as --worker-flag=--max-rss=512M; may be repeated.",
    )
    parser.add_argument(
        "--writable",
        action="append",
        default=[],
        metavar="PATH",
        help="systemd: a folder that tasks may write to; may be repeated (default: --folder).",
    )
    parser.add_argument(
        "--logs", default="/var/log", metavar="PATH", help="Folder of logs, without a journal."
    )
    parser.add_argument("--image", default="", metavar="NAME", help="Kubernetes: the image.")
    parser.add_argument(
        "--secret", default="", metavar="NAME", help="Kubernetes: the Secret (default: NAME-env)."
    )
    parser.add_argument(
        "--replicas", type=count, default=2, metavar="N", help="Kubernetes: worker pods (2)."
    )


def site_of(options: dict[str, Any], **more: Any) -> Site:
    """The site that the options name; exit 2 where nothing can hold it."""
    manage = options["manage"] or _manage()
    values = {
        "python": options["python"] or sys.executable,
        "manage": manage,
        "folder": options["folder"] or str(Path(manage).parent if manage else Path.cwd()),
        "environment": options["environment_file"],
        "settings": os.environ.get("DJANGO_SETTINGS_MODULE", ""),
        "locks": options["flock"].rstrip("/"),
        "host_zone": options["host_zone"] or zone_of_host(),
        "one_line": options["one_line"],
        **({"name": options["name"]} if options["name"] else {}),
        **more,
    }
    try:
        return Site(**values)
    except CannotHold as error:
        raise CommandError(f"{error}.", returncode=2) from error


def _manage() -> str:
    """The absolute path of the manage.py that runs this; empty for another program."""
    program = Path(sys.argv[0]).absolute()
    return str(program) if program.name == "manage.py" and program.exists() else ""


def me() -> str:
    """The name of who runs this; a number where it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
