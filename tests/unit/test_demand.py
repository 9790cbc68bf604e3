# SPDX-License-Identifier: GPL-3.0-or-later
"""What pods have asked for lately, how long a NIC takes to come, and how long a surplus has lasted."""

from __future__ import annotations

import pytest

from hostnic.demand import Demand, percentile

LONG_AGO = -10_000.0  # the process has run for longer than it remembers


def busy(demand: Demand, buckets: int, pods: int = 5, start: float = 0.0) -> float:
    """So many buckets of five seconds with so many pods in each; returns when the last one began."""
    for bucket in range(buckets):
        for __ in range(pods):
            demand.arrived((), start + 5.0 * bucket)
    return start + 5.0 * (buckets - 1)


# -- rate -------------------------------------------------------------------------------------------------------------


def test_a_steady_pod_a_second_is_a_rate_of_one() -> None:
    demand = Demand(0.0)
    for second in range(600):
        demand.arrived((), float(second))
    assert demand.rate(599.0) == 1.0


def test_one_burst_is_no_trend() -> None:
    demand = Demand(LONG_AGO)
    for __ in range(60):
        demand.arrived((), 0.0)
    assert demand.rate(0.0) == 0.0


@pytest.mark.parametrize(("buckets", "rate"), [(6, 0.0), (7, 1.0)])
def test_more_than_a_twentieth_of_ten_minutes_is_a_trend(buckets: int, rate: float) -> None:
    demand = Demand(LONG_AGO)
    assert demand.rate(busy(demand, buckets)) == rate


@pytest.mark.parametrize(("buckets", "rate"), [(3, 0.0), (4, 1.0)])
def test_a_process_of_five_minutes_counts_five_minutes(buckets: int, rate: float) -> None:
    demand = Demand(0.0)
    busy(demand, buckets, start=200.0)
    assert demand.rate(300.0) == rate


@pytest.mark.parametrize("age", [0.0, 30.0, 90.0])
def test_the_first_burst_of_a_young_process_is_no_trend(age: float) -> None:
    demand = Demand(0.0)
    for __ in range(20):
        demand.arrived((), age)
    assert demand.rate(age) == 0.0


def test_a_young_process_sees_a_trend_in_two_busy_buckets() -> None:
    demand = Demand(0.0)
    assert demand.rate(busy(demand, 2)) == 1.0


def test_quiet_times_count_once_each() -> None:
    demand = Demand(LONG_AGO)
    now = busy(demand, 12, pods=50, start=busy(demand, 48) + 5.0)  # of 120 buckets 60 are quiet, 12 are busiest
    assert demand.rate(now) == 10.0


def test_nothing_was_asked_for_is_a_rate_of_nothing() -> None:
    assert Demand(0.0).rate(1000.0) == 0.0


def test_what_is_ten_minutes_old_is_forgotten() -> None:
    demand = Demand(LONG_AGO)
    last = busy(demand, 20)
    assert demand.rate(last + 5.0 * 100) == 1.0
    assert demand.rate(last + 5.0 * 120) == 0.0
    assert demand.tastes(last + 5.0 * 120) == ()


# -- tastes -----------------------------------------------------------------------------------------------------------


def test_tastes_are_those_of_the_last_ten_minutes_with_their_pods() -> None:
    demand = Demand(LONG_AGO)
    demand.arrived(("vxnet-a",), 0.0)
    demand.arrived(("vxnet-b",), 5.0)
    demand.arrived((), 10.0)
    demand.arrived(("vxnet-b",), 300.0)
    assert demand.tastes(300.0) == (((), 1), (("vxnet-a",), 1), (("vxnet-b",), 2))
    assert demand.tastes(605.0) == (((), 1), (("vxnet-b",), 1))


# -- lead time --------------------------------------------------------------------------------------------------------


def test_before_a_lead_time_was_measured_it_is_the_usual_one() -> None:
    assert Demand(0.0).lead_time() == 5.0


def test_the_lead_time_is_that_of_both_calls_and_not_the_wait_between_them() -> None:
    demand = Demand(0.0)
    demand.made(["a"], 1.5)
    demand.sent(["a"], 200.0)
    demand.ready("a", 204.0)
    assert demand.lead_time() == 5.5


def test_an_attach_that_is_sent_again_counts_from_then() -> None:
    demand = Demand(0.0)
    demand.made(["a"], 1.0)
    demand.sent(["a"], 100.0)
    demand.sent(["a"], 200.0)
    demand.ready("a", 204.0)
    assert demand.lead_time() == 5.0


