# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are damaged: kept aside, and what can be read of them carried over."""

from __future__ import annotations

import shutil
import sqlite3
import struct
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from hostnic.model import Fact, Intent, KnownVxnet, Lease, Nic
from hostnic.ports import Journal
from hostnic.states import State
from hostnic.store import files
from hostnic.store.failure import StoreFailed
from hostnic.store.schema import migrate
from hostnic.store.sqlite import SqliteStore

NIC = Nic("52:54:00:00:00:01", "vxnet-a", "192.168.1.2", State.READY, 12.5)
POOL = tuple(Nic(f"52:54:00:00:{n:02x}:00", "vxnet-a" * 20, "", State.READY, 0.0) for n in range(200))
BUSY = tuple(Nic(f"52:54:00:00:{n:02x}:11", "vxnet-a", "", State.IN_USE, 0.0) for n in range(3))
LEASES = tuple(Lease("net", f"c{n}", "eth0", nic.nic_id, float(n), args={"A": "1"}) for n, nic in enumerate(BUSY))
INTENT = Intent("int-1", "attach", 1.0, "vxnet-a", 2, ("52:54:00:00:00:01",), "j-1", private_ips=("192.168.1.9",))
VXNET = KnownVxnet("vxnet-a", "192.168.1.0/24", "192.168.1.1", "rtr-1", "192.168.1.3")
FACT = Fact("attach", "serial")
NICS = tuple(sorted((*POOL, *BUSY), key=lambda nic: nic.nic_id))
WHOLE = Journal(("boot", "i-1"), NICS, LEASES, (INTENT,), (VXNET,), (FACT,))
NOTHING = Journal(("", ""))


@pytest.fixture
def statedir(tmp_path: Path) -> Path:
    return tmp_path / "var" / "state"


def filled(statedir: Path) -> Path:
    store = SqliteStore(statedir)
    store.bind("boot", "i-1")
    for nic in POOL:
        store.write(put=[nic])
    store.write(put=[*BUSY, *LEASES, INTENT, VXNET, FACT])
    store.close()
    return statedir / "state.db"


def execute(path: Path, *statements: str) -> None:
    link = sqlite3.connect(path)
    for statement in statements:
        link.execute(statement)
    link.commit()
    link.close()


def opened(statedir: Path) -> tuple[Journal, t.Optional[Path]]:
    store = SqliteStore(statedir)
    journal = store.load()
    store.close()
    return journal, store.kept_as


def without(*nic_ids: str) -> Journal:
    return replace(WHOLE, nics=tuple(nic for nic in WHOLE.nics if nic.nic_id not in nic_ids))


# -- damage of the whole file ------------------------------------------------------------------------------------------


def junk(path: Path) -> None:
    path.write_bytes(b"this was a database once" * 500)


