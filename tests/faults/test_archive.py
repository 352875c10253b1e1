"""An archive loses no task and repeats none: killed prunes, full disks, changed rows."""

from __future__ import annotations

import json
import os
import random
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import override_settings
from django.utils.dateparse import parse_datetime
from django_tasks_db.models import DBTaskResult

from argus_maint.backends import archive_reader, archive_rows, frames
from argus_maint.backends.archive import Appended, Archive
from argus_maint.backends.walk import Walk
from argus_maint.exceptions import ArchiveError
from argus_maint.jobs import ahead
from argus_maint.jobs import prune as module
from argus_maint.jobs.prune import order_of, prune
from argus_maint.models import ArchiveFile
from argus_maint.retention import DAY
from tests import tasks
from tests.faults.conftest import cannot, only
from tests.jobs.test_prune import expired
from tests.lab import Lab, until

pytestmark = pytest.mark.django_db(transaction=True)


def archived(folder: Path) -> list[dict[str, Any]]:
    """Every task in the archives of a folder."""
    files = archive_reader.files(folder, "default")
    return [json.loads(line) for file in files for line in archive_reader.lines(file)]


def ids(folder: Path) -> Counter[str]:
    return Counter(task["id"] for task in archived(folder))


def test_a_task_is_archived_with_all_its_columns(tmp_path: Path) -> None:
    (row,) = expired(1, path="shop.tasks.send", return_value={"a": [1, "\u00e9\n"]})
    report = prune(order_of("default", archive=Archive(tmp_path / "new")))
    assert (report.rows, report.archived) == (1, 1)
    (task,) = archived(tmp_path / "new")
    assert set(task) == {field.column for field in DBTaskResult._meta.concrete_fields}
    assert task["id"] == str(row.pk)
    assert task["return_value"] == {"a": [1, "\u00e9\n"]}
    assert task["args_kwargs"] == {"args": [1, 2], "kwargs": {}}
    assert parse_datetime(task["finished_at"]) == row.finished_at
    (path,) = (tmp_path / "new").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def without_secrets(task: dict[str, Any]) -> dict[str, Any]:
    return {"id": task["id"], "args": "hidden"}


def test_a_redaction_has_the_say(tmp_path: Path) -> None:
    expired(3)
    setting = {"PRUNE": {"archive": str(tmp_path), "redact": f"{__name__}.without_secrets"}}
    with override_settings(ARGUS_MAINT=setting):
        assert prune(order_of("default")).archived == 3
    assert [set(task) for task in archived(tmp_path)] == [{"id", "args"}] * 3


