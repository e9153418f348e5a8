"""A line beside a plain list of who is in it, sorted each time."""

from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from batchyard.core import waiting_line
from batchyard.core.waiting_line import WaitingLine
from batchyard.model.ids import JobId, child_id
from tests.builders import job_id

#: What happens to a line: a job or a child of job 0, its priority, whether it was tried, and how
#: far somebody reads afterwards.
STEPS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 1), st.booleans(), st.integers(0, 12)), max_size=40
)
ARRAY = job_id(0)
SIZE = 6

#: Priority first, then those that were tried, then submission, then the child.
_Place = tuple[int, int, int, int, JobId]


class PlainLine:
    def __init__(self) -> None:
        self.places: dict[JobId, _Place] = {}
        self.array: tuple[int, bytearray] | None = None

    def in_order(self) -> list[_Place]:
        places = list(self.places.values())
        if self.array is not None:
            priority, codes = self.array
            places += [
                (-priority, 1, 0, index, child_id(ARRAY, index))
                for index, code in enumerate(codes)
                if not code
            ]
        return sorted(places)


@given(STEPS, st.booleans())
def test_a_line_is_read_in_order_however_far_it_was_read_before(steps, has_array) -> None:
    line, plain, codes = WaitingLine(), PlainLine(), bytearray(SIZE)
    if has_array:
        line.join_array(ARRAY, 0, codes)
        plain.array = (0, codes)
    for number, priority, is_retry, read in steps:
        # Numbers below the size are children that have a story of their own, others whole jobs.
        is_child = has_array and number < SIZE
        each = child_id(ARRAY, number) if is_child else job_id(number + 1)
        seq, index = (0, number) if is_child else (number + 1, 0)
        if each in line:
            line.leave(each)
            del plain.places[each]
        else:
            if is_child:
                codes[number] = 1
            line.join(each, seq, index, is_retry=is_retry, priority=priority)
            plain.places[each] = (-priority, 0 if is_retry else 1, seq, index, each)
        if has_array and number == 9 and ARRAY in line:
            line.leave(ARRAY)
            plain.array = None
        expected = plain.in_order()
        names = [place[-1] for place in expected]
        assert list(islice(line, read)) == names[:read]
        assert [place[3] for place in islice(line.places(), read)] == names[:read]
        assert len(line) == len(plain.places) + (plain.array is not None)
        if expected and (plain.array is None or not all(codes)):
            assert line.front_seq() == expected[0][2]
    assert list(line) == [place[-1] for place in plain.in_order()]


def test_entries_of_those_that_left_are_dropped_wherever_they_lie(monkeypatch) -> None:
    monkeypatch.setattr(waiting_line, "_CLEAN_SIZE_MIN", 4)
    line = WaitingLine()
    for number in range(8):
        line.join(job_id(number), number, is_retry=False)
    assert len(list(islice(line, 4))) == 4
    for number in (1, 2, 5, 6):
        line.leave(job_id(number))
    assert len(line._front) + len(line._heap) == 4
    assert list(line) == [job_id(number) for number in (0, 3, 4, 7)]
