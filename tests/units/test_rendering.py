"""What is rendered: each format's own reader gets the words that were meant."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from argus_maint.units import FORMATS, CannotHold, executable, render, systemd
from argus_maint.units.kubernetes import word
from argus_maint.units.site import shell
from tests.units import tools
from tests.units.sites import NASTY, job, paths, site, words

few = settings(max_examples=30, deadline=None)  # each starts a real sh


def cron_reads(line: str) -> str:
    """The command of a line, as Debian's cron hands it to sh: it ends at a bare %."""
    command = line.split(" ", 5)[5]
    assert not re.search(r"(?<!\\)%", command)
    return command.replace(r"\%", "%")


def sh_reads(command: str) -> list[str]:
    """The words after exec, by the real sh."""
    _, _, rest = command.rpartition(" && exec ")
    done = subprocess.run(
        ["sh", "-c", f'for word in {rest}; do printf "%s\\0" "$word"; done'], capture_output=True
    )
    return done.stdout.decode().split("\0")[:-1]


def systemd_reads(line: str) -> list[str]:
    """Words of ExecStart as systemd.syntax(7) has them: quotes, then specifiers and variables."""
    parts = shlex.split(line)
    assert all(not re.search(r"(?<!%)%(?:%%)*(?!%)", part) for part in parts)
    return [part.replace("%%", "%").replace("$$", "$") for part in parts]


@given(paths, paths, words)
@few
def test_cron_and_sh_get_the_words_that_were_meant(python: str, manage: str, queue: str) -> None:
    shop = site(python=python, manage=manage, tick=("maint", queue), one_line=True)
    (text,) = render("crontab", shop, [job()]).values()
    assert sh_reads(cron_reads(text.splitlines()[-1])) == [python, manage, "maint", queue]


@given(paths, paths, words)
@few
def test_systemd_gets_the_words_that_were_meant(python: str, manage: str, queue: str) -> None:
    shop = site(python=python, manage=manage, queues=queue)
    unit = render("systemd", shop, [])["argus-maint-worker.service"]
    (line,) = re.findall(r"(?m)^ExecStart=(.*)$", unit)
    assert systemd_reads(line) == list(shop.words(shop.worker))


@pytest.mark.parametrize("environment", ["", "/etc/shop.env"])
@given(paths, paths, words)
@few
def test_supervisord_gets_the_words_that_were_meant(
    environment: str, python: str, manage: str, queue: str
) -> None:
    options = tools.module("supervisor.options")
    shop = site(python=python, manage=manage, queues=queue, environment=environment)
    (text,) = render("supervisord", shop, []).values()
    parser = options.UnhosedConfigParser()
    parser.expansions = {}
    parser.read_string(text)
    got = shlex.split(parser.saneget("program:argus-maint-worker", "command"))
    if environment:
        assert got[:2] == ["/bin/sh", "-c"]
        got = sh_reads(got[2])
    assert got == list(shop.words(shop.worker))


@given(paths, paths, words)
@few
def test_runit_and_openrc_get_the_words_that_were_meant(
    python: str, manage: str, queue: str
) -> None:
    shop = site(python=python, manage=manage, queues=queue)
    run = render("runit", shop, [])["argus-maint-worker/run"]
    chpst = run.splitlines()[-1].removeprefix("exec chpst -u shop ")
    assert sh_reads(f" && exec {chpst}") == list(shop.words(shop.worker))
    script = render("openrc", shop, [])["argus-maint-worker"]
    assignments = "\n".join(re.findall(r"(?m)^command.*=.*", script))
    read = f'{assignments}\neval set -- $command $command_args\nprintf "%s\\0" "$@"'
    done = subprocess.run(["sh", "-c", read], capture_output=True, text=True)
    sh, c, line = done.stdout.split("\0")[:-1]
    assert (sh, c) == ("/bin/sh", "-c")
    assert sh_reads(line) == list(shop.words(shop.worker))


def test_openrc_reads_folders_twice() -> None:
    script = render("openrc", site(folder=NASTY, logs=NASTY), [])["argus-maint-worker"]
    assignments = "\n".join(re.findall(r"(?m)^(?:directory|output_log)=.*", script))
    read = f'{assignments}\neval set -- $directory $output_log\nprintf "%s\\0" "$@"'
    done = subprocess.run(["sh", "-c", read], capture_output=True, text=True)
    assert done.stdout.split("\0")[:-1] == [NASTY, f"{NASTY}/argus-maint-worker.log"]


@pytest.mark.parametrize("folder", ["/srv/a  b", "/srv/*", "/srv/a?", "/srv/[ab]"])
def test_openrc_would_read_such_a_folder_otherwise(folder: str) -> None:
    with pytest.raises(CannotHold, match="OpenRC splits such a path"):
        render("openrc", site(folder=folder), [])


@given(words)
def test_kubernetes_gets_the_words_that_were_meant(text: str) -> None:
    yaml = tools.module("yaml")
    read = yaml.safe_load(word(text))
    # What the kubelet does: $$ is $, and $(NAME) a variable.
    assert not re.search(r"(?<!\$)(?:\$\$)*\$\(", read.replace("$$(", ""))
    assert read.replace("$$(", "$(") == text


@pytest.mark.parametrize("form", FORMATS)
def test_a_job_that_is_switched_off_is_left_out(form: str) -> None:
    jobs = [job("kept"), job("dropped", enabled=False)]
    text = "".join(render(form, site(), jobs).values())
    assert "dropped" not in text
    jobs_too = form in ("crontab", "cron.d", "systemd", "kubernetes")
    assert ("kept" in text) == jobs_too


