"""The torture's own arithmetic: what it would say of a portal that loses, repeats or doubles."""

import pytest

from tests.torture.report import Fault, Phase, Report, percentile


def arrival(at, number, message=None, signed=None):
    return at, number, message or f"m{number}", int(at if signed is None else signed)


def phase(name, begun, *faults):
    return Phase(name, begun, list(faults))


def test_an_acknowledged_number_that_never_came_is_lost():
    report = Report([phase("one", 0)], {1: 1.0, 2: 2.0}, [arrival(1.1, 1)])
    assert report.lost == [2]
    assert report.rows[0].lost == 1
    assert report.problems()


def test_so_is_one_that_came_by_itself_and_in_no_batch():
    report = Report([phase("one", 0)], {1: 1.0, 2: 2.0}, [arrival(1.1, 1), arrival(2.1, 2)], {1})
    assert report.lost == [2]
    assert report.rows[0].lost == 1
    assert report.problems()


def test_what_nobody_was_promised_may_come():
    report = Report([phase("one", 0)], {1: 1.0}, [arrival(1.1, 1), arrival(1.2, 2)])
    assert (report.lost, report.problems()) == ([], [])


def test_a_repetition_is_explained_by_a_fault_that_met_it():
    fault = Fault(1.2, "SIGKILL", frozenset({"m1"}))
    report = Report([phase("one", 0, fault)], {1: 1.0}, [arrival(1.1, 1), arrival(21.0, 1)])
    assert (report.duplicates, report.rows[0].duplicates, report.problems()) == (1, 1, [])
    assert report.as_object([])["in_flight_bound"] == 1


@pytest.mark.parametrize("in_flight", [frozenset(), frozenset({"m2", "m3"})])
def test_else_by_nothing_whatever_the_bound_allows(in_flight):
    fault = Fault(1.2, "SIGKILL", in_flight)
    report = Report([phase("one", 0, fault)], {1: 1.0}, [arrival(1.1, 1), arrival(21.0, 1)])
    assert report.unexplained == ["m1"]
    assert report.problems()


def test_one_fault_explains_one_repetition():
    fault = Fault(1.2, "SIGKILL", frozenset({"m1"}))
    report = Report([phase("one", 0, fault)], {1: 1.0}, [arrival(1.1, 1), arrival(21.0, 1), arrival(41.0, 1)])
    assert report.unexplained == ["m1"]


def test_a_post_that_became_two_events_is_told():
    report = Report([phase("one", 0)], {2: 1.0}, [arrival(1.1, 2, "a"), arrival(1.2, 2, "b")])
    assert report.doubled == [2]
    assert report.problems()


def test_a_signature_by_a_wrong_clock_is_told():
    report = Report([phase("one", 0)], {1: 1000.0}, [arrival(1000.0, 1, signed=1600)])
    assert report.problems()


def test_recovery_is_until_something_acknowledged_later_arrives():
    fault = Fault(10.0, "SIGKILL")
    acks = {1: 9.0, 2: 11.0, 3: 12.0}
    arrivals = [arrival(10.5, 1), arrival(15.0, 3), arrival(16.0, 2)]
    report = Report([phase("one", 0), phase("two", 9.5, fault)], acks, arrivals)
    assert report.rows[1].recoveries == [5.0]
    assert [row.acked for row in report.rows] == [1, 2]


def test_what_arrived_before_its_sender_heard_of_it_shows_no_recovery():
    fault = Fault(10.0, "SIGKILL")
    report = Report([phase("one", 0, fault)], {1: 11.0, 3: 12.0}, [arrival(9.0, 1), arrival(13.0, 3)])
    assert report.rows[0].recoveries == [3.0]


def test_percentiles():
    assert percentile([], 0.5) is None
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([1.0] * 99 + [9.0], 0.99) == 9.0