def test_nics_that_this_process_did_not_make_tell_no_lead_time() -> None:
    demand = Demand(0.0)
    demand.sent(["strange"], 100.0)
    demand.ready("strange", 1000.0)
    assert demand.lead_time() == 5.0


def test_nics_that_this_process_did_not_attach_tell_no_lead_time() -> None:
    demand = Demand(0.0)
    demand.made(["a"], 1.0)
    demand.ready("a", 1000.0)
    assert demand.lead_time() == 5.0


def test_a_nic_tells_its_lead_time_once() -> None:
    demand = Demand(0.0)
    ready_after(demand, [7.0])
    demand.sent(["0"], 200.0)
    demand.ready("0", 900.0)
    assert demand.lead_time() == 7.0


def test_what_was_on_its_way_when_the_cloud_failed_tells_nothing() -> None:
    demand = Demand(0.0)
    demand.made(["a", "b"], 1.0)
    demand.sent(["a"], 100.0)
    demand.disturbed()
    demand.sent(["b"], 100.0)
    demand.ready("a", 160.0)
    demand.ready("b", 160.0)
    assert demand.lead_time() == 5.0


def test_what_was_measured_before_the_cloud_failed_stands() -> None:
    demand = Demand(0.0)
    ready_after(demand, [7.0])
    demand.disturbed()
    assert demand.lead_time() == 7.0


def ready_after(demand: Demand, leads: list[float]) -> None:
    """NICs with these lead times."""
    for number, lead in enumerate(leads):
        demand.made([str(number)], 1.0)
        demand.sent([str(number)], 100.0)
        demand.ready(str(number), 99.0 + lead)


def test_one_slow_nic_of_twenty_does_not_make_the_lead_time() -> None:
    demand = Demand(0.0)
    ready_after(demand, [4.0] * 7 + [60.0] + [4.0] * 12)
    assert demand.lead_time() == 4.0


def test_the_last_hundred_lead_times_count() -> None:
    demand = Demand(0.0)
    ready_after(demand, [60.0] * 100 + [4.0] * 100)
    assert demand.lead_time() == 4.0


# -- surplus ----------------------------------------------------------------------------------------------------------


def test_a_surplus_counts_once_it_has_lasted() -> None:
    demand = Demand(0.0)
    assert [demand.quiet_surplus(4, 600.0, now) for now in (0.0, 300.0, 599.9, 600.0)] == [0, 0, 0, 4]


def test_a_dip_lowers_what_counts() -> None:
    demand = Demand(0.0)
    told = [demand.quiet_surplus(least, 600.0, now) for least, now in ((4, 0.0), (1, 300.0), (6, 600.0))]
    assert told == [0, 0, 1]


def test_the_moment_of_the_answer_counts_too() -> None:
    demand = Demand(0.0)
    assert [demand.quiet_surplus(least, 600.0, now) for least, now in ((4, 0.0), (2, 600.0))] == [0, 2]


def test_after_an_answer_a_new_period_begins_with_what_there_is_then() -> None:
    demand = Demand(0.0)
    told = [
        demand.quiet_surplus(least, 600.0, now)
        for least, now in ((4, 0.0), (1, 300.0), (6, 600.0), (6, 600.2), (6, 1199.0), (6, 1200.0))
    ]
    assert told == [0, 0, 1, 0, 0, 6]


@pytest.mark.parametrize("need", [0, -3])
def test_a_moment_of_need_begins_a_new_period(need: int) -> None:
    demand = Demand(0.0)
    told = [demand.quiet_surplus(s, 600.0, now) for s, now in ((4, 0.0), (need, 300.0), (4, 301.0), (4, 900.0))]
    assert told == [0, 0, 0, 0]
    assert demand.quiet_surplus(4, 600.0, 901.0) == 4


def test_it_tells_when_the_period_ends() -> None:
    demand = Demand(0.0)
    assert demand.surplus_ends(600.0) is None
    demand.quiet_surplus(4, 600.0, 100.0)
    demand.quiet_surplus(4, 600.0, 300.0)
    assert demand.surplus_ends(600.0) == 700.0
    demand.quiet_surplus(4, 600.0, 700.0)
    assert demand.surplus_ends(600.0) == 1300.0
    demand.quiet_surplus(0, 600.0, 800.0)
    assert demand.surplus_ends(600.0) is None


# -- percentile -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "told"),
    [([], 0.0), ([3.0], 3.0), ([2.0, 1.0], 2.0), ([*range(1, 21)], 19.0), ([*range(120, 0, -1)], 114.0)],
)
def test_the_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[float], told: float) -> None:
    assert percentile(values, 0.95) == told