@pytest.mark.parametrize("form", FORMATS)
def test_every_file_says_what_it_is_and_where_it_goes(form: str) -> None:
    for text in render(form, site(), [job()]).values():
        lines = text.splitlines()
        head = lines[1] if executable(text) else lines[0]
        assert head[:1] in "#;" and "argus_maint" in head
        assert re.search(r"(?m)^[#;] Where: ", text)
        assert not re.search(r"[ \t]$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"folder": "/srv/a\nb"}, r"folder must be printable text on one line, not '/srv/a\\nb'"),
        ({"environment": "/etc/\0"}, "environment must be printable text"),
        ({"queues": "a\x1bb"}, "queues must be printable text"),
        ({"python": "venv/bin/python"}, "python must be an absolute path, not 'venv/bin/python'"),
        ({"folder": ""}, "folder must be an absolute path"),
        ({"manage": "/srv/a\\b"}, "manage must not hold a backslash"),
        ({"folder": "/srv/a "}, "a space at an end"),
        ({"user": "a b"}, "user must be such as www-data, not 'a b'"),
        ({"user": "-x"}, "user must be such as www-data"),
        ({"name": "a.b"}, "name must be such as argus-maint, not 'a.b'"),
        ({"name": ""}, "name must be such as argus-maint"),
        ({"settings": "a;b"}, "settings must be such as shop.settings"),
        ({"image": "a b"}, "image must be such as"),
        ({"manage": "", "settings": ""}, "without a manage.py the settings module must be named"),
        ({"writable": ("media",)}, "writable must be an absolute path"),
    ],
    ids=str,
)
def test_what_no_format_can_hold_is_refused_in_one_line(more: Any, message: str) -> None:
    with pytest.raises(CannotHold, match=message) as error:
        site(**more)
    assert "\n" not in str(error.value)


def test_a_line_longer_than_cron_reads_is_refused(tmp_path: Path) -> None:
    def line(length: int) -> str:
        shop = site(folder="/" + "x" * length, one_line=True)
        return "".join(render("crontab", shop, [job()]).values())

    longest = next(n for n in range(900, 0, -1) if _fits(line, n))
    assert tools.crontab_says(line(longest), tmp_path) == ""
    with pytest.raises(CannotHold, match="would be 999 bytes long, and cron reads 998"):
        line(longest + 1)
    too_long = line(longest).replace("cd /x", "cd /xx")
    assert "too long" in tools.crontab_says(too_long, tmp_path)


def _fits(line: Any, length: int) -> bool:
    try:
        return bool(line(length))
    except CannotHold:
        return False


@pytest.mark.parametrize("folder", ["/srv/a ;b", "/srv/a #b"])
def test_supervisord_would_cut_such_a_folder(folder: str) -> None:
    with pytest.raises(CannotHold, match="for a remark"):
        render("supervisord", site(folder=folder), [])
    with pytest.raises(CannotHold, match="expands a % in the path of a log twice"):
        render("supervisord", site(logs="/var/log/50%"), [])


def test_the_environment_file_is_read_and_nothing_of_it_written(tmp_path: Path) -> None:
    secret = tmp_path / "a b%c.env"
    secret.write_text("SECRET='two words'\nDJANGO_SETTINGS_MODULE=other\n")
    shop = site(environment=str(secret), folder=str(tmp_path), python="/usr/bin/env", manage="/-0")
    shop = replace(shop, manage="", tick=())
    command = shell(shop, ()).replace("/usr/bin/env -m django", "/usr/bin/env -0")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env={})
    assert {"SECRET=two words", "DJANGO_SETTINGS_MODULE=other"} <= set(done.stdout.split("\0"))
    for form in FORMATS:
        assert "two words" not in json.dumps(render(form, shop, [job()]))


def test_a_missing_environment_file_is_an_error_and_no_run_without_it() -> None:
    command = shell(site(folder="/", environment="/nowhere/env", python="/bin/echo"), ("ran",))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode and not done.stdout and "/nowhere/env" in done.stderr


def test_homes_are_closed_unless_the_site_is_in_one() -> None:
    def home(folder: str) -> str:
        unit = render("systemd", site(folder=folder), [])["argus-maint-worker.service"]
        return re.findall(r"(?m)^ProtectHome=(.*)$", unit)[0]

    assert (home("/srv/shop"), home("/home/shop/site")) == ("yes", "read-only")


def test_a_path_of_any_kind_is_one_word_for_systemd() -> None:
    assert systemd.quoted("/srv/shop") == "/srv/shop"
    assert systemd.quoted(NASTY) == '"/srv/a b%%c/$(HOME) ;d #e\'f\\"g/%%i%%%%"'
    assert systemd.word("$HOME") == '"$$HOME"'


def test_names_of_cronjobs_are_right_and_differ() -> None:
    yaml = tools.module("yaml")
    names = ["a_b", "a-b", "worker", "scheduler", "x" * 40, "x" * 39 + "_", "end-"]
    (text,) = render("kubernetes", site(name="n" * 20), [job(name) for name in names]).values()
    made = [each["metadata"]["name"] for each in yaml.safe_load_all(text)]
    services, jobs = made[:3], made[3:]  # a Deployment, its budget, a Deployment
    assert len(names) == len(set(jobs) - set(services))
    assert all(re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", each) for each in jobs)
    assert all(len(each) <= 52 for each in jobs)


def test_scripts_are_scripts(tmp_path: Path) -> None:
    nasty = site(folder=NASTY, environment=NASTY, python=NASTY, manage=NASTY, logs=NASTY)
    scripts = {**render("runit", nasty, []), **render("openrc", nasty, [])}
    for text in scripts.values():
        assert executable(text)
        assert tools.sh_says(text) == ""
    assert tools.sh_says("if true\n")  # what is broken is seen
