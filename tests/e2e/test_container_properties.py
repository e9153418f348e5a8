"""What `containerProperties` say, as a job sees it from inside: or why it is refused.

One yard whose operator allows much (devices, GPUs, file systems, the endpoint), and one whose
operator allows privileged containers. Every job is real; every expectation is what the container
itself, the kernel or a neighbour saw.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.live_yard import LiveYard, live_yard, until
from tests.e2e.seen import (
    FARGATE_QUEUE,
    HOLD,
    fargate,
    limit,
    linux,
    see,
    start,
    volume,
    why_not,
)

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

JOB_ROLE = "arn:aws:iam::000000000000:role/jobs"
S3_FILES = "arn:aws:s3files:us-east-1:000000000000:file-system/fs-0123456789abcdef0"
GPU_QUEUE = "gpus"
GPUS = ("GPU-one", "GPU-two")


@pytest.fixture(scope="module")
def yard() -> Iterator[LiveYard]:
    with tempfile.TemporaryDirectory(prefix="by-fs-") as folder:
        for name in ("shared", "shared/deep", "point", "s3"):
            (Path(folder) / name).mkdir()
            (Path(folder) / name / "who").write_text(Path(name).name)
        file_systems = {
            "fs-11111111": f"{folder}/shared",
            "fsap-22222222": f"{folder}/point",
            S3_FILES: f"{folder}/s3",
        }
        with live_yard(
            machine_vcpus=128,
            machine_memory_mib=1_048_576,
            file_systems=",".join(f"{key}={path}" for key, path in file_systems.items()),
            devices="/dev/kmsg",
            gpus=",".join(GPUS),
        ) as made:
            made.make_queue()
            made.make_other_queue(FARGATE_QUEUE, kind="FARGATE")
            made.make_other_queue(GPU_QUEUE, instance_types=("g7e.2xlarge", "g7e.12xlarge"))
            yield made


@pytest.fixture(scope="module")
def privileged_yard() -> Iterator[LiveYard]:
    with live_yard(is_privileged_allowed=True) as made:
        made.make_queue()
        yield made


# -- who runs, and within which bounds --------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        (None, "0:0"),
        ("nobody", "65534:65534"),
        ("nobody:nogroup", "65534:65534"),
        ("nobody:root", "65534:0"),
        ("nobody:7", "65534:7"),
        ("1000", "1000:0"),
        ("1000:1001", "1000:1001"),
        ("1000:nogroup", "1000:65534"),
    ],
)
def test_every_form_of_user(yard: LiveYard, user: str | None, ids: str) -> None:
    assert see(yard, "echo $(id -u):$(id -g)", user=user) == [ids]


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("ghost", "unable to find user ghost: no matching entries in passwd file"),
        ("nobody:ghosts", "unable to find group ghosts: no matching entries in group file"),
    ],
)
def test_a_user_that_the_image_does_not_know(yard: LiveYard, user: str, text: str) -> None:
    assert why_not(yard, user=user) == f"CannotStartContainerError: {text}"


def test_ulimits(yard: LiveYard) -> None:
    """-1 is no limit, as far as the server itself has none."""
    limits = {"nofile": (100, 200), "core": (-1, -1), "cpu": (7, -1), "fsize": (512, 1024)}
    shown = see(
        yard,
        "for each in n c t f; do echo $(ulimit -S$each) $(ulimit -H$each); done",
        ulimits=[
            {"name": name, "softLimit": soft, "hardLimit": hard}
            for name, (soft, hard) in limits.items()
        ],
    )
    assert shown == ["100 200", "unlimited unlimited", "7 unlimited", "1 2"]


def test_a_ulimit_above_the_servers_own_becomes_the_servers_own(yard: LiveYard) -> None:
    limits = [{"name": "nofile", "softLimit": 1 << 30, "hardLimit": 1 << 30}]
    [shown] = see(yard, "ulimit -Hn", ulimits=limits)
    assert shown == "unlimited" or 0 < int(shown) <= 1 << 30
    assert int(shown) == 1 << 30 or "ulimit_clamped" in yard.log()


def test_an_init_process_is_the_first_and_buries_orphans(yard: LiveYard) -> None:
    if not (shutil.which("tini-static") or shutil.which("catatonit")):
        pytest.skip("no static init on this machine")
    orphan = "sh -c 'sleep 0.01 &'; usleep 200000; ps -o stat,comm | grep -c '^Z' || true"
    assert see(yard, "cat /proc/1/comm; true", **linux(initProcessEnabled=False)) == ["sh"]
    first, zombies = see(yard, f"cat /proc/1/comm; {orphan}", **linux(initProcessEnabled=True))
    assert first == "docker-init"
    assert zombies == "0"


def test_a_root_that_is_read_only(yard: LiveYard) -> None:
    script = "(echo x > /tmp/x) 2>&1; echo y > /scratch/y && cat /scratch/y; echo z > /ledger/z\n"
    volume = {
        "volumes": [{"name": "scratch", "host": {}}],
        "mountPoints": [{"sourceVolume": "scratch", "containerPath": "/scratch"}],
    }
    refused = "sh: can't create /tmp/x: Read-only file system"
    assert see(yard, script, readonlyRootFilesystem=True, **volume) == [refused, "y"]
    assert see(yard, script, readonlyRootFilesystem=False, **volume) == ["y"]
    assert (yard.ledger_path / "z").read_text() == "z\n"


# -- memory -----------------------------------------------------------------------------------


def mount_of(path: str) -> str:
    return f"awk '$2 == \"{path}\" {{print $3, $4}}' /proc/mounts"


def test_shared_memory(yard: LiveYard) -> None:
    assert "size=65536k" in see(yard, mount_of("/dev/shm"))[0]
    shown = see(yard, mount_of("/dev/shm"), **linux(sharedMemorySize=3))
    assert "size=3072k" in shown[0]


def test_tmpfs(yard: LiveYard) -> None:
    full = "dd if=/dev/zero of=/fast/f bs=1M count=3 2>/dev/null || du -k /fast/f | cut -f 1"
    parameters = linux(
        tmpfs=[
            {"containerPath": "/fast", "size": 2, "mountOptions": ["rw", "noatime", "mode=711"]},
            {"containerPath": "/fixed", "size": 1, "mountOptions": ["ro", "exec"]},
        ]
    )
    look = f"{mount_of('/fast')}; {mount_of('/fixed')}; stat -c %a /fast; {full}"
    fast, fixed, mode, kib = see(yard, look, **parameters)
    assert fast.startswith("tmpfs rw,nosuid,nodev,noexec,noatime,")
    assert "size=2048k" in fast
    assert re.match(r"tmpfs ro,nosuid,nodev,relatime,size=1024k", fixed)
    assert (mode, kib) == ("711", "2048")


def test_every_mount_option_of_tmpfs_that_may_be_registered_can_be_mounted(yard: LiveYard) -> None:
    """All at once would contradict each other: those that need a value have one."""
    options = [
        *("defaults", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async"),
        *("dirsync", "mand", "nomand", "atime", "noatime", "diratime", "nodiratime"),
        *("relatime", "norelatime", "strictatime", "nostrictatime"),
        *("mode=1777", "uid=7", "gid=8", "nr_inodes=100", "nr_blocks=100"),
    ]
    mounts = [
        {"containerPath": f"/t{number}", "size": 1, "mountOptions": [option]}
        for number, option in enumerate(options)
    ]
    look = (
        "ls -d /t[0-9]* | wc -l; stat -c '%u %g' /t22 /t23; grep -c ' /t[0-9]* tmpfs ' /proc/mounts"
    )
    shown = see(yard, look, **linux(tmpfs=mounts))
    assert shown == [str(len(options)), "7 0", "0 8", str(len(options))]


def test_memory_and_swap_are_limits_of_the_kernel(yard: LiveYard) -> None:
    """Read where the kernel keeps them, while the job runs."""
    job_id = start(yard, HOLD.format("swap-over"), **linux(maxSwap=5, swappiness=11))
    plain = start(yard, HOLD.format("swap-over"))
    yard.reach("RUNNING", job_id, plain)
    mib = 1 << 20
    if (found := limit(yard, job_id, "memory.limit_in_bytes")) is not None:
        assert found == str(32 * mib)
        assert limit(yard, job_id, "memory.memsw.limit_in_bytes") in (None, str(37 * mib))
        assert limit(yard, plain, "memory.memsw.limit_in_bytes") in (None, str(32 * mib))
        assert limit(yard, job_id, "memory.swappiness") == "11"
        assert limit(yard, job_id, "cpu.cfs_quota_us") == "-1"
        assert limit(yard, job_id, "cpu.shares") == "1024"
    else:
        assert limit(yard, job_id, "memory.max") == str(32 * mib)
        assert limit(yard, job_id, "memory.swap.max") in (None, str(5 * mib))
        assert limit(yard, plain, "memory.swap.max") in (None, "0")
        assert limit(yard, job_id, "cpu.max") == "max 100000"
    yard.release("swap-over")
    yard.ended(job_id, plain)


def test_memory_that_runs_out(yard: LiveYard) -> None:
    [job] = yard.ended(start(yard, "dd if=/dev/zero of=/dev/null bs=200M count=1"))
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 137)
    assert job["container"]["reason"] == "OutOfMemoryError: Container killed due to memory usage"


def test_vcpus_and_memory_as_aws_had_them_once(yard: LiveYard) -> None:
    job_id = start(
        yard,
        HOLD.format("deprecated-over"),
        resourceRequirements=None,
        vcpus=2,
        memory=16,
        submission={"containerOverrides": {"memory": 24}},
    )
    yard.reach("RUNNING", job_id)
    memory = limit(yard, job_id, "memory.limit_in_bytes") or limit(yard, job_id, "memory.max")
    assert memory == str(24 << 20)
    assert limit(yard, job_id, "cpu.shares") in (None, "2048")
    shown = yard.job(job_id)["container"]
    assert (shown["vcpus"], shown["memory"]) == (2, 24)
    yard.release("deprecated-over")
    yard.ended(job_id)


# -- devices, privileges, GPUs ----------------------------------------------------------------


def test_devices_that_the_operator_allows(yard: LiveYard) -> None:
    given = [{"hostPath": "/dev/kmsg", "containerPath": "/dev/log0", "permissions": ["WRITE"]}]
    look = "[ -c /dev/log0 ] && echo there; (: >/dev/log0) && echo writable; ls /dev/kmsg 2>&1"
    assert see(yard, f"{look}; true", **linux(devices=given)) == [
        "there",
        "writable",
        "ls: /dev/kmsg: No such file or directory",
    ]
    assert see(yard, "ls /dev/kmsg", **linux(devices=[{"hostPath": "/dev/kmsg"}])) == ["/dev/kmsg"]
    assert why_not(yard, **linux(devices=[{"hostPath": "/dev/full"}])) == (
        "CannotCreateContainerError: device /dev/full is not allowed; allowed are: /dev/kmsg"
    )


PRIVILEGED = (
    "grep CapEff /proc/self/status; [ -c /dev/kmsg ] && echo kmsg; mkdir -p /m;"
    " mount -t tmpfs none /m 2>/dev/null && echo mounted; true"
)


def test_privileged_containers_need_the_operators_word(
    yard: LiveYard, privileged_yard: LiveYard
) -> None:
    assert why_not(yard, privileged=True) == (
        "CannotCreateContainerError: privileged containers are not allowed on this host"
    )
    plain = see(privileged_yard, PRIVILEGED, privileged=False)
    mighty = see(privileged_yard, PRIVILEGED, privileged=True)
    assert len(plain) == 1
    assert mighty[1:] == ["kmsg", "mounted"]
    own, all_of_them = (int(each[0].split()[1], 16) for each in (plain, mighty))
    assert own & ~all_of_them == 0
    assert own != all_of_them


def gpu_job(yard: LiveYard, count: int, hold: str) -> str:
    return start(
        yard,
        f"echo $NVIDIA_VISIBLE_DEVICES > /ledger/gpu-$AWS_BATCH_JOB_ID\n{HOLD.format(hold)}",
        queue=GPU_QUEUE,
        resourceRequirements=[
            {"type": "VCPU", "value": "1"},
            {"type": "MEMORY", "value": "16"},
            {"type": "GPU", "value": str(count)},
        ],
    )


def gpus_seen(yard: LiveYard, job_id: str) -> str:
    path = yard.ledger_path / f"gpu-{job_id}"
    until(lambda: path.exists() and path.read_text(), "the container's word")
    return path.read_text().strip()


def test_a_gpu_belongs_to_one_job(yard: LiveYard) -> None:
    """Three jobs want one of two GPUs: the third waits, and gets the one that becomes free."""
    first = gpu_job(yard, 1, "first-gpu-over")
    second, third = (gpu_job(yard, 1, "gpus-over") for _ in range(2))
    yard.reach("RUNNING", first, second)
    # It is at the head of the queue: what needs no GPU cannot pass it, but on another queue.
    yard.ended(fargate(yard, "true"))
    assert yard.job(third)["status"] == "RUNNABLE"
    assert {gpus_seen(yard, first), gpus_seen(yard, second)} == set(GPUS)
    yard.release("first-gpu-over")
    yard.reach("RUNNING", third)
    assert gpus_seen(yard, third) == gpus_seen(yard, first)
    both = gpu_job(yard, 2, "gpus-over")
    yard.release("gpus-over")
    assert {job["status"] for job in yard.ended(first, second, third, both)} == {"SUCCEEDED"}
    assert gpus_seen(yard, both).split(",") == list(GPUS)
    assert see(yard, "echo $NVIDIA_VISIBLE_DEVICES") == ["void"]


def test_more_gpus_than_there_are(yard: LiveYard) -> None:
    job_id = gpu_job(yard, 3, "never")
    until(
        lambda: "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT" in reason_of(yard, job_id), "a reason"
    )
    yard.batch.cancel_job(jobId=job_id, reason="too many")
    yard.ended(job_id)


def reason_of(yard: LiveYard, job_id: str) -> str:
    reason: str = yard.job(job_id).get("statusReason", "")
    return reason


# -- files ------------------------------------------------------------------------------------


def test_host_paths_that_the_operator_allows(yard: LiveYard) -> None:
    """At and below the allowed folders; one that is missing is made; the rest is refused."""
    deep = f"{yard.ledger_path}/new/deep"
    assert see(yard, "echo made > /v/f; ls /v", **volume(host={"sourcePath": deep})) == ["f"]
    assert Path(deep, "f").read_text() == "made\n"
    fixed = volume(host={"sourcePath": deep}, is_read_only=True)
    assert see(yard, "cat /v/f; (echo x > /v/x) 2>&1; true", **fixed) == [
        "made",
        "sh: can't create /v/x: Read-only file system",
    ]
    for path in ("/etc", f"{yard.ledger_path}/../data", f"{yard.ledger_path}-other"):
        reason = why_not(yard, **volume(host={"sourcePath": path}))
        assert reason.startswith(f"CannotCreateVolumeError: host path {path} is not allowed")
    (yard.ledger_path / "way-out").symlink_to("/etc")
    reason = why_not(yard, **volume(host={"sourcePath": f"{yard.ledger_path}/way-out"}))
    assert "is not allowed" in reason


def test_volumes_without_a_source_live_with_the_job(yard: LiveYard) -> None:
    """They begin with the image's files, and two mounts of one show the same."""
    twice = volume("/etc", host={})
    twice["mountPoints"].append({"sourceVolume": "v", "containerPath": "/again"})
    script = "grep -c root /etc/passwd; echo x > /etc/mine; cat /again/mine"
    assert see(yard, script, **twice) == ["1", "x"]
    assert see(yard, "ls /again /etc/mine 2>&1 | grep -c mine; true", **twice) == ["1"]


