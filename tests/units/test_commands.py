"""``maint units`` and ``maint crontab`` as a person or a script sees them."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from argus_maint.management.maint import crontab, units
from argus_maint.units import FORMATS
from tests.conftest import ROOT
from tests.lab import Lab, until
from tests.schemas import validate
from tests.units import tools

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


def test_a_user_that_kubernetes_cannot_hold_is_said_to_be_left_out() -> None:
    out, err = io.StringIO(), io.StringIO()
    call_command("maint", "units", "--format=kubernetes", *PATHS, stdout=out, stderr=err)
    assert err.getvalue() == "for Kubernetes a user is a number: --user shop is left out\n"
    assert "runAsUser" not in out.getvalue()


def test_options_reach_the_files() -> None:
    unit = maint(
        "units", "--format=systemd", *PATHS, "--processes=3", "--grace=120", "--queues=a,b",
        "--environment-file=/etc/shop.env", "--writable=/var/lib/shop", "--name=shop",
        "--worker-flag=--max-rss=512M",
    )  # fmt: skip
    assert "==> shop-worker.service <==" in unit
    assert "db_worker --processes=3 --grace=120 --queue-name=a,b --max-rss=512M\n" in unit
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


def test_the_page_about_them_names_what_there_is() -> None:
    page = (ROOT / "docs/units.md").read_text()
    commands = re.findall(r"manage\.py maint (units|crontab)((?:[^`\n]|\\\n)*)", page)
    assert len(commands) > 10
    for name, arguments in commands:
        parser = argparse.ArgumentParser()
        {"units": units, "crontab": crontab}[name].add_arguments(parser)
        flags = re.findall(r"(?<![\w-])--[a-z-]+", arguments)
        assert set(flags) <= {*parser._option_string_actions, "--help"}, arguments
    written = re.findall(r"--format (\S+)", page)
    assert set(written) == set(FORMATS) - {"crontab"}  # that is for maint crontab


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


def test_the_manage_py_that_runs_it_is_the_one_in_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manage.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["manage.py", "maint"])
    line = maint("units", "--format=crontab", "--one-line").splitlines()[-1]
    assert f"cd {tmp_path} && " in line
    assert line.endswith(f" {sys.executable} {tmp_path}/manage.py maint tick")


# -- maint crontab ------------------------------------------------------------------------

STUB = """#!/bin/sh
# As the program crontab, on a file.
[ "$1" = -u ] && shift 2
case "$1" in
-l) [ -e "$SPOOL" ] && exec cat "$SPOOL"; echo "no crontab for you" >&2; exit 1 ;;
-r) rm "$SPOOL" ;;
-) [ -n "$BREAKS" ] && { echo "-:1: bad minute" >&2; exit 1; }; cat > "$SPOOL" ;;
esac
"""
MINE = b"# mine, in Latin-1: \xe9\nMAILTO=me\n0 5 * * * backup %daily\r\n\n"


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The crontab of a program that is first on PATH."""
    stub = tmp_path / "crontab"
    stub.write_text(STUB)
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SPOOL", str(tmp_path / "spool"))
    return tmp_path / "spool"


def exits(*arguments: str) -> int:
    try:
        maint("crontab", *arguments)
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def test_install_diff_and_remove_leave_the_rest_byte_for_byte(spool: Path) -> None:
    spool.write_bytes(MINE)
    assert exits("--diff") == 1
    assert spool.read_bytes() == MINE
    assert exits("--install", "--yes") == 0
    text = spool.read_bytes()
    assert text.startswith(MINE + b"# BEGIN argus_maint argus-maint: ")
    assert text.endswith(b"maint run history --scheduled\n# END argus_maint argus-maint\n")
    assert exits("--diff") == exits("--install") == 0  # nothing to change, nobody asked
    assert exits("--diff", "--one-line") == 1
    assert exits("--install", "--one-line", "--yes") == 0
    assert spool.read_bytes().count(b"maint tick") == 1
    assert exits("--remove", "--yes") == 0
    assert spool.read_bytes() == MINE


def test_the_first_crontab_is_made_and_the_last_removed(spool: Path) -> None:
    assert exits("--remove") == 0
    assert exits("--install", "--yes") == 0
    assert spool.exists()
    assert exits("--remove", "--yes") == 0
    assert not spool.exists()


def test_it_changes_nothing_unasked(spool: Path) -> None:
    spool.write_bytes(MINE)
    with pytest.raises(CommandError, match="^Nobody is there to ask: with --yes it changes"):
        maint("crontab", "--install")
    assert spool.read_bytes() == MINE