def garbage_header(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[:100] = b"\xa5" * 100
    path.write_bytes(content)


def garbage_schema_number(path: Path) -> None:
    execute(path, "PRAGMA user_version = -7")


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").touch()


def other_database(path: Path) -> None:
    path.unlink()
    execute(path, "CREATE TABLE nic (nick TEXT)", "INSERT INTO nic VALUES ('name')")


# -- damage that leaves the most ---------------------------------------------------------------------------------------


def no_schema_number(path: Path) -> None:
    """As a dump that was played in again."""
    execute(path, "PRAGMA user_version = 0")


def unknown_state(path: Path) -> None:
    execute(path, f"UPDATE nic SET state = 'MELTED' WHERE nic_id = '{POOL[3].nic_id}'")


def wrong_type(path: Path) -> None:
    execute(path, f"UPDATE nic SET since = 'soon' WHERE nic_id = '{POOL[3].nic_id}'")


def boundless(path: Path) -> None:
    execute(path, f"UPDATE nic SET attempts = 9e999 WHERE nic_id = '{POOL[3].nic_id}'")


def no_text(path: Path) -> None:
    execute(path, f"UPDATE nic SET note = CAST(x'ff' AS TEXT) WHERE nic_id = '{POOL[3].nic_id}'")


def no_json(path: Path) -> None:
    execute(path, "INSERT INTO lease VALUES ('n', 'c', 'e', 'm', 0, 0, 0, '{')")


def deep_json(path: Path) -> None:
    execute(path, f"INSERT INTO lease VALUES ('n', 'c', 'e', 'm', 0, 0, 0, '{'[' * 100000}')")


def other_json(path: Path) -> None:
    execute(path, "INSERT INTO lease VALUES ('n', 'c', 'e', 'm', 0, 0, 0, '[]')")


def json_of_numbers(path: Path) -> None:
    execute(path, "UPDATE intent SET private_ips = '[1]'")


def lost_column(path: Path) -> None:
    execute(path, "ALTER TABLE nic RENAME COLUMN attempts TO tries")


def lost_key(path: Path) -> None:
    execute(path, "DROP TABLE nic", "CREATE TABLE nic (vxnet_id TEXT)", "INSERT INTO nic VALUES ('v')")


def one_column_too_many(path: Path) -> None:
    execute(path, "ALTER TABLE lease ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'")


def lost_table(path: Path) -> None:
    execute(path, "DROP TABLE intent")


BEYOND_DOUBT = [
    (junk, NOTHING),
    (garbage_header, NOTHING),
    (garbage_schema_number, WHOLE),
    (directory, NOTHING),
    (other_database, Journal(("", ""))),
    (no_schema_number, WHOLE),
    (
        unknown_state,
        replace(WHOLE, nics=tuple(replace(nic, state=State.BROKEN) if nic == POOL[3] else nic for nic in WHOLE.nics)),
    ),
    (wrong_type, without(POOL[3].nic_id)),
    (boundless, without(POOL[3].nic_id)),
    (no_text, without(POOL[3].nic_id)),
    (no_json, WHOLE),
    (deep_json, WHOLE),
    (other_json, WHOLE),
    (json_of_numbers, replace(WHOLE, intents=())),
    (lost_column, WHOLE),
    (lost_key, replace(WHOLE, nics=())),
    (one_column_too_many, WHOLE),
    (lost_table, replace(WHOLE, intents=())),
]


@pytest.mark.parametrize(("harm", "left"), BEYOND_DOUBT, ids=[harm.__name__ for harm, __ in BEYOND_DOUBT])
def test_damaged_file_is_kept_and_what_can_be_read_carried_over(
    statedir: Path, harm: t.Callable[[Path], None], left: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    harm(filled(statedir))
    store = SqliteStore(statedir)
    assert store.load() == left
    assert store.kept_as == statedir / "state.db.damaged-1"
    assert store.kept_as.exists()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "hostnic.store"]
    assert "state.db.damaged-1" in line
    count = sum(map(len, (left.nics, left.leases, left.intents, left.vxnets, left.facts)))
    assert line.endswith(f"with {count} of its records")
    store.write(put=[NIC])
    assert NIC in store.load().nics
    store.close()
    again, kept = opened(statedir)
    assert NIC in again.nics
    assert again.binding == left.binding
    assert kept is None


# -- damaged pages -----------------------------------------------------------------------------------------------------


def pages(path: Path, name: str) -> list[int]:
    """The pages that only hold rows, or keys, of this table or index."""
    link = sqlite3.connect(path)
    (root,) = link.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    link.close()
    content = path.read_bytes()

    def leaves(number: int) -> list[int]:
        start = (number - 1) * 4096
        if content[start] in (10, 13):
            return [number]
        count = int.from_bytes(content[start + 3 : start + 5], "big")
        cells = [int.from_bytes(content[start + 12 + 2 * n : start + 14 + 2 * n], "big") for n in range(count)]
        children = [int.from_bytes(content[start + cell : start + cell + 4], "big") for cell in cells]
        last = int.from_bytes(content[start + 8 : start + 12], "big")
        return [leaf for child in (*children, last) for leaf in leaves(child)]

    return leaves(root)


def overwritten(path: Path, *numbers: int) -> None:
    content = bytearray(path.read_bytes())
    for number in numbers:
        content[(number - 1) * 4096 : number * 4096] = b"\xa5" * 4096
    path.write_bytes(content)


def test_one_page_of_nics_costs_its_nics_only(statedir: Path) -> None:
    path = filled(statedir)
    leaves = pages(path, "nic")
    assert len(leaves) > 8
    overwritten(path, leaves[4])
    journal, kept = opened(statedir)
    assert kept
    lost = [nic for nic in NICS if nic not in journal.nics]
    assert 10 < len(lost) < 30
    assert replace(journal, nics=NICS) == WHOLE


def test_what_lies_between_damaged_pages_is_found_by_the_index(statedir: Path) -> None:
    path = filled(statedir)
    leaves = pages(path, "nic")
    overwritten(path, leaves[0], leaves[-1])
    journal, __ = opened(statedir)
    assert len([nic for nic in journal.nics if nic in POOL]) > 150


def test_a_lost_index_costs_nothing(statedir: Path) -> None:
    path = filled(statedir)
    overwritten(path, *pages(path, "sqlite_autoindex_nic_1"))
    journal, kept = opened(statedir)
    assert journal == WHOLE
    assert kept


def test_a_lost_index_and_one_page_cost_that_pages_nics(statedir: Path) -> None:
    path = filled(statedir)
    overwritten(path, pages(path, "nic")[4], *pages(path, "sqlite_autoindex_nic_1"))
    journal, __ = opened(statedir)
    assert len(journal.nics) > 170


def test_one_flipped_byte_in_a_page_of_nics(statedir: Path) -> None:
    """Every hundredth byte in turn: the other tables are never lost, and nothing but the journal's own is raised."""
    path = filled(statedir)
    content = path.read_bytes()
    leaf = pages(path, "nic")[4]
    damaged = 0
    for offset in range((leaf - 1) * 4096, leaf * 4096, 101):
        flipped = bytearray(content)
        flipped[offset] ^= 0xFF
        path.write_bytes(flipped)
        journal, kept = opened(statedir)
        damaged += kept is not None
        assert len(journal.nics) > 170
        assert replace(journal, nics=()) == replace(WHOLE, nics=())
    assert damaged > 3


@pytest.mark.parametrize("length", [2, 99, 100, 511, 4095, 4096, 9000, 40000])
def test_truncated_anywhere(statedir: Path, length: int) -> None:
    path = filled(statedir)
    path.write_bytes(path.read_bytes()[:length])
    journal, kept = opened(statedir)
    assert kept
    assert set(journal.nics) <= set(NICS) | {replace(nic, state=State.BROKEN) for nic in NICS}


# -- rows that lost their counterpart, or their owner ------------------------------------------------------------------


def bad_row(path: Path) -> None:
    execute(path, "INSERT INTO lease VALUES ('n', 'c', 'e', 'm', 0, 0, 0, '{')")


def test_a_nic_whose_lease_was_lost_is_nobodys_before_its_link_is_back(statedir: Path) -> None:
    execute(filled(statedir), "UPDATE lease SET args = '{' WHERE container_id = 'c1'")
    journal, __ = opened(statedir)
    states = {nic.nic_id: (nic.state, nic.note) for nic in journal.nics}
    assert states[BUSY[1].nic_id] == (State.BROKEN, "salvaged: its lease was lost")
    assert states[BUSY[0].nic_id] == (State.IN_USE, "")
    assert states[POOL[0].nic_id] == (State.READY, "")


def test_a_lease_keeps_its_nic_whatever_is_said_of_that(statedir: Path) -> None:
    path = filled(statedir)
    bad_row(path)
    execute(path, f"UPDATE nic SET state = 'READY' WHERE nic_id = '{BUSY[1].nic_id}'")
    execute(path, f"UPDATE nic SET state = 'RESERVED' WHERE nic_id = '{BUSY[2].nic_id}'")
    execute(path, f"DELETE FROM nic WHERE nic_id = '{BUSY[0].nic_id}'")
    journal, __ = opened(statedir)
    states = {nic.nic_id: nic.state for nic in journal.nics}
    assert states[BUSY[1].nic_id] is State.IN_USE
    assert states[BUSY[2].nic_id] is State.RESERVED
    assert journal.leases == LEASES


def test_of_two_leases_for_one_nic_the_younger_stays(statedir: Path) -> None:
    path = filled(statedir)
    bad_row(path)
    execute(path, f"UPDATE lease SET nic_id = '{BUSY[0].nic_id}' WHERE container_id = 'c1'")
    journal, __ = opened(statedir)
    assert [lease.container_id for lease in journal.leases] == ["c1", "c2"]
    assert {nic.nic_id: nic.state for nic in journal.nics}[BUSY[1].nic_id] is State.BROKEN


@pytest.mark.parametrize(
    "harm", ["DROP TABLE binding", "UPDATE binding SET boot_id = NULL", "UPDATE binding SET instance_id = x'ff'"]
)
def test_without_the_binding_nothing_of_an_instance_is_carried_over(statedir: Path, harm: str) -> None:
    execute(filled(statedir), harm)
    journal, kept = opened(statedir)
    assert journal == Journal(("", ""), vxnets=(VXNET,), facts=(FACT,))
    assert kept


def test_a_file_that_was_never_bound_stays_so(statedir: Path) -> None:
    path = filled(statedir)
    execute(path, "DELETE FROM binding")
    bad_row(path)
    assert opened(statedir)[0] == replace(WHOLE, binding=("", ""))


def test_of_two_rows_with_one_key_the_later_one_stays(statedir: Path) -> None:
    path = filled(statedir)
    columns = "nic_id, vxnet_id, private_ip, state, since, purpose, doomed, prewarmed, attempts, note, workload, keep"
    execute(
        path,
        "CREATE TABLE twice AS SELECT * FROM nic",
        "DROP TABLE nic",
        "CREATE TABLE nic AS SELECT * FROM twice",
        f"INSERT INTO nic ({columns}, marked) SELECT {columns}, 7.0 FROM nic WHERE nic_id = '{POOL[9].nic_id}'",
        "DROP TABLE twice",
    )
    bad_row(path)
    journal, __ = opened(statedir)
    assert len(journal.nics) == len(NICS)
    assert {nic.nic_id: nic.marked for nic in journal.nics}[POOL[9].nic_id] == 7.0


# -- the write-ahead log -----------------------------------------------------------------------------------------------


FRAME = 24 + 4096
PER_COMMIT = 2 * FRAME  # a page of the table, one of its index


@pytest.fixture
def killed(statedir: Path, tmp_path: Path) -> t.Iterator[Path]:
    """What a killed process left: all but the binding is in the log alone."""
    store = SqliteStore(statedir)
    store.bind("boot", "i-1")
    execute(statedir / "state.db", "PRAGMA wal_checkpoint(TRUNCATE)")
    for number in range(30):
        store.write(put=[Fact(f"{number:02}", "x")])
    copy = tmp_path / "copy"
    shutil.copytree(statedir, copy)
    store.close()
    yield copy / "state.db"


def log_of(path: Path) -> Path:
    return path.with_name("state.db-wal")


def changed(path: Path, offset: int, content: bytes) -> None:
    whole = bytearray(log_of(path).read_bytes())
    whole[offset : offset + len(content)] = content
    log_of(path).write_bytes(whole)


def test_whole_log_is_no_damage(killed: Path) -> None:
    assert log_of(killed).stat().st_size == 32 + 30 * PER_COMMIT
    journal, kept = opened(killed.parent)
    assert len(journal.facts) == 30
    assert kept is None


@pytest.mark.parametrize("offset", [0, 4, 8, 12, 16, 20, 24, 2000, PER_COMMIT - 1])
def test_log_damaged_in_the_middle_is_kept_and_told(
    killed: Path, offset: int, caplog: pytest.LogCaptureFixture
) -> None:
    changed(killed, 32 + 20 * PER_COMMIT + offset, b"\xa5")
    before = log_of(killed).read_bytes()
    journal, kept = opened(killed.parent)
    assert [fact.name for fact in journal.facts] == [f"{number:02}" for number in range(20)]
    assert journal.binding == ("boot", "i-1")
    assert kept
    assert Path(f"{kept}-wal").read_bytes() == before
    assert "breaks off before its last 1" in caplog.text


def test_damaged_log_is_not_led_anywhere(killed: Path) -> None:
    changed(killed, 32 + 20 * PER_COMMIT + 2000, b"\xa5")
    before = (killed.read_bytes(), log_of(killed).read_bytes())
    with pytest.raises(StoreFailed, match="breaks off"):
        migrate(killed, 1)
    assert (killed.read_bytes(), log_of(killed).read_bytes()) == before


@pytest.mark.parametrize(("commits", "damage"), [(1, False), (2, True)])
def test_only_the_last_commit_can_have_been_cut_short(killed: Path, commits: int, damage: bool) -> None:
    changed(killed, 32 + (30 - commits) * PER_COMMIT + 2000, b"\xa5")
    journal, kept = opened(killed.parent)
    assert len(journal.facts) == 30 - commits
    assert (kept is not None) is damage


def test_log_that_ends_within_a_frame_is_no_damage(killed: Path) -> None:
    log_of(killed).write_bytes(log_of(killed).read_bytes()[:-100])
    journal, kept = opened(killed.parent)
    assert len(journal.facts) == 29
    assert kept is None


@pytest.mark.parametrize("harm", [False, True])
def test_log_of_a_machine_with_the_other_byte_order(killed: Path, harm: bool) -> None:
    content = bytearray(log_of(killed).read_bytes())

    def summed(part: bytes, first: int, second: int) -> tuple[int, int]:
        for even, odd in struct.iter_unpack(">2I", part):
            first = (first + even + second) % 2**32
            second = (second + odd + first) % 2**32
        return first, second

    content[:4] = (0x377F0683).to_bytes(4, "big")
    running = summed(content[:24], 0, 0)
    content[24:32] = struct.pack(">2I", *running)
    for start in range(32, len(content), FRAME):
        running = summed(content[start + 24 : start + FRAME], *summed(content[start : start + 8], *running))
        content[start + 16 : start + 24] = struct.pack(">2I", *running)
    log_of(killed).write_bytes(content)
    if harm:
        changed(killed, 32 + 20 * PER_COMMIT + 2000, b"\xa5")
    journal, kept = opened(killed.parent)
    assert len(journal.facts) == (20 if harm else 30)
    assert (kept is not None) is harm


@pytest.mark.parametrize("offset", [0, 8, 16, 24])
def test_damaged_header_of_the_log(killed: Path, offset: int, caplog: pytest.LogCaptureFixture) -> None:
    changed(killed, offset, b"\xa5\xa5\xa5\xa5")
    journal, kept = opened(killed.parent)
    assert journal == Journal(("boot", "i-1"))
    assert kept
    assert "header of its write-ahead log" in caplog.text


def test_frames_of_the_lap_before_are_no_damage(statedir: Path, tmp_path: Path) -> None:
    store = SqliteStore(statedir)
    for number in range(30):
        store.write(put=[Fact(f"{number:02}", "x")])
    link = sqlite3.connect(statedir / "state.db")
    link.execute("PRAGMA wal_checkpoint(RESTART)")
    link.close()
    store.write(put=[Fact("30", "x")])
    shutil.copytree(statedir, tmp_path / "copy")
    store.close()
    assert log_of(tmp_path / "copy" / "state.db").stat().st_size > 20 * PER_COMMIT
    journal, kept = opened(tmp_path / "copy")
    assert len(journal.facts) == 31
    assert kept is None


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"")], ids=["removed", "emptied"])
def test_file_is_gone_and_its_log_is_there(statedir: Path, tmp_path: Path, harm: t.Callable[[Path], None]) -> None:
    store = SqliteStore(statedir)
    store.bind("boot", "i-1")
    store.write(put=[*NICS, *LEASES, INTENT, VXNET, FACT])
    shutil.copytree(statedir, tmp_path / "copy")
    store.close()
    harm(tmp_path / "copy" / "state.db")
    journal, kept = opened(tmp_path / "copy")
    assert kept
    assert journal == WHOLE


