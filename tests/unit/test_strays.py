# SPDX-License-Identifier: GPL-3.0-or-later
"""Which NICs nobody needs any more: told from what the cloud shows, deleted after another look."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from plugins.module_utils._ansible.sweep import sweep
from plugins.module_utils.hostnic.cloud.qingcloud import QingCloud
from plugins.module_utils.hostnic.errors import Denied, InvalidConfig
from plugins.module_utils.hostnic.model import CloudNic, Instance
from plugins.module_utils.hostnic.strays import Stray, delete, find, judge
from tests.emulator import power
from tests.support.emulated_cloud import HERE, THERE, EmulatedCloud

NOW = 1_000_000.0
LIVE = Instance("i-live", status="running", created=1.0, changed=2.0)
GONE = Instance("i-gone", status="terminated", created=1.0, changed=500_000.0)


def nic(name: str, where: str = "", role: int = 0, created: float = 100.0, changed: float = 200.0) -> CloudNic:
    status = "in-use" if where else "available"
    return CloudNic("52:54:00:00:00:01", name, "vxnet-a", "10.0.0.1", status, where, role, created, changed)


@pytest.mark.parametrize(
    ("one", "since"),
    [
        (nic("qingcni_i-gone"), 500_000.0),
        (nic("hostnic-gw_i-gone", changed=600_000.0), 600_000.0),
        (nic("qingcni_i-never"), 200.0),
        (nic("qingcni_i-gone", "i-gone"), 500_000.0),  # told, never deleted: see below
        (nic("qingcni_i-gone", created=0.0), None),
        (nic("qingcni_i-live"), "kept"),
        (nic("qingcni_i-gone", "i-live"), "kept"),
        (nic("qingcni_i-gone", "i-gone", role=1), "kept"),
        (nic("other-gw_i-gone"), "kept"),
        (nic("hostnic_i-gone"), "kept"),
        (nic("operators-own"), "kept"),
        (nic(""), "kept"),
    ],
)
def test_what_is_a_stray(one: CloudNic, since: t.Union[float, str, None]) -> None:
    found = judge([one], [LIVE, GONE], "hostnic")
    assert [stray.since for stray in found] == ([] if since == "kept" else [since])


@pytest.mark.parametrize(
    ("changes", "over"),
    [({}, True), ({"since": NOW - 3599.0}, False), ({"since": None}, False), ({"since": NOW - 3600.0}, True)],
)
def test_the_grace_time(changes: dict[str, t.Any], over: bool) -> None:
    stray = replace(Stray(nic("qingcni_i-gone"), "i-gone", "", 100.0), **changes)
    assert stray.over(3600.0, NOW) is over
    assert not replace(stray, nic=nic("qingcni_i-gone", "i-gone")).over(0.0, NOW), "what is attached stays"


def test_a_key_that_is_not_shown_all_instances_judges_nothing() -> None:
    with pytest.raises(Denied, match="DescribeInstances does not show i-hidden"):
        judge([nic("", "i-hidden", role=1), nic("qingcni_i-gone")], [LIVE], "hostnic")


@pytest.fixture
def emulated(tmp_path: Path) -> t.Iterator[EmulatedCloud]:
    """With a NIC of an instance that lives, one of one that is gone, one that is attached to it, and another's."""
    cloud = EmulatedCloud(tmp_path, nics_on_terminate="keep", describe_order="random", total_count="all")
    with cloud.emulator:
        client = cloud.client()
        kept = client.create_nics("vxnet-a", 1, f"qingcni_{THERE}")[0].nic_id
        client.attach_nics([kept], THERE)
        cloud.emulator.advance(60)
        for name in (f"qingcni_{HERE}", f"qingcni_{THERE}", f"hostnic-gw_{THERE}", "operators-own"):
            client.create_nics("vxnet-a", 12 if name.startswith("hostnic") else 1, name)
        power.terminate(cloud.emulator.cloud, THERE)
        cloud.emulator.advance(1800)
        yield cloud


def run(emulated: EmulatedCloud, state: str = "absent", check: bool = False, grace: str = "30m") -> dict[str, t.Any]:
    options = {"state": state, "grace": grace, "gatewayns": "hostnic"}
    return sweep(options, t.cast(QingCloud, _client(emulated)), check, emulated.clock.now)


def _client(emulated: EmulatedCloud) -> t.Any:
    """Under the name that modules have for the package: its errors are other classes."""
    from plugins.module_utils.hostnic.cloud.build import connect
    from plugins.module_utils.hostnic.cloud.limiter import RateLimiter
    from plugins.module_utils.hostnic.config import Settings

    emulated.client()
    path = str(emulated._directory / "client.yaml")
    return connect(Settings(access_file=path), limiter=RateLimiter(1e6, 1000), sleep=lambda seconds: None)


def test_the_whole_sweep(emulated: EmulatedCloud) -> None:
    before = emulated.count()
    told = run(emulated, "reported")
    assert not told["changed"] and len(told["strays"]) == 14 and emulated.count() == before
    assert sum(stray["deletable"] for stray in told["strays"]) == 13, "all but the one that is attached"
    assert run(emulated, grace="31m")["deleted"] == []
    foreseen, done, again = run(emulated, check=True), run(emulated), run(emulated)
    assert foreseen == done and done["changed"] and len(done["deleted"]) == 13
    assert not again["changed"] and len(again["strays"]) == 1
    assert emulated.count() == before - 13 and emulated.calls("DeleteNics") == 2


def test_a_stray_that_is_one_no_more_at_the_last_look_stays(emulated: EmulatedCloud) -> None:
    client = _client(emulated)
    found = find(client, "hostnic")
    (attached,) = [stray.nic.nic_id for stray in found if stray.nic.attached]
    taken = emulated.emulator.cloud.nics[next(stray.nic.nic_id for stray in found if not stray.nic.attached)]
    taken.nic_name = "somebody-elses"
    assert len(delete(client, found, "hostnic")) == 12
    assert {attached, taken.nic_id} <= emulated.emulator.cloud.nics.keys()


def test_an_instance_that_comes_back_keeps_its_nics(emulated: EmulatedCloud) -> None:
    client = _client(emulated)
    found = find(client, "hostnic")
    emulated.emulator.cloud.instances[THERE].status = "running"
    assert delete(client, found, "hostnic") == [] and emulated.calls("DeleteNics") == 0


def test_a_grace_that_is_none(emulated: EmulatedCloud) -> None:
    with pytest.raises(InvalidConfig, match="^grace must be a duration, such as 60s"):
        run(emulated, grace="soon")
