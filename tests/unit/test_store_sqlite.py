# SPDX-License-Identifier: GPL-3.0-or-later
"""What is the file's own: what survives, damage, one writer, other versions, who may read."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from hostnic.model import Lease, Nic
from hostnic.ports import Journal
from hostnic.states import State
from hostnic.store import codec, sqlite
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
    assert again.set_aside is None
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
    seen.clear()
    store.write(put=[NIC])
    store.write(put=[NIC], durable=True)
    store.bind("b", "i")
    store.close()
    order = [line for line in seen if line.startswith(("PRAGMA", "BEGIN", "COMMIT"))]
    once = ["BEGIN IMMEDIATE", "COMMIT"]
    assert order == [
        "PRAGMA synchronous=NORMAL", *once, "PRAGMA synchronous=FULL", *once, "PRAGMA synchronous=FULL", *once,
    ]  # fmt: skip


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


# -- other versions ----------------------------------------------------------------------------------------------------


def filled(statedir: Path) -> Path:
    store = SqliteStore(statedir)
    store.bind("boot", "i-1")
    store.write(put=[Nic(f"52:54:00:00:{n:02x}:00", "vxnet-a" * 20, "", State.READY, 0.0) for n in range(200)])
    store.close()
    return statedir / "state.db"


def execute(path: Path, statement: str) -> None:
    link = sqlite3.connect(path)
    link.execute(statement)
    link.commit()
    link.close()


def test_newer_schema_is_refused_and_left_alone(statedir: Path) -> None:
    path = filled(statedir)
    execute(path, f"PRAGMA user_version = {sqlite.SCHEMA + 1}")
    with pytest.raises(StoreFailed, match=f"newer qingagent .schema {sqlite.SCHEMA + 1}"):
        SqliteStore(statedir)
    assert not list(statedir.glob("*damaged*"))
    execute(path, f"PRAGMA user_version = {sqlite.SCHEMA}")
    store = SqliteStore(statedir)
    assert len(store.load().nics) == 200
    store.close()


def test_older_file_gets_the_columns_it_lacks(statedir: Path) -> None:
    store = SqliteStore(statedir)
    store.write(put=[NIC, LEASE])
    store.close()
    for column in ("note", "attempts", "prewarmed"):
        execute(statedir / "state.db", f"ALTER TABLE nic DROP COLUMN {column}")
    execute(statedir / "state.db", "ALTER TABLE lease DROP COLUMN args")
    store = SqliteStore(statedir)
    journal = store.load()
    assert journal.nics == (NIC,)
    assert journal.leases[0].args == {}
    assert store.set_aside is None
    store.write(put=[NIC, LEASE])
    assert store.load().leases == (LEASE,)
    store.close()


def test_columns_are_real() -> None:
    """A change of a record shows here: raise SCHEMA, and see that `_grow` copes with files of the schema before."""
    nic = next(table for table in codec.TABLES if table.name == "nic")
    assert sqlite.SCHEMA == 1
    assert nic.ddl == (
        "CREATE TABLE IF NOT EXISTS nic (nic_id TEXT NOT NULL, vxnet_id TEXT NOT NULL, private_ip TEXT NOT NULL, "
        "state TEXT NOT NULL, since REAL NOT NULL, purpose TEXT NOT NULL, doomed INTEGER NOT NULL, "
        "prewarmed INTEGER NOT NULL, attempts INTEGER NOT NULL, note TEXT NOT NULL, PRIMARY KEY (nic_id))"
    )
