"""RegisterJobDefinition: containers that are refused, on EC2 and on Fargate."""

from typing import Any

import pytest

from tests.api.conftest import CONTAINER, FARGATE_CONTAINER, ROLE, Yard, requirements

SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:login-a1b2c3"
EFS = {"fileSystemId": "fs-12345678"}
S3_FILES = "arn:aws:s3files:eu-central-1:123456789012:file-system/fs-1"


def container(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**CONTAINER, **changes}.items() if value is not None}


def awslogs(**options: str) -> dict[str, Any]:
    return {"logDriver": "awslogs", "options": options}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": None}, "containerProperties.image must be provided."),
        (
            {"image": "a b"},
            "containerProperties.image must be 1 to 255 letters, digits, and the characters"
            " - _ : . / # @",
        ),
        (
            {"resourceRequirements": requirements(MEMORY="128")},
            "Error executing request, Exception : vCPU is not provided., RequestId: the-request-id",
        ),
        (
            {"resourceRequirements": requirements(VCPU="1")},
            "Error executing request, Exception : Memory is not provided.,"
            " RequestId: the-request-id",
        ),
        (
            {"resourceRequirements": requirements(VCPU="0.5", MEMORY="128")},
            "VCPU must be a whole number for jobs on EC2.",
        ),
        (
            {"resourceRequirements": requirements(VCPU="many", MEMORY="128")},
            "VCPU value many must be a number greater than 0.",
        ),
        (
            {"resourceRequirements": requirements(VCPU="0", MEMORY="128")},
            "VCPU value 0 must be a number greater than 0.",
        ),
        (
            {"resourceRequirements": requirements(VCPU="1", MEMORY="3")},
            "MEMORY value 3 must be a whole number of MiB, at least 4.",
        ),
        (
            {"resourceRequirements": requirements(VCPU="1", MEMORY="128", GPU="0.5")},
            "GPU value 0.5 must be a whole number greater than 0.",
        ),
        (
            {"resourceRequirements": requirements(VCPU="1", MEMORY="128", GPU="0")},
            "GPU value 0 must be a whole number greater than 0.",
        ),
        (
            {"resourceRequirements": requirements(DISK="1")},
            "resourceRequirements type DISK is not one of GPU, VCPU, MEMORY.",
        ),
        (
            {"resourceRequirements": requirements(VCPU="1") * 2},
            "resourceRequirements type VCPU is given more than once.",
        ),
        ({"user": "no spaces"}, "User 'no spaces' does not match regex"),
        ({"environment": [{"value": "1"}]}, "Environment variables must have a name."),
        (
            {"environment": [{"name": "AWS_BATCH_X", "value": "1"}]},
            "Environment variables cannot start with AWS_BATCH.",
        ),
        (
            {"secrets": [{"name": "a", "valueFrom": "b"}]},
            "When you are specifying container secrets, you must also specify a value for"
            " 'executionRoleArn'.",
        ),
        *(
            (
                {"executionRoleArn": ROLE, "secrets": [{"name": "a", "valueFrom": value}]},
                f"secrets.valueFrom: {value!r} {problem}.",
            )
            for value, problem in (
                ("", "is not the name of an SSM parameter"),
                ("no spaces", "is not the name of an SSM parameter"),
                ("arn:aws:s3:::bucket", "is not the ARN of a secret or of an SSM parameter"),
                (f"{SECRET}:key:stage:id:more", "is not the ARN of a secret"),
                (
                    f"{SECRET}::AWSCURRENT:some-id",
                    "names both a version stage and a version id",
                ),
                (
                    "arn:aws:ssm:eu-central-1:123456789012:parameters/a",
                    "is not the ARN of an SSM parameter",
                ),
            )
        ),
        (
            {
                "executionRoleArn": ROLE,
                "environment": [{"name": "a", "value": "1"}],
                "secrets": [{"name": "a", "valueFrom": "b"}],
            },
            "The secret name must be unique and not shared with any new or existing environment"
            " variables set on the container, such as 'a'.",
        ),
        (
            {"executionRoleArn": ROLE, "secrets": [{"name": "AWS_BATCH_A", "valueFrom": "b"}]},
            "Environment variables cannot start with AWS_BATCH.",
        ),
        (
            {"enableExecuteCommand": True},
            "containerProperties.enableExecuteCommand is not supported yet by batchyard.",
        ),
        (
            {"instanceType": "c5.large"},
            "instanceType is only applicable for multi-node parallel jobs.",
        ),
        (
            {"repositoryCredentials": {"credentialsParameter": "arn"}},
            "containerProperties.repositoryCredentials.credentialsParameter: 'arn' is not the ARN"
            " of a secret.",
        ),
        (
            {
                "repositoryCredentials": {
                    "credentialsParameter": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:r"
                    ":password::"
                }
            },
            "containerProperties.repositoryCredentials.credentialsParameter:"
            " 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:r:password::' is not the ARN of"
            " a secret.",
        ),
        (
            {"networkConfiguration": {"assignPublicIp": "ENABLED"}},
            "networkConfiguration not applicable for EC2.",
        ),
        (
            {
                "volumes": [
                    {"name": "v", "host": {"sourcePath": "/a"}, "efsVolumeConfiguration": EFS}
                ]
            },
            "volumes v must not have both host and efsVolumeConfiguration.",
        ),
        *(
            (
                {"volumes": [{"name": "v", "efsVolumeConfiguration": {**EFS, **members}}]},
                f"efsVolumeConfiguration{text}",
            )
            for members, text in (
                ({"fileSystemId": "vol-1"}, ".fileSystemId vol-1 is not valid."),
                (
                    {"rootDirectory": "/" * 4097},
                    ".rootDirectory must be at most 4096 characters long.",
                ),
                (
                    {"transitEncryptionPort": 65_536},
                    ".transitEncryptionPort must be between 0 and 65535.",
                ),
                (
                    {"authorizationConfig": {"accessPointId": "fsap-1"}},
                    ".transitEncryption must be ENABLED where accessPointId is given.",
                ),
                (
                    {"authorizationConfig": {"accessPointId": "1"}},
                    ".accessPointId 1 is not valid.",
                ),
                (
                    {
                        "transitEncryption": "ENABLED",
                        "rootDirectory": "/a",
                        "authorizationConfig": {"accessPointId": "fsap-1"},
                    },
                    ".rootDirectory must be / or absent where accessPointId is given.",
                ),
                (
                    {"authorizationConfig": {"iam": "ENABLED"}},
                    ".transitEncryption must be ENABLED where iam is.",
                ),
                (
                    {"transitEncryption": "ENABLED", "authorizationConfig": {"iam": "ENABLED"}},
                    ": a job role must be given where iam is ENABLED.",
                ),
            )
        ),
        (
            {
                "volumes": [
                    {"name": "v", "efsVolumeConfiguration": {**EFS, "transitEncryption": "YES"}}
                ]
            },
            "transitEncryption YES is not one of ENABLED, DISABLED.",
        ),
        (
            {"volumes": [{"name": "v", "s3filesVolumeConfiguration": {"fileSystemArn": "fs-1"}}]},
            "s3filesVolumeConfiguration.fileSystemArn fs-1 is not an ARN.",
        ),
        (
            {
                "volumes": [
                    {
                        "name": "v",
                        "s3filesVolumeConfiguration": {
                            "fileSystemArn": S3_FILES,
                            "transitEncryptionPort": -1,
                        },
                    }
                ]
            },
            "s3filesVolumeConfiguration.transitEncryptionPort must be between 0 and 65535.",
        ),
        (
            {"volumes": [{"name": "v", "host": {"sourcePath": "data"}}]},
            "volumes.host.sourcePath data must be an absolute path.",
        ),
        (
            {"volumes": [{"name": "v"}, {"name": "v"}]},
            "volumes.name v is given more than once.",
        ),
        (
            {"volumes": [{"name": "a b"}]},
            "volumes.name must be 1 to 255 letters, digits, hyphens and underscores.",
        ),
        (
            {"mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]},
            "mountPoints.sourceVolume v is not a volume.",
        ),
        (
            {"volumes": [{"name": "v"}], "mountPoints": [{"sourceVolume": "v"}]},
            "mountPoints.containerPath must be an absolute path.",
        ),
        (
            {"linuxParameters": {"devices": [{"hostPath": "null"}]}},
            "devices.hostPath must be an absolute path.",
        ),
        (
            {"linuxParameters": {"devices": [{"hostPath": "/dev/null", "containerPath": "null"}]}},
            "devices.containerPath must be an absolute path.",
        ),
        (
            {"linuxParameters": {"devices": [{"hostPath": "/dev/null", "permissions": ["RUN"]}]}},
            "devices.permissions RUN is not one of READ, WRITE, MKNOD.",
        ),
        (
            {"linuxParameters": {"maxSwap": -1}},
            "linuxParameters.maxSwap must not be below 0.",
        ),
        (
            {"linuxParameters": {"swappiness": 101}},
            "linuxParameters.swappiness must be between 0 and 100.",
        ),
        (
            {"linuxParameters": {"sharedMemorySize": 0}},
            "linuxParameters.sharedMemorySize must be at least 1 MiB.",
        ),
        (
            {"linuxParameters": {"tmpfs": [{"containerPath": "/t", "size": 0}]}},
            "tmpfs.size must be at least 1 MiB.",
        ),
        (
            {
                "linuxParameters": {
                    "tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["quick"]}]
                }
            },
            "tmpfs.mountOptions quick is not a mount option.",
        ),
        (
            {"ulimits": [{"name": "wishes", "softLimit": 1, "hardLimit": 2}]},
            "ulimits name wishes is not one of core, cpu, data, fsize, locks, memlock, msgqueue,"
            " nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack.",
        ),
        (
            {"ulimits": [{"name": "core", "softLimit": 3, "hardLimit": 2}]},
            "ulimits core: softLimit must not be above hardLimit.",
        ),
        *(
            (
                {"logConfiguration": {"logDriver": driver}},
                f"logDriver {driver} is not supported yet by batchyard.",
            )
            for driver in ("awsfirelens", "fluentd", "gelf", "journald", "splunk", "syslog")
        ),
        (
            {"logConfiguration": {"logDriver": "paper"}},
            "logDriver paper is not one of awsfirelens, awslogs, fluentd, gelf, journald,"
            " json-file, none, splunk, syslog.",
        ),
        (
            {"logConfiguration": {"logDriver": "json-file", "options": {"tag": "t"}}},
            "logConfiguration option tag is not supported yet by batchyard.",
        ),
        (
            {"logConfiguration": {"logDriver": "none", "options": {"max-size": "1m"}}},
            "logConfiguration option max-size is not supported yet by batchyard.",
        ),
        (
            {
                "logConfiguration": {
                    **awslogs(),
                    "secretOptions": [{"name": "a", "valueFrom": "b"}],
                }
            },
            "logConfiguration.secretOptions is not supported yet by batchyard.",
        ),
        (
            {"logConfiguration": awslogs(**{"awslogs-format": "json/emf"})},
            "logConfiguration option awslogs-format is not supported yet by batchyard.",
        ),
        (
            {"logConfiguration": awslogs(**{"awslogs-region": "Moon 1"})},
            "awslogs-region Moon 1 is not a region.",
        ),
        (
            {"logConfiguration": awslogs(**{"awslogs-group": "a b"})},
            "awslogs-group a b is not a valid log group name.",
        ),
        (
            {"logConfiguration": awslogs(**{"awslogs-stream-prefix": "a:b"})},
            "awslogs-stream-prefix a:b is not valid in a log stream name.",
        ),
    ],
)
async def test_containers_that_are_refused(yard: Yard, changes, message):
    refused = await yard.refused(
        "RegisterJobDefinition",
        jobDefinitionName="jd",
        type="container",
        containerProperties=container(**changes),
    )
    assert refused == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vcpus": 1},
            "vcpus is not applicable for Fargate. Use resource requirements instead.",
        ),
        (
            {"memory": 512},
            "memory is not applicable for Fargate. Use resource requirements instead.",
        ),
        (
            {"privileged": True},
            "Fargate requires that the 'privileged' setting be 'false' at the container level.",
        ),
        (
            {"ulimits": [{"name": "core", "softLimit": 1, "hardLimit": 2}]},
            "ulimits is not applicable for Fargate.",
        ),
        (
            {"linuxParameters": {"sharedMemorySize": 64}},
            "sharedMemorySize is not applicable for Fargate.",
        ),
        ({"volumes": [{"name": "v", "host": {}}]}, "host is not applicable for Fargate."),
        (
            {
                "fargatePlatformConfiguration": {"platformVersion": "1.3.0"},
                "volumes": [{"name": "v", "efsVolumeConfiguration": EFS}],
            },
            "EFS is supported for Fargate platform version 1.4.0",
        ),
        (
            {"logConfiguration": {"logDriver": "json-file"}},
            "logDriver json-file is not applicable for Fargate.",
        ),
        (
            {"logConfiguration": {"logDriver": "none"}},
            "logDriver none is not applicable for Fargate.",
        ),
        (
            {"logConfiguration": {"logDriver": "splunk"}},
            "logDriver splunk is not supported yet by batchyard.",
        ),
        (
            {"resourceRequirements": requirements(VCPU="0.25", MEMORY="512", GPU="1")},
            "resourceRequirements type GPU is not applicable for Fargate.",
        ),
        ({"executionRoleArn": ""}, "executionRoleArn must be provided for Fargate."),
        (
            {"resourceRequirements": requirements(VCPU="1", MEMORY="4000")},
            "Fargate resource requirements (1.00 vCPU, 4000 MiB) not valid.",
        ),
        (
            {"fargatePlatformConfiguration": {"platformVersion": "2.0.0"}},
            "platformVersion 2.0.0 is not one of 1.3.0, 1.4.0, LATEST.",
        ),
        (
            {"ephemeralStorage": {"sizeInGiB": 20}},
            "ephemeralStorage.sizeInGiB must be between 21 and 200.",
        ),
        (
            {"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}},
            "operatingSystemFamily WINDOWS_SERVER_2022_CORE is not supported yet by batchyard.",
        ),
        (
            {"runtimePlatform": {"cpuArchitecture": "MIPS"}},
            "cpuArchitecture MIPS is not one of X86_64, ARM64.",
        ),
        (
            {"networkConfiguration": {"assignPublicIp": "YES"}},
            "assignPublicIp YES is not one of ENABLED, DISABLED.",
        ),
    ],
)
async def test_fargate_containers_that_are_refused(yard: Yard, changes, message):
    refused = await yard.refused(
        "RegisterJobDefinition",
        jobDefinitionName="jd",
        type="container",
        platformCapabilities=["FARGATE"],
        containerProperties={**FARGATE_CONTAINER, **changes},
    )
    assert refused == message


