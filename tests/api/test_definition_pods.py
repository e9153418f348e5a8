"""RegisterJobDefinition with eksProperties: pods."""

from typing import Any

import pytest

from tests.api.conftest import Yard


def a_container(name: str = "main", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "image": "busybox",
        "resources": {"limits": {"cpu": "1", "memory": "128Mi"}},
        **changes,
    }


def a_pod(*containers: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"podProperties": {"containers": list(containers or (a_container(),)), **members}}


def asking(limits: dict[str, str], requests: dict[str, str] | None = None) -> dict[str, Any]:
    return a_pod(a_container(resources={"limits": limits, "requests": requests or {}}))


async def test_a_pod_is_shown_with_its_lists(yard: Yard):
    nameless = a_container()
    del nameless["name"]
    await yard.define(
        containerProperties={},
        eksProperties=a_pod(nameless, hostNetwork=False, metadata={"labels": {"app": "x"}}),
    )
    [shown] = (await yard.call("DescribeJobDefinitions"))["jobDefinitions"]
    assert shown["containerOrchestrationType"] == "EKS"
    assert shown["eksProperties"] == {
        "podProperties": {
            "containers": [
                {
                    "name": "Default",
                    "image": "busybox",
                    "command": [],
                    "args": [],
                    "env": [],
                    "volumeMounts": [],
                    "resources": {"limits": {"cpu": "1", "memory": "128Mi"}, "requests": {}},
                }
            ],
            "initContainers": [],
            "volumes": [],
            "imagePullSecrets": [],
            "hostNetwork": False,
            "metadata": {"labels": {"app": "x"}},
        }
    }


