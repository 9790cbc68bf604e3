# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading all rows from a server that shuffles, miscounts, changes while it is read, or shows an empty page."""

from __future__ import annotations

import itertools
import random
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostnic import errors
from hostnic.cloud.connection import Connection
from hostnic.cloud.qingcloud import QingCloud
from hostnic.cloud.retry import Patience
from tests.support.scripted_api import Time

Answer = dict[str, t.Any]
OURS, OTHERS = "qingcni_i-1", 30


class Shelf:
    """In place of a `Connection`: NICs of our name among those of others, in pages of at most `most` rows."""

    def __init__(self, count: int, **behaviour: t.Any) -> None:
        self.ours = [f"52:54:00:00:{n // 256:02x}:{n % 256:02x}" for n in range(count)]
        self.shuffled: bool = behaviour.pop("shuffled", False)
        self.counts: t.Optional[str] = behaviour.pop("counts", "filtered")  # or all, other each time, None for no count
        self.most: int = behaviour.pop("most", 100)
        self.repeats: bool = behaviour.pop("repeats", False)  # the first row of a page again at its end
        self.after: dict[int, t.Callable[[Shelf], object]] = behaviour.pop("after", {})  # nth answer ► what changes
        self.empty: t.Collection[int] = behaviour.pop("empty", ())  # answers without the rows that they count
        self.calls = 0
        self.rng = random.Random(1)
        if behaviour:
            raise TypeError(str(behaviour))

    def call(self, action: str, params: t.Mapping[str, t.Any], within: t.Optional[float] = None) -> Answer:
        self.calls += 1
        matching = [one for one in self.ours if one in params.get("nics", self.ours)]
        if params.get("nic_name", OURS) != OURS or params.get("vxnets") == ["vxnet-nosuch00"]:
            matching = []
        rows = self.rng.sample(matching, len(matching)) if self.shuffled else matching
        rows = rows[params["offset"] : params["offset"] + min(params["limit"], self.most)]
        if self.repeats and params["offset"] == 0:
            rows = rows[:-1] + rows[:1]
        everything = len(self.ours) + OTHERS
        total = {"filtered": len(matching), "all": everything, "other": everything + self.calls, None: None}[
            self.counts
        ]
        answer = {"total_count": total, "nic_set": [{"nic_id": one, "nic_name": OURS} for one in rows]}
        if self.calls in self.empty:
            answer["nic_set"] = []
        self.after.get(self.calls, lambda shelf: None)(self)
        return answer


def cloud(shelf: Shelf, time: t.Optional[Time] = None, retries: int = 3) -> QingCloud:
    time = time or Time()
    patience = Patience(retries=retries, clock=time, sleep=time.sleep, rng=lambda: 0.5)
    return QingCloud(t.cast(Connection, shelf), patience)


def found(shelf: Shelf, **more: t.Any) -> list[str]:
    return [nic.nic_id for nic in cloud(shelf, **more).describe_nics(name=OURS)]


@settings(deadline=None)
@given(
    count=st.integers(0, 260),
    order=st.sampled_from(["kept", "shuffled"]),
    counts=st.sampled_from(["filtered", "all"]),
    lies=st.sets(st.integers(1, 9), max_size=2),
)
def test_all_rows_are_found_once_each(count: int, order: str, counts: str, lies: set[int]) -> None:
    if counts == "all":  # an empty page is not believed once; there is no way to tell whether it lies twice
        lies = set(sorted(lies)[:1])
    shelf = Shelf(count, shuffled=order == "shuffled", counts=counts, empty=lies)
    assert sorted(found(shelf)) == shelf.ours


