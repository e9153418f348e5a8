"""What `eksConfiguration` of a compute environment may say. Pure.

Source: reference/compute-and-scheduling.md section 1.15. Refuses to know whether the cluster
exists.
"""

import re

from batchyard.api.batch.rules.choices import check_choice
from batchyard.api.batch.rules.eks_pod import check_namespace
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

_CLUSTER_ARN = re.compile(
    r"arn:aws[a-z-]*:eks:[a-z0-9-]+:[0-9]{12}:cluster/[A-Za-z0-9][A-Za-z0-9_-]{0,99}"
)
_ACCESS_STATES = ("ENABLED", "DISABLED", "INHERIT_FROM_CLUSTER")


def check_eks_configuration(configuration: Json) -> None:
    """Refuse a cluster or a namespace that cannot be."""
    arn: str = configuration["eksClusterArn"]
    if not _CLUSTER_ARN.fullmatch(arn):
        raise client_exception(f"eksConfiguration.eksClusterArn {arn} is not the ARN of a cluster.")
    check_namespace(configuration["kubernetesNamespace"], "eksConfiguration.kubernetesNamespace")
    check_access_entry(configuration.get("accessEntry") or {})


def check_access_entry(entry: Json) -> None:
    """Refuse a state of the access entry that AWS does not have."""
    check_choice(entry, "desiredState", _ACCESS_STATES)