async def test_everything_a_pod_may_have_is_shown_as_registered(yard: Yard):
    given = a_pod(
        a_container(
            imagePullPolicy="IfNotPresent",
            command=["sh", "-c"],
            args=["echo $(A) Ref::never"],
            env=[{"name": "A", "value": "1"}],
            volumeMounts=[{"name": "v", "mountPath": "/v", "subPath": "a", "readOnly": True}],
            securityContext={
                "runAsUser": 1000,
                "privileged": False,
                "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
                "seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"},
            },
            resources={
                "limits": {"cpu": "2", "memory": "64Mi", "nvidia.com/gpu": "1"},
                "requests": {"cpu": "0.25", "memory": "64Mi", "nvidia.com/gpu": "1"},
            },
        ),
        initContainers=[
            {"name": "first", "image": "busybox"}
            | {"command": [], "args": [], "env": [], "volumeMounts": []}
        ],
        volumes=[
            {"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
            {"name": "h", "hostPath": {"path": "/data"}},
            {"name": "s", "secret": {"secretName": "login", "optional": True}},
            {"name": "c.laim", "persistentVolumeClaim": {"claimName": "disk"}},
        ],
        imagePullSecrets=[{"name": "registry"}],
        serviceAccountName="runner",
        dnsPolicy="ClusterFirst",
        shareProcessNamespace=True,
        securityContext={"fsGroup": 1},
        metadata={
            "labels": {"example.com/app": "x"},
            "annotations": {"a": "b " * 100},
            "namespace": "jobs",
        },
    )
    await yard.define(containerProperties={}, eksProperties=given)
    [shown] = (await yard.call("DescribeJobDefinitions"))["jobDefinitions"]
    assert shown["eksProperties"] == given


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        (
            {"podProperties": {"containers": [], "hostNetwork": True}},
            "podProperties.containers must have 1 to 10 items.",
        ),
        (
            a_pod(*(a_container(f"c{n}") for n in range(11))),
            "podProperties.containers must have 1 to 10 items.",
        ),
        (
            a_pod(initContainers=[a_container(f"c{n}") for n in range(11)]),
            "podProperties.initContainers must have 0 to 10 items.",
        ),
        (
            a_pod(a_container(), a_container("")),
            "containers.name must be provided for each of several.",
        ),
        (
            a_pod(initContainers=[a_container()]),
            "containers.name main is given more than once.",
        ),
        (
            a_pod(a_container("a_b")),
            "containers.name a_b must be 1 to 63 lower-case letters, digits and hyphens.",
        ),
        (a_pod(a_container(image="")), "containers[0].image must be provided."),
        (
            a_pod(a_container(imagePullPolicy="Sometimes")),
            "imagePullPolicy Sometimes is not one of Always, IfNotPresent, Never.",
        ),
        (
            a_pod(a_container(env=[{"name": "AWS_BATCH_X"}])),
            "Environment variables cannot start with AWS_BATCH.",
        ),
        (
            a_pod(a_container(volumeMounts=[{"name": "v", "mountPath": "/v"}])),
            "volumeMounts.name v is not a volume.",
        ),
        (
            a_pod(
                a_container(volumeMounts=[{"name": "v"}]), volumes=[{"name": "v", "emptyDir": {}}]
            ),
            "volumeMounts.mountPath must be an absolute path.",
        ),
        (
            a_pod(a_container(securityContext={"runAsUser": -1})),
            "containers[0].securityContext.runAsUser must be between 0 and 2147483647.",
        ),
        (
            a_pod(a_container(securityContext={"capabilities": {"add": ["CAP_KILL"]}})),
            "containers[0].securityContext.capabilities CAP_KILL must not start with CAP_.",
        ),
        (
            a_pod(securityContext={"seccompProfile": {"type": "Localhost"}}),
            "podProperties.securityContext.seccompProfile must have localhostProfile where its type"
            " is Localhost, and only there.",
        ),
        (
            a_pod(dnsPolicy="None"),
            "dnsPolicy None is not one of Default, ClusterFirst, ClusterFirstWithHostNet.",
        ),
        (a_pod(imagePullSecrets=[{"name": ""}]), "imagePullSecrets.name must be provided."),
        (
            a_pod(volumes=[{"name": "V", "emptyDir": {}}]),
            "volumes.name V must be a DNS subdomain name.",
        ),
        (
            a_pod(volumes=[{"name": "v", "emptyDir": {}}] * 2),
            "volumes.name v is given more than once.",
        ),
        (
            a_pod(volumes=[{"name": "v"}]),
            "volumes v must have exactly one of hostPath, emptyDir, secret, persistentVolumeClaim.",
        ),
        (
            a_pod(volumes=[{"name": "v", "hostPath": {"path": "data"}}]),
            "volumes.hostPath.path must be an absolute path.",
        ),
        (
            a_pod(volumes=[{"name": "v", "emptyDir": {"medium": "Disk"}}]),
            "volumes.emptyDir.medium Disk must be empty or Memory.",
        ),
        (
            a_pod(volumes=[{"name": "v", "emptyDir": {"sizeLimit": "much"}}]),
            "volumes.emptyDir.sizeLimit much is not a quantity.",
        ),
        *(
            (
                a_pod(metadata={"namespace": name}),
                f"metadata.namespace {name} must be 1 to 63 lower-case letters, digits and hyphens,"
                " and begin and end with a letter or digit.",
            )
            for name in ("Jobs", "-a", "a" * 64)
        ),
        *(
            (
                a_pod(metadata={"namespace": name}),
                "metadata.namespace must not be default, and must not start with kube.",
            )
            for name in ("default", "kube-system")
        ),
        (
            a_pod(metadata={"labels": {"a b": "c"}}),
            "metadata.labels a b is not a valid key.",
        ),
        (
            a_pod(metadata={"labels": {"a": "v" * 64}}),
            f"metadata.labels value {'v' * 64} is not valid.",
        ),
        (
            a_pod(metadata={"annotations": {"a": "v" * 256}}),
            "metadata.annotations values must be at most 255 characters long.",
        ),
        *(
            (
                asking({"cpu": cpu, "memory": "128Mi"}),
                f"containers[0].resources.limits.cpu {cpu} must be a multiple of 0.25.",
            )
            for cpu in ("0.3", "250m", "0", "much")
        ),
        *(
            (
                asking({"cpu": "1", "memory": memory}),
                f"containers[0].resources.limits.memory {memory} must be a whole number with the"
                " suffix Mi, at least 4Mi.",
            )
            for memory in ("128", "1Gi", "3Mi", "4.5Mi")
        ),
        (
            asking({"cpu": "1", "memory": "8Mi", "nvidia.com/gpu": "0.5"}),
            "containers[0].resources.limits.nvidia.com/gpu 0.5 must be a whole number.",
        ),
        (
            asking({"cpu": "1", "memory": "8Mi", "disk": "1"}),
            "containers[0].resources disk is not one of cpu, memory, nvidia.com/gpu.",
        ),
        (
            asking({"memory": "8Mi"}),
            "containers[0].resources must have cpu in limits or requests.",
        ),
        (
            asking({"cpu": "1"}),
            "containers[0].resources must have memory in limits or requests.",
        ),
        (
            asking({"cpu": "1", "memory": "8Mi"}, {"cpu": "2"}),
            "containers[0].resources cpu must not be more in requests than in limits.",
        ),
        (
            asking({"cpu": "1", "memory": "8Mi"}, {"memory": "4Mi"}),
            "containers[0].resources memory must be the same in limits and requests.",
        ),
    ],
)
async def test_pods_that_are_refused(yard: Yard, properties, message):
    refused = await yard.refused(
        "RegisterJobDefinition", jobDefinitionName="jd", type="container", eksProperties=properties
    )
    assert refused == message


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"platformCapabilities": ["EC2"]},
            "platformCapabilities is not applicable for EKS.",
        ),
        ({"propagateTags": True}, "propagateTags is not applicable for EKS."),
    ],
)
async def test_members_that_pods_do_not_have(yard: Yard, members, message):
    refused = await yard.refused(
        "RegisterJobDefinition",
        jobDefinitionName="jd",
        type="container",
        eksProperties=a_pod(),
        **members,
    )
    assert refused == message