def test_file_systems_are_folders_of_this_machine(yard: LiveYard) -> None:
    efs = {"fileSystemId": "fs-11111111"}
    secure = {
        "transitEncryption": "ENABLED",
        "authorizationConfig": {"accessPointId": "fsap-22222222"},
    }
    other_point = {**secure, "authorizationConfig": {"accessPointId": "fsap-33333333"}}
    s3 = {"fileSystemArn": S3_FILES}
    for source, who in (
        ({"efsVolumeConfiguration": efs}, "shared"),
        ({"efsVolumeConfiguration": {**efs, "rootDirectory": "/deep"}}, "deep"),
        ({"efsVolumeConfiguration": {**efs, "rootDirectory": "/../../deep"}}, "deep"),
        ({"efsVolumeConfiguration": {**efs, **secure}}, "point"),
        ({"efsVolumeConfiguration": {**efs, **other_point}}, "shared"),
        ({"s3filesVolumeConfiguration": s3}, "s3"),
    ):
        job_role = {"jobRoleArn": JOB_ROLE}
        assert see(yard, "cat /v/who", **job_role, **volume(**source)) == [who]
    left = volume(efsVolumeConfiguration={**efs, "rootDirectory": "/left"})
    see(yard, "echo for later > /v/f", **left)
    assert see(yard, "cat /v/f", **left) == ["for later"]
    unmapped = volume(efsVolumeConfiguration={"fileSystemId": "fs-99999999"})
    assert why_not(yard, **unmapped) == (
        "ResourceInitializationError: file system fs-99999999 has no folder on this machine: map it"
        " in the setting file_systems"
    )


