# SPDX-License-Identifier: GPL-3.0-or-later
"""What is the file's own: what survives, one writer, who may read, what is kept aside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from hostnic.model import Fact, Lease, Nic
from hostnic.ports import Journal
from hostnic.states import State
from hostnic.store import files
from hostnic.store.failure import StoreFailed, StoreLocked
from hostnic.store.sqlite import SqliteStore

NIC = Nic("52:54:00:00:00:01", "vxnet-a", "192.168.1.2", State.READY, 12.5)
LEASE = Lease("net", "c1", "eth0", NIC.nic_id, 3.25, args={"A": "1"})


@pytest.fixture
def statedir(tmp_path: Path) -> Path:
    return tmp_path / "var" / "state"


def test_survives_closing(statedir: Path) -> None:
    store = SqliteStore(statedir)
    store.bind("boot", "i-1")
    store.write(put=[NIC, LEASE])
    store.close()
    again = SqliteStore(statedir)
    assert again.load() == Journal(("boot", "i-1"), (NIC,), (LEASE,))
    assert again.kept_as is None
    again.close()


@pytest.mark.parametrize("durable", [False, True])
def test_survives_being_killed(statedir: Path, durable: bool) -> None:
    program = f"""
import os, signal, sys
sys.path[:0] = sys.argv[2:]
from hostnic.model import Nic
from hostnic.states import State
from hostnic.store.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
for number in range(50):
    store.write(put=[Nic(f"52:54:00:00:00:{{number:02x}}", "v", "", State.READY, 0.0)], durable={durable})
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program, str(statedir), *sys.path], timeout=30, check=False)
    assert killed.returncode == -signal.SIGKILL
    store = SqliteStore(statedir)
    assert len(store.load().nics) == 50
    store.close()