@settings(deadline=None)
@given(
    count=st.integers(90, 230),
    counts=st.sampled_from(["filtered", "all", None]),
    changes=st.dictionaries(st.integers(1, 6), st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=3),
)
def test_rows_that_stay_are_found_whatever_comes_and_goes(
    count: int, counts: t.Optional[str], changes: dict[int, tuple[int, int]]
) -> None:
    """Rows go from the front, which moves those behind them to earlier pages, and others come at the end."""
    gone: set[str] = set()
    fresh = (f"52:54:01:00:{n // 256:02x}:{n % 256:02x}" for n in itertools.count())

    def change(go: int, come: int) -> t.Callable[[Shelf], None]:
        def now(shelf: Shelf) -> None:
            gone.update(shelf.ours[:go])
            shelf.ours = [*shelf.ours[go:], *itertools.islice(fresh, come)]
            ever.update(shelf.ours)

        return now

    # As many going as coming leaves nothing to see it by.
    after = {call: change(go, come) for call, (go, come) in changes.items() if go != come}
    shelf = Shelf(count, counts=counts, after=t.cast(t.Any, after))
    start, ever = set(shelf.ours), set(shelf.ours)
    nics = found(shelf)
    assert len(nics) == len(set(nics))
    assert set(nics) >= start - gone
    assert set(nics) <= ever
    shelf.after = {}
    assert set(found(shelf)) == set(shelf.ours)


def test_a_nic_that_moved_to_a_page_already_read_is_not_missed() -> None:
    shelf = Shelf(150, after={1: lambda shelf: shelf.ours.__delitem__(slice(0, 40))})
    assert found(shelf) == shelf.ours
    assert len(shelf.ours) == 110
    assert shelf.calls == 2 + 2


def test_the_last_page_may_be_gone_when_it_is_asked_for() -> None:
    shelf = Shelf(150, after={1: lambda shelf: shelf.ours.__delitem__(slice(0, 60))})
    assert found(shelf) == shelf.ours
    assert len(shelf.ours) == 90


def test_rows_that_repeat_on_one_page_are_of_one_moment() -> None:
    shelf = Shelf(20, repeats=True)
    assert found(shelf) == shelf.ours[:19]
    assert shelf.calls == 1


def test_rows_that_never_agree() -> None:
    shelf = Shelf(150, repeats=True)
    with pytest.raises(errors.Unreachable, match="other rows each time") as caught:
        found(shelf)
    assert caught.value.transient
    assert not caught.value.ambiguous
    assert caught.value.details["action"] == "DescribeNics"
    assert shelf.calls == 24


def test_rows_without_an_id_are_counted() -> None:
    class Blank(Shelf):
        def call(self, action: str, params: t.Mapping[str, t.Any], within: t.Optional[float] = None) -> Answer:
            answer = super().call(action, params, within)
            answer["nic_set"][-1]["nic_id"] = None
            return answer

    shelf = Blank(150)
    assert len(found(shelf)) == 148
    assert shelf.calls == 2


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        # As many come as go: the count stays, but more are seen than are counted.
        (["4ab", "4bc", "4ad", "4ea", "4de", "4fd"], "adef"),
        # The count changes: what was seen before may be gone.
        (["5abc", "5ab", "4bd", "4db", "4bd", "4db", "4be", "4fb"], "bdef"),
        # It changes within each reading, and in the same way: that is no agreement.
        (["5ab", "4bc", "5ab", "4ad", "4ab", "4ce"], "abce"),
    ],
)
def test_what_a_server_showed_before_may_be_gone(pages: list[str], expected: str) -> None:
    """Each page as its count and the names of its rows."""
    script = iter(pages)

    class Api:
        def call(self, action: str, params: t.Mapping[str, t.Any], within: t.Optional[float] = None) -> Answer:
            total, *rows = next(script)
            return {"total_count": int(total), "nic_set": [{"nic_id": one, "nic_name": OURS} for one in rows]}

    nics = QingCloud(t.cast(Connection, Api()), Patience(retries=0)).describe_nics(name=OURS)
    assert sorted(nic.nic_id for nic in nics) == list(expected)


def test_two_readings_that_agree_are_enough_in_a_busy_account() -> None:
    shelf = Shelf(20, counts="other")
    assert found(shelf) == shelf.ours
    assert shelf.calls == 7


@pytest.mark.parametrize("come", [0, 1])
def test_rows_that_go_while_a_server_shuffles(come: int) -> None:
    """Three go between two readings. Were as many to come, there would be nothing to see it by."""

    def change(shelf: Shelf) -> None:
        shelf.ours = [*shelf.ours[3:], *(f"52:54:01:00:00:{n:02x}" for n in range(come))]

    shelf = Shelf(150, shuffled=True, after={2: change})
    assert sorted(found(shelf)) == sorted(shelf.ours)


