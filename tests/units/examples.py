"""The files in ``cron/``: rendered for a site that does not exist, with our jobs as shipped.

python -m tests.units.examples    # write them anew
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

from argus_maint.units import Site, executable, render
from tests.conftest import ROOT

FOLDER = ROOT / "cron"
SHOP = Site(
    python="/srv/shop/venv/bin/python",
    manage="/srv/shop/manage.py",
    folder="/srv/shop",
    user="shop",
    environment="/etc/shop.env",
    settings="shop.settings",
)
POD = replace(
    SHOP,
    python="/usr/local/bin/python",
    manage="/app/manage.py",
    folder="/app",
    user="10001",
    environment="",
    image="registry.example.org/shop:1.0",
)


def examples() -> dict[str, str]:
    """What is in the folder: relative names and texts."""
    from django.test import override_settings

    from argus_maint.conf_jobs import defaults

    with override_settings(TIME_ZONE="UTC"):
        jobs = list(defaults().values())
    one_line = replace(SHOP, one_line=True, locks="/run/lock")
    (crontab,) = render("crontab", SHOP, jobs).values()
    (single,) = render("crontab", one_line, jobs).values()
    (cron_d,) = render("cron.d", SHOP, jobs).values()
    # In /etc/cron.d a name has no dot; here its ending says what it is.
    files = {"user.crontab": crontab, "one-line.crontab": single, "cron.d.crontab": cron_d}
    for form, site in (
        ("systemd", SHOP),
        ("supervisord", SHOP),
        ("runit", SHOP),
        ("openrc", SHOP),
        ("kubernetes", POD),
    ):
        files |= {f"{form}/{name}": text for name, text in render(form, site, jobs).items()}
    return files


def main() -> None:
    """Write them, and nothing else stays."""
    files = examples()
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name, text in files.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if executable(text) else 0o644)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    main()
