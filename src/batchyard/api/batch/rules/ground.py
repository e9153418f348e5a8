"""What a job's containers are meant to run on, as far as the rules differ by it. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from batchyard.api.batch.rules.choices import is_blank
from batchyard.model.records import Json


class Platform(StrEnum):
    """What a job definition is written for, in AWS's words for a queue's capability."""

    EC2 = "EC2"
    FARGATE = "FARGATE"
    EKS = "EKS"
    MANAGED_INSTANCES = "MANAGED_INSTANCES"
    #: Of queues alone: no job definition is for it.
    SAGEMAKER_TRAINING = "SAGEMAKER_TRAINING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where containers are checked for."""

    platform: Platform
    #: They are those of a node of a multi-node parallel job.
    is_multinode: bool = False
    #: Of the request, for those of AWS's texts that name it.
    request_id: str

    @property
    def is_fargate(self) -> bool:
        return self.platform is Platform.FARGATE


def platform_of(detail: Json) -> Platform:
    """Tell what jobs of a definition run on; EC2 is the default.

    Accepts the definition in the form of a request as well as the stored one.
    """
    if has_pods(detail):
        return Platform.EKS
    capabilities = detail.get("platformCapabilities", ())
    for platform in (Platform.FARGATE, Platform.MANAGED_INSTANCES):
        if platform in capabilities:
            return platform
    return Platform.EC2


def has_pods(detail: Json) -> bool:
    """Tell whether a definition is made of pods, alone or in any of its node ranges."""
    ranges = (detail.get("nodeProperties") or {}).get("nodeRangeProperties", ())
    return any(not is_blank(each.get("eksProperties")) for each in (detail, *ranges))
