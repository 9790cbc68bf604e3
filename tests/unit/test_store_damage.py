# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are damaged, and disks that only refuse."""

from __future__ import annotations

import shutil
import sqlite3
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from hostnic.model import Lease, Nic
from hostnic.ports import Journal
from hostnic.states import State
from hostnic.store import sqlite
from hostnic.store.failure import StoreFailed
from hostnic.store.sqlite import SqliteStore

NIC = Nic("52:54:00:00:00:01", "vxnet-a", "192.168.1.2", State.READY, 12.5)
LEASE = Lease("net", "c1", "eth0", NIC.nic_id, 3.25, args={"A": "1"})


@pytest.fixture
def statedir(tmp_path: Path) -> Path:
    return tmp_path / "var" / "state"


def filled(statedir: Path) -> Path:
    store = SqliteStore(statedir)
    store.bind("boot", "i-1")
    store.write(put=[Nic(f"52:54:00:00:{n:02x}:00", "vxnet-a" * 20, "", State.READY, 0.0) for n in range(200)])
    store.close()
    return statedir / "state.db"


def junk(path: Path) -> None:
    path.write_bytes(b"this was a database once" * 500)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192:12288] = b"\xa5" * 4096
    path.write_bytes(content)


def execute(path: Path, statement: str) -> None:
    link = sqlite3.connect(path)
    link.execute(statement)
    link.commit()
    link.close()


def unknown_state(path: Path) -> None:
    execute(path, "UPDATE nic SET state = 'MELTED' WHERE rowid = 3")


def wrong_type(path: Path) -> None:
    execute(path, "UPDATE nic SET since = 'soon' WHERE rowid = 3")


def no_text(path: Path) -> None:
    execute(path, "UPDATE nic SET note = CAST(x'ff' AS TEXT) WHERE rowid = 3")


def no_json(path: Path) -> None:
    execute(path, "INSERT INTO lease VALUES ('n', 'c', 'e', 'm', 0, 0, 0, '{')")


def lost_column(path: Path) -> None:
    execute(path, "DROP TABLE nic")
    execute(path, "CREATE TABLE nic (nic_id TEXT PRIMARY KEY)")


@pytest.mark.parametrize(
    "harm",
    [junk, truncated, flipped, unknown_state, wrong_type, no_text, no_json, lost_column],
    ids=lambda f: f.__name__,
)
def test_damaged_file_is_set_aside(
    statedir: Path, harm: t.Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    path = filled(statedir)
    harm(path)
    store = SqliteStore(statedir)
    assert store.load() == Journal(("", ""))
    assert store.set_aside == statedir / "state.db.damaged-1"
    assert store.set_aside.exists()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "hostnic.store"]
    assert "state.db.damaged-1" in line
    store.write(put=[NIC])
    assert store.load().nics == (NIC,)
    store.close()
    again = SqliteStore(statedir)
    assert again.load().nics == (NIC,)
    again.close()


def test_each_damaged_file_is_kept(statedir: Path) -> None:
    for number in (1, 2, 3):
        junk(filled(statedir))
        store = SqliteStore(statedir)
        store.load()
        store.close()
        assert (statedir / f"state.db.damaged-{number}").exists()


def test_log_of_a_damaged_file_is_not_played_into_the_new_one(statedir: Path, tmp_path: Path) -> None:
    store = SqliteStore(statedir)
    execute(statedir / "state.db", "PRAGMA wal_checkpoint(TRUNCATE)")
    store.write(put=[NIC])
    copy = tmp_path / "copy"
    shutil.copytree(statedir, copy)
    store.close()
    assert (copy / "state.db-wal").stat().st_size > 0
    junk(copy / "state.db")
    again = SqliteStore(copy)
    assert again.load().nics == ()
    again.close()


def test_empty_file_is_a_new_one(statedir: Path) -> None:
    statedir.mkdir(parents=True)
    (statedir / "state.db").touch()
    store = SqliteStore(statedir)
    assert store.load() == Journal(("", ""))
    assert store.set_aside is None
    store.close()


def test_refusing_disk_is_no_damage(statedir: Path) -> None:
    path = filled(statedir)
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreFailed, match="cannot open the journal"):
        SqliteStore(statedir)
    assert not list(statedir.glob("*damaged*"))


def test_failed_write_changes_nothing_and_can_be_repeated(statedir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.05)
    store = SqliteStore(statedir)
    other = sqlite3.connect(statedir / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreFailed, match="the journal .*state.db failed: database is locked"):
        store.write(put=[NIC])
    other.execute("ROLLBACK")
    other.close()
    assert store.load().nics == ()
    store.write(put=[NIC])
    assert store.load().nics == (NIC,)
    store.close()


def test_half_a_write_is_taken_back(statedir: Path) -> None:
    store = SqliteStore(statedir)
    with pytest.raises(StoreFailed):
        store.write(put=[NIC, replace(NIC, nic_id="other", note=t.cast(t.Any, object()))])
    assert store.load().nics == ()
    store.write(put=[NIC])
    assert store.load().nics == (NIC,)
    store.close()


def test_statedir_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreFailed, match="cannot use"):
        SqliteStore(tmp_path / "file" / "state")
