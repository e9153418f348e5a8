"""Who gains and who loses under another policy, job by job, against the definitions of both.

Goal: no trace is found of which a start in either schedule, a count or a mean differs. Method: one
trace of users, first come, first served on two sizes of a machine; each schedule is counted alone.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.sim.config import parse_config
from batchyard.sim.gains import compare_schedules
from batchyard.sim.reading import read_trace
from tests.validation import definitions as by
from tests.validation.running import fargate

S = 1000
USERS = ("ann", "ben")

jobs_of_users = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.integers(1, 9),
        st.sampled_from((0, 1, 5, 30)),
        st.sampled_from(USERS),
    ),
    min_size=1,
    max_size=25,
)


@settings(deadline=None)
@given(drawn=jobs_of_users, before=st.integers(1, 10), after=st.integers(1, 10))
def test_two_sizes_of_a_machine(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[int, int, int, str]],
    before: int,
    after: int,
) -> None:
    drawn = sorted(drawn, key=lambda job: job[0])
    lines = ["id,submit_s,vcpus,run_s,memory_mib,user"]
    lines += [
        f"{number},{submit},{width},{run},1,{user}"
        for number, (submit, width, run, user) in enumerate(drawn)
    ]
    path = tmp_path_factory.getbasetemp() / "gains.csv"
    path.write_text("\n".join(lines) + "\n")
    sizes = [before, after]
    configs = [parse_config(fargate(each), name=str(each), where="test") for each in sizes]

    found = compare_schedules(read_trace(path), configs[0], configs[1])

    first, second = (by.first_come([job[:3] for job in drawn], size) for size in sizes)
    assert [each.before_ms for each in found.jobs] == [in_ms(at) for at in first]
    assert [each.after_ms for each in found.jobs] == [in_ms(at) for at in second]
    laters = {
        user: [
            (new - old) * S
            for old, new, job in zip(first, second, drawn, strict=True)
            if job[3] == user and old is not None and new is not None
        ]
        for user in USERS
    }
    for group in found.groups:
        assert group.share_identifier is not None
        of_user = laters[group.share_identifier]
        assert group.job_count == sum(job[3] == group.share_identifier for job in drawn)
        assert group.later_count == sum(each > 0 for each in of_user)
        assert group.earlier_count == sum(each < 0 for each in of_user)
        mean = sum(of_user) / len(of_user) if of_user else 0.0
        assert group.later_ms_mean == pytest.approx(mean)


def in_ms(at: int | None) -> int | None:
    return None if at is None else at * S