def test_damaged_index_of_the_log_is_made_anew(killed: Path) -> None:
    killed.with_name("state.db-shm").write_bytes(b"\xa5" * 32768)
    journal, kept = opened(killed.parent)
    assert len(journal.facts) == 30
    assert kept is None


def test_log_of_a_damaged_file_is_not_played_into_the_new_one(killed: Path) -> None:
    junk(killed)
    journal, kept = opened(killed.parent)
    assert journal == NOTHING
    assert kept
    assert Path(f"{kept}-wal").stat().st_size == 32 + 30 * PER_COMMIT


# -- no damage ---------------------------------------------------------------------------------------------------------


def test_empty_file_is_a_new_one(statedir: Path) -> None:
    statedir.mkdir(parents=True)
    (statedir / "state.db").touch()
    assert opened(statedir) == (NOTHING, None)


def test_transaction_that_was_killed_is_undone_first(statedir: Path, tmp_path: Path) -> None:
    """Somebody switched to the other kind of log, and pages of the transaction are in the file already."""
    path = filled(statedir)
    link = sqlite3.connect(path, isolation_level=None)
    link.execute("PRAGMA journal_mode=DELETE")
    link.execute("PRAGMA cache_size=1")
    link.execute("BEGIN")
    link.execute("UPDATE nic SET note = 'half', state = 'MELTED'")
    shutil.copytree(statedir, tmp_path / "copy")
    link.close()
    assert (tmp_path / "copy" / "state.db-journal").stat().st_size > 4096
    assert b"MELTED" in (tmp_path / "copy" / "state.db").read_bytes()
    assert opened(tmp_path / "copy") == (WHOLE, None)