# -- the empty page ----------------------------------------------------------------------------------------------------


def test_an_empty_page_is_not_believed() -> None:
    shelf, time = Shelf(3, empty={1}), Time()
    assert found(shelf, time=time) == shelf.ours
    assert (shelf.calls, time.slept) == (2, [])


def test_nor_is_one_in_the_middle() -> None:
    shelf = Shelf(250, empty={2})
    assert found(shelf) == shelf.ours
    assert shelf.calls == 4


def test_nor_is_one_after_another() -> None:
    shelf, time = Shelf(3, empty={1, 2, 4, 5}), Time()
    assert found(shelf, time=time) == shelf.ours
    assert shelf.calls == 2 + 1 + 3
    assert time.slept == [0.25, 0.5]


@pytest.mark.parametrize("offset", [0, 100])
def test_nor_are_many(offset: int) -> None:
    shelf, time = Shelf(offset + 3, empty=range(1 + offset // 100, 99)), Time()
    with pytest.raises(
        errors.Unreachable, match=f"counts {offset + 3} rows, but gives none after the first {offset}"
    ) as caught:
        found(shelf, time=time)
    assert not caught.value.ambiguous
    assert len(time.slept) == 3


def test_without_retries_it_is_asked_for_again_all_the_same() -> None:
    assert len(found(Shelf(3, empty={1}), retries=0)) == 3
    with pytest.raises(errors.Unreachable):
        found(Shelf(3, empty=range(1, 99)), retries=0)


def test_no_rows_among_all_that_are_counted() -> None:
    """The first look of a new node, where total_count is of the whole account."""
    shelf, time = Shelf(0, counts="all"), Time()
    client = cloud(shelf, time)
    assert client.describe_nics(name=OURS) == []
    assert (shelf.calls, time.slept) == (3, [])
    assert client.describe_nics(name=OURS) == []
    assert shelf.calls == 5  # what is counted is known by now


def test_what_is_counted_is_known_of_each_action_by_itself() -> None:
    shelf = Shelf(0, counts="all")
    client = cloud(shelf)
    client.describe_nics(name=OURS)
    shelf.counts = "filtered"
    shelf.ours, shelf.empty = [*Shelf(1).ours], range(99)
    with pytest.raises(errors.Unreachable):
        client.describe_vxnets(["vxnet-a"])
    with pytest.raises(errors.Unreachable):  # zones are not filtered: there is no question what is counted
        client.describe_zones()


@pytest.mark.parametrize("refusal", [errors.NotFound("no such job"), errors.Denied("badly formed")])
def test_a_server_that_refuses_what_there_is_not_counts_what_is_asked_for(refusal: errors.HostnicError) -> None:
    class Jobs:
        asked: t.ClassVar[list[t.Any]] = []

        def call(self, action: str, params: t.Mapping[str, t.Any], within: t.Optional[float] = None) -> Answer:
            self.asked.append(params["jobs"])
            if params["jobs"] != ["j-1"]:
                raise refusal
            return {"total_count": 1, "job_set": []}

    with pytest.raises(errors.Unreachable, match="counts 1 rows"):
        QingCloud(t.cast(Connection, Jobs()), Patience(retries=0)).describe_jobs(["j-1"])
    assert Jobs.asked == [["j-1"], ["j-1"], ["j-nosuch00"], ["j-1"]]
    Jobs.asked.clear()


def test_ids_that_are_all_found_need_no_second_reading() -> None:
    shelf = Shelf(120, most=60, counts="all", after={1: lambda shelf: shelf.ours.append("52:54:01:00:00:00")})
    assert len(cloud(shelf).describe_nics(nic_ids=shelf.ours[:100])) == 100
    assert shelf.calls == 2


def test_ids_that_are_all_found_end_the_reading() -> None:
    shelf = Shelf(150, counts="all")
    assert len(cloud(shelf).describe_nics(nic_ids=shelf.ours[:120])) == 120
    assert shelf.calls == 2
    assert len(cloud(shelf).describe_nics(nic_ids=[*shelf.ours[:3], "52:54:ff:00:00:00"])) == 3
    assert shelf.calls == 2 + 3 + 1
