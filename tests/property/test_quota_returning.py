"""A history in which a share gets its limit back while its job is being stopped."""

from msgspec.structs import replace

from batchyard.scheduler.quota import UNLIMITED, QuotaTerms
from tests.property.quota_yard import QuotaYard, judged_round


def test_nobody_is_stopped_for_room_that_a_returning_job_takes_first() -> None:
    """Each round is judged: see `quota_yard`."""
    sharing: dict[str, tuple[bool, int | None]] = {
        "a": (True, UNLIMITED),
        "b": (False, None),
        "c": (True, UNLIMITED),
    }
    yard = QuotaYard(
        {
            name: QuotaTerms(
                name=name,
                limits={"VCPU": 0},
                lends=lends,
                borrow_percent=most,
                preempts_within=False,
            )
            for name, (lends, most) in sharing.items()
        },
        vcpus=8,
    )

    def limit(share: str, **most: int) -> None:
        limits = {unit: 1000 * quantity for unit, quantity in most.items()}
        yard.terms[share] = replace(yard.terms[share], limits=limits)
        judged_round(yard)

    def end(number: int) -> None:
        yard.jobs[number].is_over = True
        judged_round(yard)

    limit("a", VCPU=5)
    for share, vcpus in (("a", 4), ("a", 4), ("a", 4), ("b", 1), ("c", 1)):
        yard.submit(share, VCPU=vcpus)
    judged_round(yard)
    end(0)
    limit("b", VCPU=6, GPU=2)
    end(3)
    borrowers = [yard.submit("c", VCPU=2) for _ in range(2)]
    limit("b", VCPU=0, GPU=1)
    end(4)
    limit("a", VCPU=0)
    for _ in range(2):
        yard.submit("b", VCPU=3)
    limit("c", VCPU=2)
    limit("a", VCPU=6, GPU=1)
    assert all(each.runs for each in borrowers)
    limit("b", VCPU=6, GPU=1)
    assert yard.jobs[1].is_stopping
    assert not any(each.is_stopping for each in borrowers)