@pytest.mark.parametrize(
    "redact",
    ["no.such.module.x", f"{__name__}.ids", f"{__name__}.Counter", "tests.tasks.__doc__"],
)
def test_a_redaction_that_is_none_deletes_nothing(
    tmp_path: Path, redact: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = expired(3)
    with override_settings(ARGUS_MAINT={"PRUNE": {"archive": str(tmp_path), "redact": redact}}):
        if redact.endswith("Counter"):  # any dict will do
            assert prune(order_of("default")).rows == 3
            return
        if redact.startswith(__name__):
            assert prune(order_of("default")).left == 3
            assert all(f"event=prune.left task_id={row.pk} " in caplog.text for row in made)
        else:
            with pytest.raises(ArchiveError, match="redact"):
                prune(order_of("default"))
    assert DBTaskResult.objects.count() == 3


def test_a_row_that_changes_while_it_is_archived_is_in_no_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = expired(5)
    real, late = Walk.delete, [True]

    def delete(self: Walk, pieces: Any) -> int:
        if late.pop() if late else False:
            DBTaskResult.objects.filter(pk=made[2].pk).update(status="READY", finished_at=None)
        return real(self, pieces)

    monkeypatch.setattr(Walk, "delete", delete)
    report = prune(order_of("default", archive=Archive(tmp_path), own_tables=False))
    # What the other did is undone with the transaction it was done in here, and comes first:
    assert report.refused <= 1
    assert ids(tmp_path) == Counter({str(row.pk): 1 for row in made if row.pk not in left()})
    assert report.archived == report.rows == len(made) - len(left())


def test_only_what_was_written_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose clock was behind finishes into a batch that has been read already."""
    made = expired(5)
    late = [True]

    def and_then(real: Any) -> Any:
        def read(*arguments: Any, **values: Any) -> Any:
            found = real(*arguments, **values)
            if late:
                late.pop()
                made.extend(expired(1, age=500 * DAY))
            return found

        return read

    monkeypatch.setattr(Walk, "read", and_then(Walk.read))
    monkeypatch.setattr(archive_rows, "at_once", and_then(archive_rows.at_once))
    report = prune(order_of("default", archive=Archive(tmp_path)))
    assert not late
    assert report.rows == report.archived == len(made) - len(left())
    assert ids(tmp_path) == Counter({str(row.pk): 1 for row in made if row.pk not in left()})


def left() -> set[Any]:
    return set(DBTaskResult.objects.values_list("pk", flat=True))


def in_the_third_read(monkeypatch: pytest.MonkeyPatch, act: Callable[[Any, Any], None]) -> None:
    """Have something happen when batches are read ahead: after one of 50 rows that is."""
    real, reads = ahead.at_once, []

    def read(connection: Any, pieces: Any) -> Any:
        reads.append(1)
        number, found = len(reads), real(connection, pieces)
        if number == 3:
            act(connection, found)
        return found

    monkeypatch.setattr(ahead, "at_once", read)


@only("postgres")
def test_what_was_read_ahead_is_read_again_when_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, again = expired(400), []

    def put_back(connection: Any, parts: Any) -> None:
        again.append(parts[0].keys[7])
        with connection.cursor() as cursor:
            table = DBTaskResult._meta.db_table
            cursor.execute(f"UPDATE {table} SET status = 'READY' WHERE id = %s", again)

    in_the_third_read(monkeypatch, put_back)
    report = prune(order_of("default", duty=1.0, archive=Archive(tmp_path)))
    assert [str(pk) for pk in left()] == again
    assert (report.archived, report.left) == (399, 0)
    gone = [str(row.pk) for row in made if str(row.pk) not in again]
    assert ids(tmp_path) == Counter(dict.fromkeys(gone, 1))


@only("postgres")
def test_a_session_that_reads_ahead_may_break(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = expired(400)

    def end(connection: Any, parts: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    in_the_third_read(monkeypatch, end)
    report = prune(order_of("default", duty=1.0, archive=Archive(tmp_path)))
    assert (report.rows, report.refused) == (400, 1)
    assert ids(tmp_path) == Counter({str(row.pk): 1 for row in made})


@only("postgres")
def test_without_a_session_to_spare_nothing_is_read_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(using: str) -> Any:
        raise OperationalError("remaining connection slots are reserved")

    made = expired(400)
    monkeypatch.setattr(ahead, "own_session", none_left)
    report = prune(order_of("default", duty=1.0, archive=Archive(tmp_path)))
    assert (report.rows, report.refused) == (400, 0)
    assert ids(tmp_path) == Counter({str(row.pk): 1 for row in made})


def test_two_prunes_do_not_write_to_one_file(tmp_path: Path) -> None:
    expired(3)
    first = Archive(tmp_path)
    first._file("default", "default")
    with pytest.raises(ArchiveError, match="another prune is writing"):
        prune(order_of("default", archive=Archive(tmp_path)))
    assert DBTaskResult.objects.count() == 3
    first.close()
    assert prune(order_of("default", archive=Archive(tmp_path))).archived == 3
    assert ArchiveFile.objects.count() == 1


def test_a_file_that_is_gone_or_cut_is_not_continued(tmp_path: Path) -> None:
    for again in range(3):
        expired(2)
        assert prune(order_of("default", archive=Archive(tmp_path))).archived == 2
        newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        if again == 0:
            newest.rename(tmp_path / "moved")
        else:
            os.truncate(newest, 3)
    assert ArchiveFile.objects.count() == 3


def test_a_file_that_lost_its_end_is_told_of_and_the_others_are_searched(
    tmp_path: Path, capsys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    expired(3, path="shop.tasks.one")
    prune(order_of("default", archive=Archive(tmp_path)))
    (cut,) = tmp_path.iterdir()
    os.truncate(cut, cut.stat().st_size - 9)
    expired(1, path="shop.tasks.two")
    prune(order_of("default", archive=Archive(tmp_path)))
    assert any("archive.short" in record.getMessage() for record in caplog.records)
    told = {
        "list": f"{cut} is cut off: 9 bytes at its end are missing",
        "grep": f"{cut} is cut off or damaged",
    }
    for what, says in told.items():
        with pytest.raises(SystemExit) as status:
            call_command(
                "maint", "archive", what, *["shop"][what == "list" :], f"--folder={tmp_path}"
            )
        assert status.value.code == 1
        said = capsys.readouterr()
        assert says in said.out + said.err
        assert what == "list" or json.loads(said.out)["task_path"] == "shop.tasks.two"


@pytest.mark.parametrize("known", [True, False], ids=["known", "of another database"])
@pytest.mark.parametrize("packed", ["zst", "gz"])
def test_damage_is_noticed(
    tmp_path: Path, packed: str, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if packed == "gz":
        monkeypatch.setattr(frames, "_zstd", None)
    expired(3, traceback=os.urandom(3000).hex())
    prune(order_of("default", archive=Archive(tmp_path)))
    if not known:
        ArchiveFile.objects.all().delete()
    assert len(archived(tmp_path)) == 3
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    middle = len(whole) // 2
    for damaged in (
        whole[:middle],
        whole[:-1],
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
    ):
        path.write_bytes(damaged)
        with pytest.raises(ArchiveError, match="is cut off or damaged"):
            archived(tmp_path)


def test_what_a_prune_had_not_deleted_is_cut_off(tmp_path: Path) -> None:
    expired(2)
    prune(order_of("default", archive=Archive(tmp_path)))
    (path,) = tmp_path.iterdir()
    with path.open("ab") as file:
        file.write(path.read_bytes() + b"half a frame")
    assert sum(ids(tmp_path).values()) == 2  # a reader does not see it either
    expired(2)
    prune(order_of("default", archive=Archive(tmp_path)))
    assert set(ids(tmp_path).values()) == {1}
    assert len(ids(tmp_path)) == 4
    assert path.stat().st_size == ArchiveFile.objects.get().committed  # for any other tool


def test_a_file_that_was_left_too_long_yesterday_is_cut_today(tmp_path: Path) -> None:
    expired(2)
    prune(order_of("default", archive=Archive(tmp_path)))
    (path,) = tmp_path.iterdir()
    with path.open("ab") as file:
        file.write(b"half a frame")
    record = ArchiveFile.objects.get()
    ArchiveFile.objects.update(day=record.day - timedelta(days=1))
    expired(2)
    prune(order_of("default", archive=Archive(tmp_path)))
    assert path.stat().st_size == record.committed
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("how", ["removed", "cut", "replaced"])
def test_a_file_that_is_taken_away_stops_the_prune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(module, "MOST_READ", 10)
    expired(120)
    real, batches = Archive._append, []

    def append(self: Archive, *arguments: Any) -> Any:
        batches.append(1)
        if len(batches) == 3:
            (path,) = tmp_path.iterdir()
            if how == "cut":
                os.truncate(path, 3)
            else:
                path.rename(tmp_path / "away")
                if how == "replaced":
                    path.touch()
        return real(self, *arguments)

    monkeypatch.setattr(Archive, "_append", append)
    with pytest.raises(ArchiveError, match="cut or replaced|No such file"):
        prune(order_of("default", archive=Archive(tmp_path)))
    assert len(batches) == 3
    assert len(left()) == 60  # the first batch had 50, the second 10; no other has gone


def test_odd_text_and_odd_names_are_kept_as_they_are(tmp_path: Path) -> None:
    odd = "a\u2028b\u2029c\x85d\ne"
    expired(1, traceback=odd, backend_name="../out/x")
    folder = tmp_path / "in"
    prune(order_of("default", archive=Archive(folder)))
    (task,) = archived(folder)
    assert (task["traceback"], task["backend_name"]) == (odd, "../out/x")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@only("sqlite")
def test_a_row_that_cannot_go_does_not_keep_the_others(tmp_path: Path) -> None:
    made = expired(700)
    stays = made[400].pk
    table = DBTaskResult._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TRIGGER stay BEFORE DELETE ON {table} WHEN old.id = '{stays.hex}' "
            f"BEGIN SELECT RAISE(ABORT, 'it is needed'); END"
        )
    try:
        report = prune(order_of("default", duty=1.0, archive=Archive(tmp_path)))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER stay")
    assert (report.left, report.rows) == (1, 699)
    assert left() == {stays}
    assert sum(ids(tmp_path).values()) == 699


@only("postgres")
def test_a_commit_whose_reply_is_lost_while_it_is_under_way_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line breaks while the server is still at the COMMIT, which then succeeds."""
    made = expired(400)
    real, cut = Appended.commit, [True]

    def commit(self: Appended) -> None:
        real(self)
        if cut:
            cut.pop()
            line = socket.socket(fileno=os.dup(connection.connection.pgconn.socket))
            threading.Timer(0.3, lambda: line.shutdown(socket.SHUT_RDWR)).start()

    monkeypatch.setattr(Appended, "commit", commit)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$; "
            "CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON argus_maint_archivefile "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slowly()"
        )
    try:
        report = prune(order_of("default", duty=1.0, archive=Archive(tmp_path)))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION slowly CASCADE")
    assert report.refused >= 1
    assert left() == set()
    assert ids(tmp_path) == Counter({str(row.pk): 1 for row in made})