def test_durable_is_full_and_normal_is_not(statedir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pragma stands when the transaction begins, where alone it has an effect."""
    seen: list[str] = []
    connect = sqlite3.connect

    def tracing(*args: t.Any, **kwargs: t.Any) -> sqlite3.Connection:
        link: sqlite3.Connection = connect(*args, **kwargs)
        link.set_trace_callback(seen.append)
        return link

    monkeypatch.setattr(sqlite3, "connect", tracing)
    store = SqliteStore(statedir)
    full, normal = "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"
    assert seen.index(full) < seen.index("BEGIN IMMEDIATE")
    seen.clear()
    store.write(put=[NIC])
    store.write(put=[NIC], durable=True)
    store.bind("b", "i")
    store.write(put=[NIC])
    store.write(drop=[NIC])
    order = [line for line in seen if line.startswith(("PRAGMA", "BEGIN", "COMMIT"))]
    once = ["BEGIN IMMEDIATE", "COMMIT"]
    assert order == [normal, *once, full, *once, *once, normal, *once, *once]
    store.set_aside("test")
    seen.clear()
    store.write(put=[NIC])
    assert seen[0] == normal
    store.close()


def test_wal(statedir: Path) -> None:
    store = SqliteStore(statedir)
    with sqlite3.connect(statedir / "state.db") as reader:
        assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_support_can_read_it_while_the_agent_runs(statedir: Path) -> None:
    store = SqliteStore(statedir)
    store.write(put=[NIC, LEASE])
    reader = sqlite3.connect(statedir / "state.db")
    assert reader.execute("SELECT nic_id, state, doomed FROM nic").fetchall() == [(NIC.nic_id, "READY", 0)]
    assert json.loads(reader.execute("SELECT args FROM lease").fetchone()[0]) == {"A": "1"}
    store.write(drop=[LEASE])
    assert reader.execute("SELECT count(*) FROM lease").fetchone() == (0,)
    reader.close()
    store.close()


def test_nobody_else_may_look(statedir: Path) -> None:
    old = os.umask(0)
    try:
        store = SqliteStore(statedir)
        store.write(put=[NIC])
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [statedir, *statedir.iterdir()]}
    finally:
        os.umask(old)
    store.close()
    assert modes.pop("state") == 0o700
    assert {"state.db", "state.db-wal", "state.lock"} <= set(modes)
    assert set(modes.values()) == {0o600}


def test_open_directory_is_closed(statedir: Path) -> None:
    statedir.mkdir(parents=True)
    statedir.chmod(0o755)
    SqliteStore(statedir).close()
    assert stat.S_IMODE(statedir.stat().st_mode) == 0o700


# -- one writer --------------------------------------------------------------------------------------------------------


def test_second_writer_is_refused_with_a_sentence(statedir: Path) -> None:
    first = SqliteStore(statedir)
    with pytest.raises(StoreLocked, match=f"{statedir} is in use by process {os.getpid()}") as caught:
        SqliteStore(statedir)
    assert caught.value.details["pid"] == os.getpid()
    first.close()
    SqliteStore(statedir).close()


def test_another_process_is_refused_until_the_first_is_dead(statedir: Path) -> None:
    program = """
import sys
sys.path[:0] = sys.argv[2:]
from hostnic.store.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
print("locked", flush=True)
sys.stdin.read()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(statedir), *sys.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(StoreLocked, match=f"process {holder.pid}"):
            SqliteStore(statedir)
        holder.kill()
    SqliteStore(statedir).close()


# -- kept aside --------------------------------------------------------------------------------------------------------


def asides(statedir: Path) -> list[str]:
    return sorted(path.name for path in statedir.iterdir() if path.name.startswith("state.db."))


def facts_of(path: Path) -> list[str]:
    link = sqlite3.connect(path)
    found = [row[0] for row in link.execute("SELECT name FROM fact ORDER BY name")]
    link.close()
    return found


def test_what_is_set_aside_is_whole_and_told(statedir: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = SqliteStore(statedir)
    store.write(put=[Fact("a", "1")])
    store.set_aside("Another instance: i-2!")
    kept = statedir / "state.db.another-instance-i-2-1"
    assert store.kept_as == kept
    assert [name for name in asides(statedir) if not name.endswith("-shm")] == [kept.name]
    assert facts_of(kept) == ["a"]
    (line,) = [record.getMessage() for record in caplog.records if record.name == "hostnic.store"]
    assert str(statedir / "state.db") in line
    assert str(kept) in line
    assert "Another instance: i-2!" in line
    store.close()
    assert SqliteStore(statedir).load() == Journal(("", ""))


def test_what_is_set_aside_while_support_reads_is_whole_too(statedir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    store = SqliteStore(statedir)
    store.write(put=[Fact("a", "1")])
    reader = sqlite3.connect(statedir / "state.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM fact").fetchall()
    store.write(put=[Fact("b", "1")])
    store.set_aside("test")
    store.write(put=[Fact("c", "1")])
    assert [fact.name for fact in store.load().facts] == ["c"]
    assert reader.execute("SELECT name FROM fact").fetchall() == [("a",)]
    reader.close()
    assert facts_of(statedir / "state.db.test-1") == ["a", "b"]
    assert [fact.name for fact in store.load().facts] == ["c"]
    store.close()


def test_what_is_set_aside_is_whole_in_one_file(statedir: Path) -> None:
    store = SqliteStore(statedir)
    store.write(put=[Fact("a", "1")])
    reader = sqlite3.connect(statedir / "state.db")
    assert reader.execute("SELECT name FROM fact").fetchall() == [("a",)]
    store.set_aside("test")
    store.close()
    shutil.copy(statedir / "state.db.test-1", statedir / "copy")
    assert facts_of(statedir / "copy") == ["a"]
    reader.close()


def test_nothing_is_overwritten_and_the_newest_are_kept(statedir: Path) -> None:
    statedir.mkdir(parents=True)
    for name in ("state.db.test-7-wal", "state.db.test-x", "state.db.test-2-3", "state.db.other-1", "state.db.test"):
        (statedir / name).write_text(name)
    store = SqliteStore(statedir)
    for number in range(7):
        store.write(put=[Fact(str(number), "x")])
        store.set_aside("test")
        assert store.kept_as == statedir / f"state.db.test-{8 + number}"
    store.close()
    assert asides(statedir) == sorted(
        [*(f"state.db.test-{number}" for number in range(10, 15)),
         "state.db.test-x", "state.db.test-2-3", "state.db.other-1", "state.db.test"]
    )  # fmt: skip
    assert [facts_of(statedir / f"state.db.test-{number}") for number in range(10, 15)] == [
        [str(n)] for n in range(2, 7)
    ]


def test_damaged_files_are_kept_in_the_same_way(statedir: Path) -> None:
    for number in range(1, 8):
        SqliteStore(statedir).close()
        (statedir / "state.db").write_bytes(b"this was a database once" * 500)
        store = SqliteStore(statedir)
        assert store.kept_as == statedir / f"state.db.damaged-{number}"
        store.close()
    assert asides(statedir) == [f"state.db.damaged-{number}" for number in range(3, 8)]


def test_a_directory_is_never_deleted(statedir: Path) -> None:
    for __ in range(7):
        (statedir / "state.db").mkdir(parents=True)
        SqliteStore(statedir).close()
        (statedir / "state.db").unlink()
    assert len(asides(statedir)) == 7


def test_a_reason_without_letters(statedir: Path) -> None:
    store = SqliteStore(statedir)
    store.set_aside("../*")
    assert store.kept_as == statedir / "state.db.aside-1"
    store.set_aside("x" * 300)
    assert store.kept_as.exists()
    store.close()


# -- removed or replaced while it is in use ----------------------------------------------------------------------------


def removed(statedir: Path) -> None:
    (statedir / "state.db").unlink()


def all_removed(statedir: Path) -> None:
    for path in statedir.glob("state.db*"):
        path.unlink()


def directory_removed(statedir: Path) -> None:
    shutil.rmtree(statedir)


def moved_away(statedir: Path) -> None:
    (statedir / "state.db").rename(statedir / "mine")


def directory_moved_away(statedir: Path) -> None:
    statedir.rename(statedir.with_name("mine"))


def other_file(statedir: Path) -> None:
    (statedir / "copy").write_bytes((statedir / "state.db").read_bytes())
    (statedir / "copy").rename(statedir / "state.db")


def other_directory(statedir: Path) -> None:
    (statedir / "state.db").unlink()
    (statedir / "state.db").mkdir()


def removed_and_other_log(statedir: Path) -> None:
    """The log of another journal lies where the new file would take it for its own."""
    other = SqliteStore(statedir.with_name("other"))
    for number in range(30):
        other.write(put=[Fact(str(number), "other")])
    shutil.copy(statedir.with_name("other") / "state.db-wal", statedir / "other-wal")
    other.close()
    removed(statedir)
    (statedir / "other-wal").rename(statedir / "state.db-wal")


GONE = [
    removed_and_other_log,
    removed,
    all_removed,
    directory_removed,
    moved_away,
    directory_moved_away,
    other_file,
    other_directory,
]


@pytest.fixture
def used(statedir: Path) -> t.Iterator[SqliteStore]:
    store = SqliteStore(statedir)
    store.bind("boot", "i-1")
    store.write(put=[NIC, LEASE])
    yield store
    store.close()


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("harm", GONE, ids=[harm.__name__ for harm in GONE])
def test_lost_file_is_written_anew_with_the_next_write(
    statedir: Path, used: SqliteStore, harm: t.Callable[[Path], None], durable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    harm(statedir)
    used.write(put=[Fact("a", "1")], durable=durable)
    used.write(put=[Fact("b", "1")])
    (line,) = [record.getMessage() for record in caplog.records if record.name == "hostnic.store"]
    assert "removed or replaced while it was in use: it is written anew with its 2 records" in line
    stranger = statedir / "state.db.replaced-1"
    assert stranger.exists() == (str(stranger) in line) == (used.kept_as == stranger)
    assert stranger.exists() or harm not in (other_file, other_directory)
    assert not stranger.with_name(f"{stranger.name}-wal").exists()
    shutil.copytree(statedir, statedir.with_name("copy"))  # what a kill would leave
    again = SqliteStore(statedir.with_name("copy"))
    assert again.load() == Journal(("boot", "i-1"), (NIC,), (LEASE,), facts=(Fact("a", "1"), Fact("b", "1")))
    assert again.kept_as is None
    again.close()


@pytest.mark.parametrize("harm", GONE, ids=[harm.__name__ for harm in GONE])
def test_lost_file_is_written_anew_at_the_end(
    statedir: Path, used: SqliteStore, harm: t.Callable[[Path], None]
) -> None:
    harm(statedir)
    used.close()
    again = SqliteStore(statedir)
    assert again.load() == Journal(("boot", "i-1"), (NIC,), (LEASE,))
    again.close()


@pytest.mark.parametrize("harm", GONE, ids=[harm.__name__ for harm in GONE])
def test_lost_file_is_set_aside_all_the_same(statedir: Path, used: SqliteStore, harm: t.Callable[[Path], None]) -> None:
    harm(statedir)
    used.set_aside("test")
    assert used.load() == Journal(("", ""))
    link = sqlite3.connect(statedir / "state.db.test-1")
    assert link.execute("SELECT nic_id FROM nic").fetchall() == [(NIC.nic_id,)]
    link.close()


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.rename(path.with_name("mine"))], ids=["rm", "mv"])
def test_lost_log_is_seen_by_durable_writes(
    statedir: Path, used: SqliteStore, harm: t.Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    harm(statedir / "state.db-wal")
    used.write(put=[Fact("a", "1")])
    assert not caplog.text
    used.write(put=[Fact("b", "1")], durable=True)
    assert "removed or replaced" in caplog.text
    shutil.copytree(statedir, statedir.with_name("copy"))
    again = SqliteStore(statedir.with_name("copy"))
    assert again.load() == Journal(("boot", "i-1"), (NIC,), (LEASE,), facts=(Fact("a", "1"), Fact("b", "1")))
    again.close()


def test_what_a_killed_exchange_has_left_is_not_built_upon(statedir: Path, used: SqliteStore) -> None:
    left = SqliteStore(statedir.with_name("other"))
    left.write(put=[Fact("left", "over")])
    left.close()
    shutil.copy(statedir.with_name("other") / "state.db", statedir / "state.db.building")
    used.set_aside("test")
    assert used.load() == Journal(("", ""))


def test_an_exchange_is_on_disk_before_it_counts(
    statedir: Path, used: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(Path(f"/proc/self/fd/{number}").readlink()))
    used.set_aside("test")
    assert synced == [statedir]


def test_where_the_lost_file_cannot_be_written_anew_nothing_is_lost(
    statedir: Path, used: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    removed(statedir)
    (statedir / "state.db.building").mkdir()  # what nobody does, but a disk that refuses is hard to come by
    for __ in range(2):
        with pytest.raises(StoreFailed, match="the journal .* failed"):
            used.write(put=[Fact("a", "1")])
    assert used.load() == Journal(("boot", "i-1"), (NIC,), (LEASE,))
    (statedir / "state.db.building").rmdir()
    used.write(put=[Fact("b", "1")])
    used.close()
    assert SqliteStore(statedir).load().facts == (Fact("b", "1"),)


def test_lost_for_good_is_told(statedir: Path, used: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    removed(statedir)
    (statedir / "state.db.building").mkdir()
    used.close()
    assert "was removed and is lost" in caplog.text
    (statedir / "state.db.building").rmdir()
    SqliteStore(statedir).close()


def test_an_exchange_that_fails_half_way_is_finished(
    statedir: Path, used: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "state.db.new":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    removed(statedir)
    for __ in range(2):
        with pytest.raises(StoreFailed, match="Input/output error"):
            used.write(put=[Fact("a", "1")])
    monkeypatch.undo()
    used.write(put=[Fact("a", "1")])
    assert used.load() == Journal(("boot", "i-1"), (NIC,), (LEASE,), facts=(Fact("a", "1"),))


def test_another_agent_has_begun_in_the_new_directory(statedir: Path, used: SqliteStore) -> None:
    directory_removed(statedir)
    other = SqliteStore(statedir)
    other.write(put=[Fact("other", "1")])
    with pytest.raises(StoreLocked, match=f"in use by process {os.getpid()}"):
        used.write(put=[Fact("a", "1")])
    used.close()
    other.write(put=[Fact("more", "1")])
    assert [fact.name for fact in other.load().facts] == ["more", "other"]
    other.close()


def test_the_lock_comes_back_with_the_directory(statedir: Path, used: SqliteStore) -> None:
    directory_removed(statedir)
    used.write(put=[Fact("a", "1")])
    with pytest.raises(StoreLocked):
        SqliteStore(statedir)
    assert stat.S_IMODE(statedir.stat().st_mode) == 0o700
    held = [str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
    assert not [one for one in held if one.startswith(f"{statedir}/") and one.endswith("(deleted)")]


def test_lost_file_with_a_row_that_has_gone_bad(statedir: Path, used: SqliteStore) -> None:
    other = sqlite3.connect(statedir / "state.db", isolation_level=None)
    other.execute("UPDATE nic SET since = 'soon'")
    other.close()
    removed(statedir)
    used.write(put=[Fact("a", "1")])
    assert used.load() == Journal(("boot", "i-1"), (), (LEASE,), facts=(Fact("a", "1"),))