@pytest.mark.parametrize(("answer", "changes"), [("y\n", True), ("\n", False), ("no\n", False)])
def test_it_asks(spool: Path, answer: str, changes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from argus_maint.management.maint.context import Context

    spool.write_bytes(MINE)
    monkeypatch.setattr(Context, "can_ask", lambda self: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert exits("--install") == int(not changes)
    assert (spool.read_bytes() != MINE) == changes


def test_damaged_markers_are_not_guessed_at(spool: Path) -> None:
    damaged = MINE + b"# BEGIN argus_maint argus-maint: x\n0 0 * * * mine too\n"
    spool.write_bytes(damaged)
    for act in ("--install", "--remove", "--diff"):
        with pytest.raises(CommandError, match=r"^line 5 .* nothing ends them; put that right"):
            maint("crontab", act, "--yes")
    assert spool.read_bytes() == damaged


def test_a_crontab_that_cannot_be_read_is_not_an_empty_one(spool: Path) -> None:
    spool.mkdir()  # cat says so, and exits 1
    with pytest.raises(CommandError, match="^The crontab cannot be read: "):
        maint("crontab", "--install", "--yes")


@pytest.mark.parametrize(
    ("said", "empty"),
    [
        ("crontab: can't open 'me': No such file or directory", True),  # busybox
        ("crontab: can't open 'me': Permission denied", False),
        ("crontab: can't open 'me': Too many open files in system", False),
    ],
)
def test_only_a_crontab_that_is_not_there_is_an_empty_one(
    spool: Path, said: str, empty: bool
) -> None:
    """Else it would be written anew, without what was in it."""
    stub = spool.parent / "crontab"
    refuse = f'-l) [ -e "$SPOOL" ] && exec cat "$SPOOL"; echo "{said}" >&2; exit 1 ;;'
    stub.write_text(re.sub(r"-l\) .*", refuse.replace("\\", ""), STUB))
    if empty:
        assert exits("--install", "--yes") == 0
    else:
        with pytest.raises(CommandError, match="^The crontab cannot be read: "):
            maint("crontab", "--install", "--yes")
    assert spool.exists() == empty


def test_who_is_killed_while_crontab_reads_leaves_it_all_there_is_to_read(
    spool: Path, lab: Lab
) -> None:
    """From a pipe it would take the part that came until then for the whole."""
    stub, mine = spool.parent / "crontab", b"0 5 * * * backup\n" * 20_000
    spool.write_bytes(mine)
    slow = 'head -c 10 > "$SPOOL.new"; touch "$SPOOL.begun"; sleep 2; cat >> "$SPOOL.new"'
    stub.write_text(STUB.replace('cat > "$SPOOL" ;;', slow + '; mv "$SPOOL.new" "$SPOOL" ;;'))
    process = lab.start("crontab", "maint", "crontab", "--install", "--yes").process
    until(lambda: (spool.parent / "spool.begun").exists(), 20)
    process.kill()
    process.wait(10)
    until(lambda: not (spool.parent / "spool.new").exists(), 20)
    assert spool.read_bytes().startswith(mine)
    assert spool.read_bytes().endswith(b"# END argus_maint argus-maint\n")


def test_what_crontab_refuses_is_said(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BREAKS", "1")
    with pytest.raises(CommandError, match="^crontab refused it: -:1: bad minute$"):
        maint("crontab", "--install", "--yes")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CommandError, match="^There is no program crontab here: "):
        maint("crontab", "--install", "--yes")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments --install --remove --diff is required"),
        (["--install", "--remove"], "not allowed with argument"),
        (["--install", "--folder=/" + "x" * 999], "cron reads 998"),
    ],
)
def test_wrong_arguments_of_crontab(spool: Path, arguments: list[str], message: str) -> None:
    assert message in wrong("crontab", *arguments)


PRIVATE = """
mount --make-rprivate /
mount -t tmpfs tmpfs /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
printf '0 5 * * * backup\\n' | crontab -
for act in --install --diff --remove --diff; do
    "$@" maint crontab $act --yes >>"$OUT"; echo "$act $?"
    crontab -l | grep -c .
done
"""


@pytest.mark.slow
def test_the_real_crontab_in_a_spool_of_its_own(tmp_path: Path) -> None:
    tools.need("crontab", "cron")
    if why := tools.why_no_mounts():
        tools.cannot(why)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", PRIVATE, "sh", sys.executable, "-m", "django"],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "OUT": f"{tmp_path}/out"},
        capture_output=True,
        text=True,
    )
    lines = done.stdout.split("\n")
    assert lines[0] == "--install 0", done.stderr
    assert lines[2:8] == ["--diff 0", lines[1], "--remove 0", "1", "--diff 1", "1"]
    assert int(lines[1]) > 6  # a line for each job
