"""Quota shares for a week of `simulate`: teams of its users, each with a part of the machine.

Each share has an equal part, lends what it does not use and borrows what it can get; in every third
one a job stops others of a lower priority.
"""

from msgspec.structs import replace

from batchyard.sim.trace import Trace

_POLICY = """
[[schedulingPolicies]]
name = "quota"
quotaSharePolicy = { idleResourceAssignmentStrategy = "FIFO" }
"""
_SHARE = """
[[quotaShares]]
quotaShareName = "team{number}"
jobQueue = "jq"
capacityLimits = [{{ capacityUnit = "VCPU", maxCapacity = {vcpus} }}]
resourceSharingConfiguration = {{ strategy = "LEND_AND_BORROW", borrowLimit = -1 }}
preemptionConfiguration = {{ inSharePreemption = "{within}" }}
"""
_EVERY_WITHIN = 3
_PRIORITIES = (0, 0, 0, 5, 9)


def quota_parts(text: str, *, count: int, vcpus: int) -> str:
    """Give a configuration that ends with its queue quota shares, which have it all together."""
    shares = "".join(
        _SHARE.format(
            number=number,
            vcpus=max(1, vcpus // count),
            within="DISABLED" if number % _EVERY_WITHIN else "ENABLED",
        )
        for number in range(count)
    )
    return f'{_POLICY}{text}schedulingPolicyArn = "quota"\n{shares}'


def in_teams(trace: Trace, count: int) -> Trace:
    """Put the jobs of a trace into shares by their users, with priorities in turn."""
    jobs = [
        replace(
            job,
            share_identifier=f"team{int((job.user or 'user0').removeprefix('user')) % count}",
            scheduling_priority=_PRIORITIES[at % len(_PRIORITIES)],
        )
        for at, job in enumerate(trace.jobs)
    ]
    return Trace(name=trace.name, jobs=jobs)
