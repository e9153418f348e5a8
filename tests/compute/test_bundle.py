"""Small decisions about what a container is given: its host's name, its mount options."""

import pytest

from batchyard.compute.local.supervisor.bundle import Surroundings
from batchyard.compute.local.supervisor.ocispec import _merged_options

pytestmark = pytest.mark.ours_only


@pytest.mark.parametrize(
    ("task_id", "name"),
    [
        ("0123456789abcdef", "0123456789ab"),
        ("012345678901cdef", "h12345678901"),
        ("short", "short"),
    ],
)
def test_a_host_is_never_called_by_digits_alone(task_id: str, name: str) -> None:
    around = Surroundings(task_id, is_group=False, is_cpu_capped=False)
    assert around.host_name == name


@pytest.mark.parametrize(
    ("wanted", "merged"),
    [
        ([], ["nosuid", "nodev", "noexec"]),
        (["exec", "mode=700"], ["nosuid", "nodev", "exec", "mode=700"]),
        (["suid", "dev", "nosuid"], ["nosuid", "dev", "noexec"]),
        (["mode=1", "mode=2", "noatime"], ["nosuid", "nodev", "noexec", "mode=2", "noatime"]),
    ],
)
def test_the_last_of_two_options_of_a_tmpfs_counts(wanted: list[str], merged: list[str]) -> None:
    assert _merged_options(wanted) == merged
