"""``maint units`` as a person or a script sees it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from argus_maint.units import FORMATS
from tests.schemas import validate

PATHS = ("--python=/venv/bin/python", "--manage=/srv/shop/manage.py", "--user=shop")


def maint(*arguments: str) -> str:
    out = io.StringIO()
    call_command("maint", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def wrong(*arguments: str) -> str:
    with pytest.raises(CommandError) as error:
        maint(*arguments)
    if not str(error.value).startswith("Error: "):  # the parser's own: 2 on a command line
        assert error.value.returncode == 2
    return str(error.value)


# -- maint units ------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_it_prints_what_it_would_write(form: str, tmp_path: Path) -> None:
    arguments = ("units", "--format", form, *PATHS)
    written = maint(*arguments, "--output", str(tmp_path / "new" / "folder")).splitlines()
    printed = maint(*arguments)
    files = json.loads(maint(*arguments, "--json"))
    validate("units", files)
    assert written == [str(tmp_path / "new/folder" / each["name"]) for each in files["files"]]
    for path, each in zip(map(Path, written), files["files"], strict=True):
        assert path.read_text() == each["text"] and each["text"] in printed
        assert path.stat().st_mode & 0o777 == (0o755 if each["executable"] else 0o644)
    assert (printed == files["files"][0]["text"]) == (len(files["files"]) == 1)
    # Once more: nothing has changed, and nothing is refused.
    maint(*arguments, "--output", str(tmp_path / "new" / "folder"))


def test_it_replaces_no_file_that_differs_and_writes_none_of_the_others(tmp_path: Path) -> None:
    changed = tmp_path / "argus-maint-scheduler.service"
    changed.write_text("mine\n")
    arguments = ("units", "--format=systemd", *PATHS, "--output", str(tmp_path))
    with pytest.raises(SystemExit) as exit_:
        maint(*arguments)
    assert exit_.value.code == 1
    assert [path.name for path in tmp_path.iterdir()] == [changed.name]
    assert changed.read_text() == "mine\n"
    maint(*arguments, "--force")
    assert "crontask" in changed.read_text()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="file cannot be written: "):
        maint("units", "--format=crontab", *PATHS, "--output", str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: --format"),
        (["--format=sysemd"], "there is no 'sysemd'; did you mean"),
        (["--format=systemd", "--force"], "--force goes with --output."),
        (["--format=systemd", "--folder=a\nb"], r"folder must be printable text on one line"),
        (["--format=systemd", "--python=venv/python"], "python must be an absolute path"),
        (["--format=systemd", "--processes=0"], "'0' is not a whole number of at least 1"),
        (["--format=systemd", "--name=A"], "name must be such as argus-maint"),
        (["--format=crontab", "--host-zone=Europe/Olso"], "there is no time zone 'Europe/Olso'"),
        (["--format=supervisord", "--folder=/a ;b"], "takes a ; or # after a space"),
        (["--format=crontab", "--folder=/" + "x" * 999], "and cron reads 998: shorten the paths."),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], message: str) -> None:
    said = wrong("units", *arguments)
    assert message.lower() in said.lower()
    assert "\n" not in said


def test_options_reach_the_files() -> None:
    unit = maint(
        "units", "--format=systemd", *PATHS, "--processes=3", "--grace=120", "--queues=a,b",
        "--environment-file=/etc/shop.env", "--writable=/var/lib/shop", "--name=shop",
    )  # fmt: skip
    assert "==> shop-worker.service <==" in unit
    assert "db_worker --processes=3 --grace=120 --queue-name=a,b\n" in unit
    assert "EnvironmentFile=/etc/shop.env\n" in unit
    assert "TimeoutStopSec=135\n" in unit
    assert "ReadWritePaths=/var/lib/shop\n" in unit
    line = maint("units", "--format=crontab", *PATHS, "--flock", "--one-line").splitlines()[-1]
    assert line.startswith("* * * * * cd /srv/shop && ")
    assert line.endswith(
        " && exec flock -n /run/lock/argus-maint-tick.lock /venv/bin/python "
        "/srv/shop/manage.py maint tick"
    )
    image = maint("units", "--format=kubernetes", *PATHS, "--image=shop:7", "--secret=env")
    assert 'image: "shop:7"\n' in image and 'secretRef: {name: "env"}' in image


def test_jobs_of_the_setting_are_the_jobs(settings: Any) -> None:
    settings.ARGUS_MAINT = {
        "JOBS": {
            "storage": {"enabled": False},
            "tokens": {"command": "check_token_expiry", "schedule": "5 6 * * *", "zone": "UTC"},
        }
    }
    text = maint("units", "--format=crontab", *PATHS, "--host-zone=UTC")
    assert "5 6 * * * cd /srv/shop && " in text
    assert "maint run tokens --scheduled" in text
    assert "storage" not in text


def test_without_a_manage_py_it_is_python_m_django() -> None:
    text = maint("units", "--format=crontab", "--one-line")
    assert f"exec {sys.executable} -m django maint tick" in text
    assert f"cd {Path.cwd()} && export DJANGO_SETTINGS_MODULE=tests.settings" in text