def test_refusing_disk_is_no_damage(statedir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(statedir)

    def refuse(self: Path, target: object) -> t.NoReturn:
        raise PermissionError(1, "Operation not permitted")

    junk(path)
    before = path.read_bytes()
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StoreFailed, match="the journal .*state.db failed: .*Operation not permitted"):
        SqliteStore(statedir)
    assert path.read_bytes() == before
    monkeypatch.undo()
    assert opened(statedir) == (NOTHING, statedir / "state.db.damaged-1")


def test_log_that_is_a_directory(statedir: Path) -> None:
    filled(statedir)
    (statedir / "state.db-wal").mkdir()
    with pytest.raises(StoreFailed, match="unable to open"):
        SqliteStore(statedir)
    (statedir / "state.db-wal").rmdir()
    assert opened(statedir) == (WHOLE, None)


def test_failed_write_changes_nothing_and_can_be_repeated(statedir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.05)
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


@pytest.mark.parametrize("value", [object(), "\udc80", 2**63], ids=["object", "surrogate", "number"])
def test_half_a_write_is_taken_back(statedir: Path, value: t.Any) -> None:
    store = SqliteStore(statedir)
    with pytest.raises(StoreFailed):
        store.write(put=[NIC, replace(NIC, nic_id="other", note=value)])
    assert store.load().nics == ()
    store.write(put=[NIC])
    assert store.load().nics == (NIC,)
    store.close()
    assert store.kept_as is None


