"""The scratch project: healthy, apart from the site that runs it, and gone without a trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from argus_maint.drills import processes
from argus_maint.drills.inside import MARK
from argus_maint.drills.scratch import Broken, Scratch
from tests.conftest import ROOT
from tests.lab import gone, until
from tests.scratches import KIND, Scratches

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(KIND != "sqlite", reason="the same on any database"),
    pytest.mark.timeout(180),
]


@pytest.fixture
def scratch(scratches: Scratches) -> Iterator[Scratch]:
    with scratches.one() as made:
        yield made


def test_it_is_healthy(scratch: Scratch) -> None:
    scratch.start()
    done = scratch.shell("python manage.py maint status")
    assert done.output.startswith("HEALTHY  2 workers")
    assert scratch.shell("python manage.py maint findings --look").output == "nothing is open\n"


def test_it_knows_nothing_of_the_site_that_runs_it(
    scratches: Scratches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "the.site.settings")
    monkeypatch.setenv("ARGUS_MAINT_TEST_SETTING", "{}")
    monkeypatch.setenv("PGHOST", "db.example")
    with scratches.one() as scratch:
        seen = set(scratch.shell("env").output.splitlines())
        asked = scratch.shell("python manage.py diffsettings | grep -E '^(DATABASES|SETTINGS)'")
    assert not [line for line in seen if line.startswith(("DJANGO", "ARGUS_MAINT_TEST", "PG"))]
    assert str(scratch.folder) in asked.output
    assert "shop.settings" in asked.output


def test_a_shop_of_the_site_is_not_taken_for_it(
    scratches: Scratches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With PYTHONSAFEPATH Python looks for nothing beside the program that it runs."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "settings.py").write_text('raise SystemExit("the site")')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    with scratches.one() as scratch:
        assert scratch.call("ledger") == 0
        pasted = scratch.shell("python manage.py diffsettings | grep ^DATABASES")
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
        own = scratch.shell(f"{sys.executable} manage.py diffsettings | grep ^DATABASES", env=env)
    assert str(scratch.folder) in pasted.output
    assert str(scratch.folder) in own.output


def test_what_a_pasted_command_leaves_behind_ends_with_it(scratches: Scratches) -> None:
    # As a person pastes it: in a shell without the mark, and by any interpreter.
    env = {key: value for key, value in os.environ.items() if not key.startswith("ARGUS")}
    env["PYTHONPATH"] = str(ROOT)
    worker = "manage.py db_worker --worker-id=pasted >> pasted.log 2>&1 &"
    with scratches.one() as scratch:
        for python in (scratch.folder / "bin" / "python", sys.executable):
            command = ["sh", "-c", f"nohup {python} {worker}"]
            subprocess.run(command, cwd=scratch.folder, env=env, check=True)
        until(lambda: scratch.call("living", name="pasted", kind="worker") == 2)
        started = processes.marked(MARK, str(scratch.folder))
    assert len(started) >= 6
    assert [pid for pid in started if not gone(pid)] == []
    assert not scratch.folder.exists()


def test_others_are_left_alone(scratches: Scratches) -> None:
    env = {**os.environ, MARK: "/tmp/another"}
    other = subprocess.Popen(["sleep", "60"], env=env)
    try:
        with scratches.one() as scratch:
            scratch.call("statuses", ids=[])
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_it_is_gone_when_who_made_it_is_killed(scratches: Scratches, tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import json, pathlib, sys, time
        from argus_maint.drills.scratch import Scratch
        scratch = Scratch(pathlib.Path(sys.argv[1]))
        scratch.start()
        pids = [each.pid for each in scratch.started.values()]
        print(json.dumps([str(scratch.folder), *pids]), flush=True)
        time.sleep(600)
        """
    )
    assert isinstance(scratches.template, Path)
    maker = subprocess.Popen(
        [sys.executable, "-c", script, str(scratches.template)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert maker.stdout is not None
        folder, *pids = json.loads(maker.stdout.readline())
        assert not any(map(gone, pids))
    finally:
        maker.send_signal(signal.SIGKILL)
        maker.communicate()
    until(lambda: not Path(folder).exists(), 60)
    assert all(map(gone, pids))


def test_a_deploy_can_be_taken_back(scratch: Scratch) -> None:
    before = (scratch.folder / "shop/jobs.py").read_text()
    scratch.deploy("shop/jobs.py", 'each["price"]', 'each["cents"]', "Count in cents")
    assert "Count in cents" in scratch.shell("git log -1 --stat").output
    done = scratch.shell("git revert --no-edit HEAD")
    assert done.status == 0, done.output
    assert (scratch.folder / "shop/jobs.py").read_text() == before
    assert scratch.shell("git status --short").output == ""


def test_what_goes_wrong_is_told(scratch: Scratch) -> None:
    with pytest.raises(Broken, match="does not have 'no such text' once"):
        scratch.deploy("shop/jobs.py", "no such text", "", "")
    with pytest.raises(Broken, match=r"manage.py maint run nothing exited 2:\n.*no job 'nothing'"):
        scratch.manage("maint", "run", "nothing")
    with pytest.raises(Broken, match="not over within 0.2 s: bash -c sleep 9"):
        scratch.shell("sleep 9", 0.2)
    with pytest.raises(Broken, match="enqueue: AttributeError"):
        scratch.call("enqueue", task="no_such_task", arguments=[])


def test_a_folder_of_ones_own(scratches: Scratches, tmp_path: Path) -> None:
    assert isinstance(scratches.template, Path)
    with closing(Scratch(scratches.template, folder=tmp_path)) as scratch:
        assert scratch.folder == tmp_path
        assert (tmp_path / "manage.py").exists()
    assert not tmp_path.exists()
