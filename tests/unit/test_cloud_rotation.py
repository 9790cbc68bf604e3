# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that change under a running agent: taken without a restart, or the one before kept where that one works."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest

from hostnic import errors
from hostnic.cloud.qingcloud import QingCloud
from tests.support.emulated_cloud import EmulatedCloud

OLD, NEW, WRONG = ("AK", "SK"), ("AK2", "SK2"), ("AK3", "SK3")


class Account:
    """The emulated account with an agent's client of it."""

    def __init__(self, directory: Path) -> None:
        self.emulated = EmulatedCloud(directory)
        self.emulated.emulator.start()
        self.path = directory / "client.yaml"
        self.client: QingCloud = self.emulated.client()
        self._rest = "".join(self.path.read_text().splitlines(keepends=True)[2:])

    def issue(self, key: tuple[str, str]) -> None:
        self.emulated.emulator.cloud.add_access_key(*key, owner="usr-00000001")

    def revoke(self, key: tuple[str, str]) -> None:
        del self.emulated.emulator.cloud.access_keys[key[0]]

    def write(self, key: tuple[str, str]) -> None:
        self.put(f"qy_access_key_id: {key[0]}\nqy_secret_access_key: {key[1]}\n{self._rest}")

    def put(self, text: str) -> None:
        """As Ansible does: by a rename."""
        beside = self.path.with_name("beside")
        beside.write_text(text)
        beside.chmod(0o600)
        beside.replace(self.path)

    def works(self) -> bool:
        return bool(self.client.describe_zones())


@pytest.fixture
def account(tmp_path: Path) -> t.Iterator[Account]:
    account = Account(tmp_path)
    assert account.works()
    yield account
    account.emulated.emulator.stop()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


def test_a_new_key_is_used_from_the_next_call_on(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    account.issue(NEW)
    account.write(NEW)
    account.revoke(OLD)
    assert account.works() and warnings(caplog) == []


def test_a_file_that_cannot_be_used_leaves_the_key_and_is_told_once(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    account.put("qy_access_key_id: AK2\n")
    assert [account.works() for __ in range(3)] == [True] * 3
    assert len(warnings(caplog)) == 1 and "qy_secret_access_key is missing" in warnings(caplog)[0]
    assert "SK" not in caplog.text


def test_a_file_that_is_gone_for_a_moment_leaves_the_key(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    account.issue(NEW)
    account.path.unlink()
    assert account.works() and account.works()
    assert len(warnings(caplog)) == 1 and "is gone" in warnings(caplog)[0]
    account.write(NEW)
    account.revoke(OLD)
    assert account.works()


def test_a_key_that_the_api_refuses_leaves_the_one_before_in_use(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    account.write(WRONG)
    assert [account.works() for __ in range(3)] == [True] * 3
    assert len(warnings(caplog)) == 1 and "access_key_id [AK3] is not known" in warnings(caplog)[0]


def test_a_key_that_becomes_good_later_is_tried_when_the_old_one_ends(account: Account) -> None:
    account.write(NEW)
    assert account.works()
    account.issue(NEW)
    account.revoke(OLD)
    assert account.works()


def test_the_last_good_key_outlives_two_bad_files(account: Account) -> None:
    """The first of them is never seen to work or to be refused: it leads nowhere."""
    good = account.path.read_text()
    account.put(re.sub(r"port: \d+", "port: 9", good, count=1))
    with pytest.raises(errors.Unreachable):
        account.works()
    account.put(good.replace("AK", "AK3", 1))
    assert account.works()


def test_where_no_key_is_good_the_new_ones_refusal_is_told(account: Account) -> None:
    account.write(WRONG)
    account.revoke(OLD)
    with pytest.raises(errors.AuthFailed, match="AK3"):
        account.works()


def test_a_key_that_has_worked_ends_the_one_before(account: Account) -> None:
    account.issue(NEW)
    account.write(NEW)
    assert account.works()
    account.revoke(NEW)
    with pytest.raises(errors.AuthFailed, match="AK2"):
        account.works()


def test_a_write_goes_with_the_key_before_too(account: Account) -> None:
    account.write(WRONG)
    assert len(account.client.create_nics("vxnet-a", 1, "qingcni_i-0a1b2c3d")) == 1


def test_another_zone_or_host_takes_effect_as_well(account: Account) -> None:
    account.put(account.path.read_text().replace("zone: pek3a", "zone: mars1"))
    with pytest.raises(errors.HostnicError, match="mars1"):
        account.client.describe_nics(instance_id="i-0a1b2c3d")


def test_a_file_that_says_the_same_again_changes_nothing(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "hostnic.cloud")
    account.put(account.path.read_text())
    assert account.works() and caplog.text == ""