# -- killed ----------------------------------------------------------------------------


def kill_one(command: list[str], env: dict[str, str], moment: float) -> None:
    """Start a prune, and kill it so long after its first batch."""
    before = left()
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: process.poll() is not None or left() < before, what="it prunes")
        time.sleep(moment)
    finally:
        process.kill()
        process.wait()


def killed(lab: Lab, folder: Path, kills: int, rows: int) -> None:
    """Kill a prune so often at moments of its work, then let it end."""
    made = {str(row.pk) for row in expired(rows)}
    rnd = random.Random(7)
    lab.setting(PRUNE={"target": 0.002, "duty": 1.0})  # many small batches
    command = [sys.executable, "-m", "django", "maint", "prune", f"--archive={folder}"]
    for kill in range(kills):
        kill_one(command, lab.env, rnd.random() * 0.02)
        # At each of these moments: a task is in the table or in the archive, and in one alone.
        here, there = {str(pk) for pk in left()}, ids(folder)
        assert set(there.values()) <= {1}, f"repeated after kill {kill}"
        assert not here & set(there), f"in both after kill {kill}"
        assert here | set(there) == made, f"lost after kill {kill}"
        if not here:
            break
    lab.manage("maint", "prune", f"--archive={folder}")
    assert ids(folder) == Counter(dict.fromkeys(made, 1))


