# SPDX-License-Identifier: GPL-3.0-or-later
"""Rate limits, their penalty, and the number of calls a day."""

from __future__ import annotations

from tests.unit.emulator.rig import KEY, OWNER, Rig, UrllibClient

TOO_OFTEN = "QuotasExceeded, access too frequently, your requests will be rejected for a period of time"


def codes(rig: Rig, count: int) -> list[int]:
    return [rig.call("DescribeZones")["ret_code"] for __ in range(count)]


def test_no_limit_unless_set(raw: Rig) -> None:
    assert codes(raw, 40) == [0] * 40


def test_burst_then_penalty(rig: Rig) -> None:
    rig.set(rate_per_second=2, rate_burst=3, rate_penalty=10)
    assert codes(rig, 4) == [0, 0, 0, 2500]
    assert rig.call("DescribeZones")["message"] == TOO_OFTEN
    rig.emu.advance(9.9)
    assert codes(rig, 1) == [2500]
    rig.emu.advance(0.2)
    assert codes(rig, 4) == [0, 0, 0, 2500]


def test_tokens_come_back_at_the_rate(raw: Rig) -> None:
    raw.set(rate_per_second=2, rate_burst=2)
    assert codes(raw, 2) == [0, 0]
    raw.emu.advance(0.5)
    assert codes(raw, 2) == [0, 2500]


def test_each_key_or_the_whole_account(raw: Rig) -> None:
    raw.emu.cloud.add_access_key("C" * 20, "c" * 40, OWNER)
    second = Rig(raw.emu, UrllibClient(raw.emu.url, "C" * 20, "c" * 40))
    raw.set(rate_per_second=1, rate_burst=2)
    assert codes(raw, 3) == [0, 0, 2500]
    assert codes(second, 2) == [0, 0]
    raw.set(rate_scope="account")
    assert codes(raw, 1) + codes(second, 2) == [0, 0, 2500]


def test_calls_that_are_not_signed_well_do_not_count(raw: Rig) -> None:
    raw.set(rate_per_second=1, rate_burst=2)
    stranger = Rig(raw.emu, UrllibClient(raw.emu.url, KEY, "wrong"))
    assert codes(stranger, 5) == [1200] * 5
    assert codes(raw, 2) == [0, 0]


def test_calls_a_day(raw: Rig) -> None:
    raw.set(calls_per_day=3, day_utc_offset_hours=0)
    raw.emu.advance(86400 - raw.emu.clock.now() % 86400)
    assert codes(raw, 4) == [0, 0, 0, 2500]
    raw.emu.advance(86399)
    assert codes(raw, 1) == [2500]
    raw.emu.advance(1)
    assert codes(raw, 1) == [0]
    assert "access too frequently" not in raw.call("DescribeZones")


def test_the_day_begins_at_the_offset(raw: Rig) -> None:
    raw.set(calls_per_day=1, day_utc_offset_hours=8)
    raw.emu.advance(86400 - raw.emu.clock.now() % 86400)
    assert codes(raw, 2) == [0, 2500]
    raw.emu.advance(16 * 3600 - 1)
    assert codes(raw, 1) == [2500]
    raw.emu.advance(1)
    assert codes(raw, 1) == [0]
