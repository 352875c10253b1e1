"""Real programs that read our files: found, or a reason why not."""

from __future__ import annotations

import functools
import importlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.conftest import required

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def need(program: str, package: str) -> str:
    """The path of a program; without it the test is skipped, or fails where CI promises all."""
    found = shutil.which(program, path=PATH)
    if not found:
        cannot(f"{program} is not installed (Debian: {package})")
    return found


def module(name: str) -> Any:
    """A package that only tests use."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        cannot(str(error))


def cannot(why: str) -> NoReturn:
    """Skip, or fail where CI has promised that nothing is missing."""
    if required():
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


def crontab_says(text: str, folder: Path) -> str:
    """What ``crontab -n`` has against it; nothing where all is right."""
    path = folder / "tried.crontab"
    path.write_text(text)
    done = subprocess.run(
        [need("crontab", "cron"), "-n", str(path)], capture_output=True, text=True
    )
    return done.stderr if done.returncode else ""


def systemd_says(files: dict[str, str], folder: Path) -> str:
    """What ``systemd-analyze verify`` has against them: any word of it, for a typo only warns."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        # The site of the examples is nowhere.
        (folder / name).write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    verify = [need("systemd-analyze", "systemd"), "verify", "--man=no", "--recursive-errors=yes"]
    # Partners are looked up where the files are, as after an install.
    env = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:", "LC_ALL": "C.UTF-8"}
    done = subprocess.run([*verify, *files], cwd=folder, env=env, capture_output=True, text=True)
    return done.stdout + done.stderr or ("" if not done.returncode else str(done.returncode))


def sh_says(text: str) -> str:
    """What ``sh -n`` has against a script."""
    done = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True)
    return done.stderr


def supervisord_reads(text: str, folder: Path) -> list[object]:
    """The programs of a file, as supervisord itself reads it; exits where it is broken."""
    options = module("supervisor.options").ServerOptions()
    path = folder / "supervisord.conf"
    path.write_text(f"[supervisord]\nnodaemon=true\nlogfile={folder}/log\n{text}")
    options.realize(["-n", "-c", str(path)])
    return [each for group in options.process_group_configs for each in group.process_configs]


@functools.cache
def why_no_mounts() -> str:
    """Why a test cannot mount over a folder for itself alone; empty where it can."""
    if os.geteuid() != 0:
        return "needs root"
    done = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"],
        capture_output=True,
        text=True,
    )
    return done.stderr.strip() if done.returncode else ""