def test_a_killed_prune_loses_no_task_and_repeats_none(lab: Lab, tmp_path: Path) -> None:
    killed(lab, tmp_path / "archive", kills=3, rows=3_000)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_twenty_killed_prunes_lose_no_task_and_repeat_none(lab: Lab, tmp_path: Path) -> None:
    killed(lab, tmp_path / "archive", kills=20, rows=20_000)


# -- a full disk ------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for little."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        cannot(f"no file system of our own: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_the_prune_and_the_queue_goes_on(lab: Lab, small_disk: Path) -> None:
    made = {str(row.pk) for row in expired(200, traceback=os.urandom(2000).hex())}
    for row in DBTaskResult.objects.all():  # each its own, or they would compress to nothing
        DBTaskResult.objects.filter(pk=row.pk).update(traceback=os.urandom(1000).hex())
    lab.worker().ready()
    lab.setting(PRUNE={"target": 0.001})

    done = lab.manage("maint", "prune", f"--archive={small_disk}", check=False)

    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("CommandError: the archive ")
    assert "No space left on device" in last
    here, there = {str(pk) for pk in left()}, ids(small_disk)
    assert here
    assert here | set(there) == made
    assert not here & set(there)
    assert set(there.values()) <= {1}
    lab.until_status(tasks.add.enqueue(1, 2), "SUCCESSFUL")


def test_an_archive_is_listed_and_searched(tmp_path: Path, capsys: Any) -> None:
    (one,) = expired(1, path="shop.tasks.one")
    expired(1, path="shop.tasks.two")
    prune(order_of("default", archive=Archive(tmp_path)))
    folder = f"--folder={tmp_path}"
    call_command("maint", "archive", "list", folder)
    assert "default" in capsys.readouterr().out
    call_command("maint", "archive", "grep", "--id", str(one.pk)[:8], folder)
    assert json.loads(capsys.readouterr().out)["task_path"] == "shop.tasks.one"
    call_command("maint", "archive", "grep", "--task", "*.two", folder)
    assert json.loads(capsys.readouterr().out)["task_path"] == "shop.tasks.two"
    call_command("maint", "archive", "grep", folder, "--task=*.two", "shop")
    assert json.loads(capsys.readouterr().out)["task_path"] == "shop.tasks.two"
    call_command("maint", "archive", "grep", "shop.tasks", folder)
    assert len(capsys.readouterr().out.splitlines()) == 2
    with pytest.raises(SystemExit) as nothing:
        call_command("maint", "archive", "grep", "nowhere", folder)
    assert nothing.value.code == 1
