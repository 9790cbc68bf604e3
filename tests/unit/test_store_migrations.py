# SPDX-License-Identifier: GPL-3.0-or-later
"""From schema to schema: up, down, down from what this program does not know, and what a kill in between leaves."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import typing as t
from pathlib import Path

import pytest

from hostnic.model import Fact, Intent, KnownVxnet, Lease, Nic
from hostnic.ports import Journal
from hostnic.states import State
from hostnic.store import codec, files, schema
from hostnic.store.failure import Damaged, StoreFailed, StoreLocked
from hostnic.store.migrations import MIGRATIONS, SCHEMA, Migration
from hostnic.store.schema import migrate
from hostnic.store.sqlite import SqliteStore

# As the program with schema 1 made them.
SCHEMA_1 = (
    (
        "CREATE TABLE nic (nic_id TEXT NOT NULL, vxnet_id TEXT NOT NULL, private_ip TEXT NOT NULL, "
        "state TEXT NOT NULL, since REAL NOT NULL, purpose TEXT NOT NULL, doomed INTEGER NOT NULL, "
        "prewarmed INTEGER NOT NULL, attempts INTEGER NOT NULL, note TEXT NOT NULL, PRIMARY KEY (nic_id))"
    ),
    (
        "CREATE TABLE lease (network TEXT NOT NULL, container_id TEXT NOT NULL, ifname TEXT NOT NULL, "
        "nic_id TEXT NOT NULL, since REAL NOT NULL, netns_inode INTEGER NOT NULL, ifindex INTEGER NOT NULL, "
        "args TEXT NOT NULL, PRIMARY KEY (network, container_id, ifname))"
    ),
    (
        "CREATE TABLE intent (intent_id TEXT NOT NULL, action TEXT NOT NULL, since REAL NOT NULL, "
        "vxnet_id TEXT NOT NULL, count INTEGER NOT NULL, nic_ids TEXT NOT NULL, job_id TEXT NOT NULL, "
        "purpose TEXT NOT NULL, PRIMARY KEY (intent_id))"
    ),
    (
        "CREATE TABLE known_vxnet (vxnet_id TEXT NOT NULL, network TEXT NOT NULL, gateway TEXT NOT NULL, "
        "router_id TEXT NOT NULL, PRIMARY KEY (vxnet_id))"
    ),
    "CREATE TABLE binding (one INTEGER PRIMARY KEY CHECK (one = 1), boot_id TEXT, instance_id TEXT)",
)
ROWS_1 = (
    "INSERT INTO nic VALUES ('52:54:00:00:00:01', 'vxnet-a', '192.168.1.2', 'READY', 12.5, 'pool', 1, 1, 3, 'n''ote')",
    "INSERT INTO nic VALUES ('52:54:00:00:00:02', 'vxnet-b', '', 'IN_USE', 0.0, 'pool', 0, 0, 0, '')",
    "INSERT INTO lease VALUES ('net', 'c1', 'eth0', '52:54:00:00:00:02', 3.25, 4026531992, 7, '{\"A\": \"w\u00e9b\"}')",
    "INSERT INTO intent VALUES ('int-1', 'attach', 1.0, 'vxnet-a', 2, '[\"52:54:00:00:00:01\"]', 'j-1', 'gateway')",
    "INSERT INTO known_vxnet VALUES ('vxnet-a', '192.168.1.0/24', '192.168.1.1', 'rtr-1')",
    "INSERT INTO binding VALUES (1, 'boot', 'i-1')",
)
CONTENT = Journal(
    ("boot", "i-1"),
    (
        Nic("52:54:00:00:00:01", "vxnet-a", "192.168.1.2", State.READY, 12.5, "pool", True, True, 3, "n'ote"),
        Nic("52:54:00:00:00:02", "vxnet-b", "", State.IN_USE, 0.0),
    ),
    (Lease("net", "c1", "eth0", "52:54:00:00:00:02", 3.25, 4026531992, 7, {"A": "w\u00e9b"}),),
    (Intent("int-1", "attach", 1.0, "vxnet-a", 2, ("52:54:00:00:00:01",), "j-1", "gateway"),),
    (KnownVxnet("vxnet-a", "192.168.1.0/24", "192.168.1.1", "rtr-1"),),
)
LEASE_COLUMNS_1 = "network, container_id, ifname, nic_id, since, netns_inode, ifindex, args"
Shape = dict[str, list[tuple[t.Any, ...]]]


@pytest.fixture
def statedir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def path(statedir: Path) -> Path:
    """A file that the program with schema 1 has left."""
    statedir.mkdir(mode=0o700)
    execute(statedir / "state.db", "PRAGMA journal_mode=WAL", *SCHEMA_1, *ROWS_1, "PRAGMA user_version=1")
    return statedir / "state.db"


def execute(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as link:
        for statement in statements:
            link.execute(statement)


def ask(path: Path, query: str) -> list[tuple[t.Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as link:
        return link.execute(query).fetchall()


def version(path: Path) -> int:
    return int(ask(path, "PRAGMA user_version")[0][0])


def shape(path: Path) -> Shape:
    tables = [row[0] for row in ask(path, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    return {table: ask(path, f"PRAGMA table_info({table})") for table in tables}


def rows(path: Path) -> dict[str, list[tuple[t.Any, ...]]]:
    return {table: ask(path, f"SELECT * FROM {table} ORDER BY rowid") for table in shape(path)}


def opened(statedir: Path) -> Journal:
    store = SqliteStore(statedir)
    journal = store.load()
    store.close()
    assert store.kept_as is None
    return journal


# -- up ----------------------------------------------------------------------------------------------------------------


def test_schema_1_gets_everything_and_loses_nothing(
    statedir: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "hostnic.store")
    assert opened(statedir) == CONTENT
    assert version(path) == SCHEMA
    assert [record.getMessage() for record in caplog.records] == [f"the journal {path} had schema 1 and has 2 now"]
    caplog.clear()
    assert opened(statedir) == CONTENT
    assert not caplog.records


def test_a_file_that_was_led_up_is_as_a_fresh_one(statedir: Path, path: Path, tmp_path: Path) -> None:
    opened(statedir)
    opened(tmp_path / "fresh")
    assert shape(path) == shape(tmp_path / "fresh" / "state.db")
    assert rows(path)["way_down"] == rows(tmp_path / "fresh" / "state.db")["way_down"]


def test_the_tables_are_the_records(tmp_path: Path) -> None:
    """A change of a record shows here: it needs a migration."""
    opened(tmp_path)
    found = shape(tmp_path / "state.db")
    for table in codec.TABLES:
        wanted = [
            (column.name, column.sql, int(not column.optional), table.keys.index(column.name) + 1)
            if column.name in table.keys
            else (column.name, column.sql, int(not column.optional), 0)
            for column in table.columns
        ]
        assert [(name, sql, notnull, key) for __, name, sql, notnull, __, key in found.pop(table.name)] == wanted
    assert set(found) == {"binding", "way_down"}


def test_the_first_schema_is_the_released_one(tmp_path: Path) -> None:
    execute(tmp_path / "ours", *MIGRATIONS[0].up)
    execute(tmp_path / "released", *SCHEMA_1)
    assert shape(tmp_path / "ours") == shape(tmp_path / "released")


def test_migrations_are_in_order() -> None:
    assert [migration.version for migration in MIGRATIONS] == list(range(1, SCHEMA + 1))
    assert all(migration.down for migration in MIGRATIONS[1:])


def test_nothing_newer_than_sqlite_3_34() -> None:
    newer = re.compile(r"DROP COLUMN|RETURNING|STRICT|MATERIALIZED|->|IIF|CONCAT|UNIXEPOCH", re.IGNORECASE)
    assert not [one for migration in MIGRATIONS for one in (*migration.up, *migration.down) if newer.search(one)]


def test_a_file_that_is_in_use_stays_as_it_is(statedir: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    before = rows(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreFailed, match="database is locked"):
            SqliteStore(statedir)
    assert (version(path), rows(path)) == (1, before)
    assert opened(statedir) == CONTENT


def test_damaged_file_of_schema_1_is_salvaged(statedir: Path, path: Path) -> None:
    execute(path, "DROP TABLE intent", "UPDATE nic SET since = 'x' WHERE state = 'READY'")
    store = SqliteStore(statedir)
    assert store.kept_as == statedir / "state.db.damaged-1"
    assert version(store.kept_as) == 1
    assert store.load() == Journal(CONTENT.binding, CONTENT.nics[1:], CONTENT.leases, (), CONTENT.vxnets)
    store.close()


def test_bad_row_of_schema_1_is_seen_after_it_was_led_up(statedir: Path, path: Path) -> None:
    execute(path, "UPDATE nic SET since = 'x' WHERE state = 'READY'")
    store = SqliteStore(statedir)
    assert store.load().nics == CONTENT.nics[1:]
    assert store.kept_as
    store.close()


# -- down --------------------------------------------------------------------------------------------------------------


def test_down_to_schema_1_is_exactly_that(statedir: Path, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before, made = shape(path), rows(path)
    opened(statedir)
    assert migrate(path, 1) == 2
    assert (version(path), shape(path), rows(path)) == (1, before, made)
    assert f"the journal {path} had schema 2 and has 1 now" in caplog.text
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    assert opened(statedir) == CONTENT


def test_what_schema_1_does_not_know_is_gone_and_the_rest_stays(statedir: Path) -> None:
    store = SqliteStore(statedir)
    fixed = Nic(
        "52:54:00:00:00:03", "v", "192.168.1.7", State.QUARANTINE, 1.5, workload="ns/web-0", keep=60.0, marked=2.0
    )
    store.write(
        put=[
            fixed,
            Intent("i", "create", 1.0, private_ips=("192.168.1.7",)),
            KnownVxnet("v", "n", "g", "r", "192.168.1.2"),
            Fact("a", "b"),
        ]
    )
    store.close()
    migrate(statedir / "state.db", 1)
    assert opened(statedir) == Journal(
        ("", ""),
        (Nic("52:54:00:00:00:03", "v", "192.168.1.7", State.QUARANTINE, 1.5),),
        (),
        (Intent("i", "create", 1.0),),
        (KnownVxnet("v", "n", "g", "r"),),
    )


def test_states_that_schema_1_does_not_know(statedir: Path) -> None:
    store = SqliteStore(statedir)
    store.write(put=[Nic(state.value, "v", "", state, 1.0, note="note") for state in State if state is not State.GONE])
    store.close()
    execute(
        statedir / "state.db",
        "DELETE FROM nic WHERE nic_id = 'HELD'",
        "UPDATE nic SET nic_id = 'HELD', state = 'HELD' WHERE nic_id = 'READY'",
        "UPDATE nic SET nic_id = 'MOLTEN', state = 'MOLTEN' WHERE nic_id = 'DETACHED'",
    )
    migrate(statedir / "state.db", 1)
    changed = {row[0]: row[1:] for row in ask(statedir / "state.db", "SELECT nic_id, state, note FROM nic")}
    assert changed.pop("HELD") == ("QUARANTINE", "note")
    assert changed.pop("MOLTEN") == ("BROKEN", "was MOLTEN")
    assert changed == {name: (name, "note") for name in changed}
    assert len(changed) == 9


def test_there_and_back_many_times(statedir: Path, path: Path) -> None:
    for __ in range(3):
        assert migrate(path, 2) == 1
        assert migrate(path, 2) == 2
        assert migrate(path, 1) == 2
        assert migrate(path, 1) == 1
    assert opened(statedir) == CONTENT


def test_down_from_what_it_knows_it_needs_nobodys_word(statedir: Path, path: Path) -> None:
    opened(statedir)
    execute(path, "DELETE FROM way_down")
    assert migrate(path, 1) == 2
    assert opened(statedir) == CONTENT


def test_migrate_refuses_what_it_does_not_know(path: Path) -> None:
    before = path.read_bytes()
    for target in (-1, 0, SCHEMA + 1):
        with pytest.raises(StoreFailed, match="no schema"):
            migrate(path, target)
    assert path.read_bytes() == before


def test_migrate_without_a_journal(tmp_path: Path) -> None:
    assert migrate(tmp_path / "state.db", 1) == 0
    assert migrate(str(tmp_path / "none" / "state.db"), 1) == 0
    assert not list(tmp_path.iterdir())


def test_migrate_takes_the_new_file_of_an_exchange_that_was_killed(statedir: Path, path: Path) -> None:
    path.rename(statedir / "state.db.new")
    assert migrate(path, 2) == 1
    assert opened(statedir) == CONTENT


def test_migrate_waits_for_nobody(statedir: Path) -> None:
    store = SqliteStore(statedir)
    with pytest.raises(StoreLocked):
        migrate(statedir / "state.db", 1)
    store.close()
    assert migrate(statedir / "state.db", 1) == 2
    SqliteStore(statedir).close()


def test_migrate_leaves_a_damaged_file_alone(statedir: Path, path: Path) -> None:
    path.write_bytes(b"this was a database once" * 500)
    before = path.read_bytes()
    with pytest.raises(StoreFailed, match="cannot be led to schema 2: file is not a database"):
        migrate(path, 2)
    assert path.read_bytes() == before
    execute(path.with_name("other"), *SCHEMA_1[:-1], "PRAGMA user_version=1")
    with pytest.raises(StoreFailed, match="no table binding"):
        migrate(path.with_name("other"), 2)
    assert version(path.with_name("other")) == 1


# -- from the future ---------------------------------------------------------------------------------------------------


FUTURE = (
    *MIGRATIONS,
    Migration(
        3,
        up=(
            "CREATE TABLE colour (nic_id TEXT PRIMARY KEY, name TEXT)",
            "INSERT INTO colour SELECT nic_id, 'red' FROM nic",
            "ALTER TABLE nic RENAME TO card",
            "ALTER TABLE lease ADD COLUMN weight REAL NOT NULL DEFAULT 1.0",
        ),
        down=(
            "ALTER TABLE card RENAME TO nic",
            (
                "UPDATE nic SET note = (SELECT name FROM colour WHERE colour.nic_id = nic.nic_id), "
                "state = 'QUARANTINE' WHERE state = 'RED'"
            ),
            "DROP TABLE colour",
            "CREATE TABLE old AS SELECT * FROM lease",
            "DROP TABLE lease",
            SCHEMA_1[1],
            f"INSERT INTO lease SELECT {LEASE_COLUMNS_1} FROM old",
            "DROP TABLE old",
        ),
    ),
    Migration(4, up=("DROP TABLE fact",), down=(MIGRATIONS[1].up[5],)),
)


def led(path: Path, target: int) -> None:
    with contextlib.closing(files.connect(path)) as link:
        schema.lead(link, target, FUTURE)


@pytest.mark.parametrize("target", [3, 4])
def test_a_future_schema_is_led_back(
    statedir: Path, path: Path, tmp_path: Path, target: int, caplog: pytest.LogCaptureFixture
) -> None:
    led(path, target)
    execute(path, "UPDATE card SET state = 'RED' WHERE nic_id = '52:54:00:00:00:01'")
    assert version(path) == target
    journal = opened(statedir)
    assert journal.nics[0].state is State.QUARANTINE
    assert journal.nics[0].note == "red"
    assert (journal.nics[1:], journal.leases, journal.intents) == (CONTENT.nics[1:], CONTENT.leases, CONTENT.intents)
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"from schema {target} back to 2" in line
    opened(tmp_path / "fresh")
    fresh = tmp_path / "fresh" / "state.db"
    assert (version(path), shape(path), rows(path)["way_down"]) == (2, shape(fresh), rows(fresh)["way_down"])
    led(path, target)
    assert migrate(path, 1) == target
    assert opened(statedir).leases == CONTENT.leases


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        ("DROP TABLE way_down", "no such table: way_down"),
        ("DELETE FROM way_down", "how to leave schema 4"),
        ("DELETE FROM way_down WHERE version = 3", "how to leave schema 3"),
        ("DELETE FROM way_down WHERE version = 3 AND step = 4", "how to leave schema 3"),
        ("DELETE FROM way_down WHERE version = 3 AND step = 0", "how to leave schema 3"),
        ("DELETE FROM way_down WHERE version = 3 AND step > 2", "columns of table lease are not schema 2's: weight"),
        ("UPDATE way_down SET statement = 'SELECT 1' WHERE version = 4", "it has no table fact"),
        ("UPDATE way_down SET statement = 'nonsense' WHERE version = 3 AND step = 4", "syntax error"),
        ("UPDATE way_down SET statement = x'ff' WHERE version = 3 AND step = 4", "is no statement"),
        ("UPDATE way_down SET statement = 'a' || char(0) WHERE version = 3 AND step = 4", ""),
        ("UPDATE way_down SET statement = 'SELECT 1; SELECT 2' WHERE version = 3 AND step = 4", "one statement"),
        ("UPDATE way_down SET statement = 'COMMIT' WHERE version = 3 AND step = 4", "not authorized"),
        ("UPDATE way_down SET statement = '' WHERE version = 3 AND step = 4", "already exists"),
        ("DROP TABLE colour", "no such table: colour"),
    ],
)
def test_without_a_way_the_file_is_refused_and_left_alone(statedir: Path, path: Path, harm: str, why: str) -> None:
    led(path, 4)
    execute(path, harm)
    before = path.read_bytes()
    for __ in range(2):
        with pytest.raises(
            StoreFailed,
            match=r"state.db was written by a newer qingagent \(schema 4, this one knows 2\): install that version "
            "again, or drain the node and remove the file",
        ) as caught:
            SqliteStore(statedir)
        assert caught.value.details["schema"] == 4
        assert why in caught.value.details["why"]
    with pytest.raises(StoreFailed, match="cannot be led to schema 1"):
        migrate(path, 1)
    assert path.read_bytes() == before
    assert {other.name for other in statedir.iterdir()} == {"state.db", "state.lock"}


def test_a_newer_file_with_damaged_pages_is_salvaged(statedir: Path, path: Path) -> None:
    led(path, 4)
    (root,) = ask(path, "SELECT rootpage FROM sqlite_master WHERE name = 'known_vxnet'")[0]
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 : root * 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    store = SqliteStore(statedir)
    assert store.load() == Journal(CONTENT.binding, (), CONTENT.leases, CONTENT.intents)
    assert store.kept_as
    store.close()


def test_a_number_that_no_schema_has_is_damage() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as link:
        assert schema.version(link) == 0
        link.execute("CREATE TABLE x (y)")
        with pytest.raises(Damaged, match="tables, but 0"):
            schema.version(link)


# -- killed in between -------------------------------------------------------------------------------------------------


class Snapshots:
    """Copies of a directory as a kill at each moment would leave it."""

    def __init__(self, directory: Path, place: Path) -> None:
        self._directory = directory
        self._place = place
        self._active = False
        self.taken: list[Path] = []

    def take(self) -> None:
        if self._active:
            self.taken.append(self._place / str(len(self.taken)))
            shutil.copytree(self._directory, self.taken[-1])

    @contextlib.contextmanager
    def during(self, patch: pytest.MonkeyPatch) -> t.Iterator[None]:
        """One before each statement, one before and after each renaming."""
        snapshots = self

        class Link(sqlite3.Connection):
            def execute(self, *args: t.Any) -> sqlite3.Cursor:
                snapshots.take()
                return super().execute(*args)

            def close(self) -> None:
                snapshots.take()
                super().close()

        connect, rename = sqlite3.connect, Path.rename

        def renaming(one: Path, other: Path) -> Path:
            snapshots.take()
            done = rename(one, other)
            snapshots.take()
            return done

        with patch.context() as patched:
            patched.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, **kwargs, factory=Link))
            patched.setattr(Path, "rename", renaming)
            self._active = True
            yield
            self._active = False


@pytest.fixture
def snapshots(statedir: Path, tmp_path: Path) -> Snapshots:
    return Snapshots(statedir, tmp_path / "snapshots")


def test_killed_on_the_way_up(
    statedir: Path, path: Path, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    with snapshots.during(monkeypatch):
        SqliteStore(statedir).close()
    versions = []
    for copy in snapshots.taken:
        versions.append(version(copy / "state.db"))
        assert ask(copy / "state.db", "PRAGMA integrity_check") == [("ok",)]
        assert opened(copy) == CONTENT
    assert sorted(set(versions)) == [1, 2] == sorted(set(versions), key=versions.index)
    assert len(versions) > 20


def test_killed_on_the_way_down(
    statedir: Path, path: Path, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    led(path, 4)
    with snapshots.during(monkeypatch):
        migrate(path, 1)
    versions = []
    for copy in snapshots.taken:
        versions.append(version(copy / "state.db"))
        assert opened(copy) == CONTENT
    assert sorted(set(versions)) == [1, 4]
    assert len(versions) > 20


def test_killed_while_a_new_file_is_begun(
    statedir: Path, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    statedir.mkdir()
    with snapshots.during(monkeypatch):
        SqliteStore(statedir).close()
    for copy in snapshots.taken:
        assert opened(copy) == Journal(("", ""))
    assert len(snapshots.taken) > 10


def test_killed_while_a_damaged_file_is_exchanged(
    statedir: Path, path: Path, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(path, "UPDATE known_vxnet SET network = x'ff'")
    left = Journal(CONTENT.binding, CONTENT.nics, CONTENT.leases, CONTENT.intents)
    with snapshots.during(monkeypatch):
        store = SqliteStore(statedir)
        assert store.load() == left
        store.close()
    for copy in snapshots.taken:
        store = SqliteStore(copy)
        assert store.load() == left
        store.close()
        kept = [one for one in copy.iterdir() if re.fullmatch(r"state\.db\.(damaged|replaced)-\d+", one.name)]
        assert len(kept) == 1
    assert len(snapshots.taken) > 40


def test_killed_while_it_is_set_aside(
    statedir: Path, path: Path, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(statedir)
    with snapshots.during(monkeypatch):
        store.set_aside("test")
    store.close()
    seen = []
    for copy in snapshots.taken:
        seen.append(opened(copy))
        assert seen[-1] in (CONTENT, Journal(("", "")))
    assert seen[0] == CONTENT
    assert seen[-1] == Journal(("", ""))


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_names_every_column(tmp_path: Path) -> None:
    opened(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "journal.md").read_text(encoding="utf-8")
    told: dict[str, set[str]] = {}
    table = ""
    for line in page.partition("## Tables")[2].partition("\n## ")[0].splitlines():
        heading = re.match(r"`(\w+)`:", line)
        table = heading[1] if heading else table
        if line.startswith("| `"):
            told.setdefault(table, set()).update(re.findall(r"`(\w+)`", line.split("|")[1]))
    assert told == {name: {row[1] for row in columns} for name, columns in shape(tmp_path / "state.db").items()}
