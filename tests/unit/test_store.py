# SPDX-License-Identifier: GPL-3.0-or-later
"""What every store does: the port's promises, run over each of them."""

from __future__ import annotations

import threading
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from hostnic.errors import HostnicError
from hostnic.model import RECORDS, Fact, Intent, KnownVxnet, Lease, Nic, Record
from hostnic.ports import Journal, Store
from hostnic.states import State
from hostnic.store.codec import TABLES
from hostnic.store.memory import MemoryStore
from hostnic.store.sqlite import SqliteStore

NIC = Nic("52:54:00:00:00:01", "vxnet-a", "192.168.1.2", State.READY, 12.5)
LEASE = Lease("net", "c1", "eth0", NIC.nic_id, 3.25, 4026531992, 7, {"K8S_POD_NAME": "wéb-0", "IgnoreUnknown": "1"})
INTENT = Intent("int-1", "attach", 1.0, "vxnet-a", 2, ("52:54:00:00:00:01", "52:54:00:00:00:02"), "j-1")
VXNET = KnownVxnet("vxnet-a", "192.168.1.0/24", "192.168.1.1", "rtr-1", "192.168.1.3")
FACT = Fact("attach", "serial")


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "state")
    yield made
    made.close()


def test_new_store_is_empty(store: Store) -> None:
    assert store.load() == Journal(("", ""))


def test_everything_comes_back_as_it_was(store: Store) -> None:
    store.bind("boot-1", "i-0a1b2c3d")
    store.write(put=[NIC, LEASE, INTENT, VXNET, FACT])
    assert store.load() == Journal(("boot-1", "i-0a1b2c3d"), (NIC,), (LEASE,), (INTENT,), (VXNET,), (FACT,))


def test_fields_of_fixed_addresses_come_back(store: Store) -> None:
    nic = replace(NIC, workload="default/web-0", keep=float("inf"), marked=7.5)
    intent = replace(INTENT, private_ips=("192.168.1.7", "192.168.1.8"))
    store.write(put=[nic, intent])
    assert (store.load().nics, store.load().intents) == ((nic,), (intent,))


def test_types_come_back_too(store: Store) -> None:
    store.write(put=[NIC, LEASE, INTENT])
    journal = store.load()
    assert journal.nics[0].state is State.READY
    assert journal.nics[0].doomed is False
    assert isinstance(journal.intents[0].nic_ids, tuple)
    assert isinstance(journal.nics[0].since, float)


@pytest.mark.parametrize("state", list(State))
def test_every_state(store: Store, state: State) -> None:
    nic = Nic(
        "52:54:00:00:00:09", "vxnet-a", "192.168.1.2", state, 1.0, doomed=True, attempts=3, note="'; DROP TABLE nic"
    )
    store.write(put=[nic])
    assert store.load().nics == (nic,)


def test_put_replaces_by_key(store: Store) -> None:
    later = Nic(NIC.nic_id, "vxnet-b", "192.168.2.2", State.IN_USE, 99.0)
    store.write(put=[NIC])
    store.write(put=[later])
    assert store.load().nics == (later,)


def test_drop_goes_by_key(store: Store) -> None:
    other = Lease("net", "c2", "eth0", "52:54:00:00:00:02", 1.0)
    store.write(put=[LEASE, other])
    store.write(drop=[Lease("net", "c1", "eth0", "another nic", 0.0)])
    assert store.load().leases == (other,)


def test_dropping_what_is_not_there_is_nothing(store: Store) -> None:
    store.write(drop=[NIC, LEASE, INTENT, VXNET, FACT])
    assert store.load() == Journal(("", ""))


def test_in_one_write_the_drop_comes_last(store: Store) -> None:
    store.write(put=[NIC], drop=[NIC])
    assert store.load().nics == ()


def test_of_two_puts_the_later_one_stays(store: Store) -> None:
    later = Nic(NIC.nic_id, "vxnet-b", "192.168.2.2", State.IN_USE, 99.0)
    store.write(put=iter([NIC, later]))
    assert store.load().nics == (later,)


def test_order_is_that_of_the_keys(store: Store) -> None:
    nics = [Nic(f"52:54:00:00:00:{number:02x}", "v", "", State.READY, 0.0) for number in (3, 1, 2)]
    store.write(put=nics)
    assert [nic.nic_id[-2:] for nic in store.load().nics] == ["01", "02", "03"]


def test_nothing_to_write(store: Store) -> None:
    store.write()
    store.write(durable=True)
    assert store.load() == Journal(("", ""))


def test_bad_record_writes_nothing_of_its_transaction(store: Store) -> None:
    with pytest.raises(TypeError, match="str is no record"):
        store.write(put=t.cast(t.Any, [NIC, "no record"]))
    assert store.load().nics == ()


def test_what_was_written_does_not_change_with_its_source(store: Store) -> None:
    args = {"A": "1"}
    store.write(put=[Lease("net", "c1", "eth0", "n", 0.0, args=args)])
    args["A"] = "2"
    store.load().leases[0].args["A"] = "3"
    assert store.load().leases[0].args == {"A": "1"}


def test_args_need_not_be_utf8(store: Store) -> None:
    lease = replace(LEASE, args={"K8S_POD_NAME": "w\udc80b"})
    store.write(put=[lease])
    assert store.load().leases == (lease,)


def test_set_aside_begins_anew(store: Store) -> None:
    store.bind("boot-1", "i-1")
    store.write(put=[NIC, LEASE, INTENT, VXNET, FACT])
    store.set_aside("another instance")
    assert store.load() == Journal(("", ""))
    store.bind("boot-2", "i-2")
    store.write(put=[NIC])
    store.write(put=[LEASE], durable=True)
    assert store.load() == Journal(("boot-2", "i-2"), (NIC,), (LEASE,))
    store.set_aside("another instance")
    assert store.load() == Journal(("", ""))


def test_binding_is_replaced(store: Store) -> None:
    store.bind("boot-1", "i-1")
    store.bind("boot-2", "i-2")
    assert store.load().binding == ("boot-2", "i-2")


def test_closed_store_says_so(store: Store) -> None:
    store.close()
    for use in (store.load, lambda: store.write(put=[NIC]), lambda: store.bind("b", "i"), lambda: store.set_aside("w")):
        with pytest.raises(HostnicError, match="closed"):
            use()
    store.close()


def test_many_threads(store: Store) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(20):
                lease = Lease("net", f"{number}-{turn}", "eth0", "n", 0.0)
                store.write(put=[lease])
                store.load()
                if turn % 2:
                    store.write(drop=[lease], durable=turn == 1)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert len(store.load().leases) == 60


def test_every_record_has_a_table_and_a_key() -> None:
    assert tuple(table.record for table in TABLES) == RECORDS
    assert {table.name for table in TABLES} == {"nic", "lease", "intent", "known_vxnet", "fact"}
    samples: tuple[Record, ...] = (NIC, LEASE, INTENT, VXNET, FACT)
    for table, record in zip(TABLES, samples):
        assert table.decode(table.encode(record)) == record
        assert set(table.keys) <= {column.name for column in table.columns}