# -- Fargate ----------------------------------------------------------------------------------


def test_cpu_on_fargate_is_a_ceiling(yard: LiveYard) -> None:
    """A quarter of a processor, and two, as the kernel keeps it for a loop that never rests."""
    quarter, two = (
        fargate(yard, "trap exit TERM\nwhile :; do :; done", vcpu=vcpu, memory=memory)
        for vcpu, memory in (("0.25", "512"), ("2", "4096"))
    )
    yard.reach("RUNNING", quarter, two)
    for job_id, quota, mib in ((quarter, 25_000, 512), (two, 200_000, 4096)):
        v1 = limit(yard, job_id, "cpu.cfs_quota_us")
        assert v1 == str(quota) or limit(yard, job_id, "cpu.max") == f"{quota} 100000"
        memory = limit(yard, job_id, "memory.limit_in_bytes") or limit(yard, job_id, "memory.max")
        assert memory == str(mib << 20)
    shown = yard.job(quarter)["container"]
    assert "containerInstanceArn" not in shown
    assert shown["fargatePlatformConfiguration"] == {"platformVersion": "LATEST"}
    for job_id in (quarter, two):
        yard.batch.terminate_job(jobId=job_id, reason="seen")
    yard.ended(quarter, two)


def test_what_fargate_does_not_have_is_refused(yard: LiveYard) -> None:
    for members, text in (
        ({"vcpu": "1", "memory": "512"}, r"Fargate resource requirements \(1.00 vCPU, 512 MiB\)"),
        ({"privileged": True}, "'privileged' setting be 'false'"),
        (linux(sharedMemorySize=64), "sharedMemorySize is not applicable for Fargate"),
        (
            {"ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 1}]},
            "ulimits is not applicable for Fargate",
        ),
    ):
        with pytest.raises(yard.batch.exceptions.ClientException, match=text):
            fargate(yard, "true", **members)
    job_id = fargate(
        yard, "cat /v/who", **volume(efsVolumeConfiguration={"fileSystemId": "fs-11111111"})
    )
    yard.ended(job_id)
    assert yard.lines(job_id) == ["shared"]


def test_what_is_not_supported_is_refused_by_name(yard: LiveYard) -> None:
    for members, text in (
        ({"enableExecuteCommand": True}, "enableExecuteCommand"),
        ({"ephemeralStorage": {"sizeInGiB": 30}}, "ephemeralStorage not applicable for EC2"),
        ({"networkConfiguration": {"assignPublicIp": "ENABLED"}}, "not applicable for EC2"),
        ({"runtimePlatform": {"cpuArchitecture": "ARM64"}}, "not applicable for EC2"),
        ({"instanceType": "m5.large"}, "only applicable for multi-node parallel jobs"),
    ):
        with pytest.raises(yard.batch.exceptions.ClientException, match=text):
            start(yard, "true", **members)