def test_statedir_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreFailed, match="cannot use"):
        SqliteStore(tmp_path / "file" / "state")


# -- damage that comes while the file is in use ------------------------------------------------------------------------


def test_damage_shows_in_a_write(statedir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another process overwrites the pages of the index: the write fails first, then goes into a new file."""
    path = filled(statedir)
    store = SqliteStore(statedir)
    overwritten(path, *pages(path, "sqlite_autoindex_nic_1"))
    store.write(put=[NIC])
    assert set(store.load().nics) == {*NICS, NIC}
    store.close()
    assert "is damaged" in caplog.text
    assert opened(statedir) == (replace(WHOLE, nics=tuple(sorted((*NICS, NIC), key=lambda n: n.nic_id))), None)


def test_row_goes_bad_while_the_file_is_in_use(statedir: Path) -> None:
    path = filled(statedir)
    store = SqliteStore(statedir)
    bad_row(path)
    assert store.load() == WHOLE
    assert store.kept_as == statedir / "state.db.damaged-1"
    store.write(put=[NIC])
    store.close()
    assert NIC in opened(statedir)[0].nics


def test_emptied_while_in_use(statedir: Path) -> None:
    path = filled(statedir)
    store = SqliteStore(statedir)
    path.write_bytes(b"")
    store.write(put=[NIC])
    assert NIC in store.load().nics
    store.close()
    assert NIC in opened(statedir)[0].nics