@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        f"{SECRET}:user::",
        f"{SECRET}::AWSPREVIOUS:",
        f"{SECRET}:user::9d4cb84b-ad69-40c0-a0ab-cead36b967e8",
        "arn:aws:ssm:us-east-1:123456789012:parameter/a/b",
        "/a/b",
        "a.b-c_d",
    ],
)
async def test_secrets_come_from_secrets_manager_and_parameter_store(yard: Yard, value):
    secrets = [{"name": "PASSWORD", "valueFrom": value}]
    await yard.define(containerProperties=container(executionRoleArn=ROLE, secrets=secrets))
    [shown] = (await yard.call("DescribeJobDefinitions"))["jobDefinitions"]
    assert shown["containerProperties"]["secrets"] == secrets


@pytest.mark.parametrize(
    "given",
    [
        {"resourceRequirements": requirements(VCPU="1", MEMORY="128", GPU="2")},
        {"privileged": True},
        {
            "jobRoleArn": ROLE,
            "volumes": [
                {
                    "name": "efs",
                    "efsVolumeConfiguration": {
                        **EFS,
                        "rootDirectory": "/",
                        "transitEncryption": "ENABLED",
                        "transitEncryptionPort": 2999,
                        "authorizationConfig": {"accessPointId": "fsap-1", "iam": "ENABLED"},
                    },
                },
                {
                    "name": "s3",
                    "s3filesVolumeConfiguration": {
                        "fileSystemArn": S3_FILES,
                        "rootDirectory": "/data",
                        "accessPointArn": f"{S3_FILES}/access-point/1",
                    },
                },
            ],
        },
        {
            "linuxParameters": {
                "devices": [{"hostPath": "/dev/fuse", "permissions": ["READ", "WRITE"]}],
                "tmpfs": [],
                "maxSwap": 0,
                "swappiness": 0,
            }
        },
        *(
            {"logConfiguration": {"logDriver": driver, "options": options, "secretOptions": []}}
            for driver, options in (
                (
                    "awslogs",
                    {
                        "awslogs-group": "/g",
                        "awslogs-region": "us-east-1",
                        "awslogs-stream-prefix": "p",
                        "awslogs-datetime-format": "%Y",
                        "awslogs-multiline-pattern": "^INFO",
                        "awslogs-create-group": "true",
                        "mode": "non-blocking",
                        "max-buffer-size": "25m",
                    },
                ),
                ("json-file", {"max-size": "10m", "max-file": "3"}),
                ("json-file", {"mode": "blocking"}),
                ("none", {}),
            )
        ),
    ],
)
async def test_what_a_container_on_ec2_may_have_is_shown_as_registered(yard: Yard, given):
    await yard.define(containerProperties=container(**given))
    [shown] = (await yard.call("DescribeJobDefinitions"))["jobDefinitions"]
    assert {member: shown["containerProperties"][member] for member in given} == given
