"""Capacity that somebody desired once, on a server whose time we own."""

from batchyard.testing import yard

RESOURCES = {
    "type": "EC2",
    "allocationStrategy": "BEST_FIT_PROGRESSIVE",
    "minvCpus": 0,
    "maxvCpus": 16,
    "desiredvCpus": 4,
    "instanceTypes": ["c6i.large"],
    "instanceRole": "ecsInstanceRole",
    "subnets": ["subnet-1"],
    "securityGroupIds": ["sg-1"],
}


def test_it_does_not_come_back_with_a_change_of_something_else() -> None:
    with yard(instance_boot_s=10, instance_idle_s=60) as made:
        batch = made.client("batch")
        batch.create_compute_environment(
            computeEnvironmentName="ce", type="MANAGED", computeResources=RESOURCES
        )
        made.advance(seconds=11)
        assert len(made.instances()) == 2
        made.advance(minutes=10)
        assert made.instances() == []
        for state in ("DISABLED", "ENABLED"):
            batch.update_compute_environment(computeEnvironment="ce", state=state)
            made.advance(seconds=11)
            assert made.instances() == []
        batch.update_compute_environment(
            computeEnvironment="ce", computeResources={"desiredvCpus": 2}
        )
        made.advance(seconds=11)
        assert len(made.instances()) == 1
