"""What `ec2Configuration` of a compute environment may say. Pure.

Decides which image types there are (reference/compute-and-scheduling.md section 1.3). Refuses to
know images: instances are slices of the machine, and boot none.
"""

from collections.abc import Sequence

from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

_ON_ECS = ("ECS_AL2", "ECS_AL2_NVIDIA", "ECS_AL2023", "ECS_AL2023_NVIDIA", "ECS_AL1")
_ON_EKS = ("EKS_AL2", "EKS_AL2_NVIDIA", "EKS_AL2023", "EKS_AL2023_NVIDIA")
_ITEMS_MAX = 2
_TEXT_LENGTH_MAX = 256


def check_ec2_configuration(items: Sequence[Json], *, is_eks: bool) -> None:
    """Refuse too many items, and image types of the other orchestration or of none."""
    if len(items) > _ITEMS_MAX:
        raise client_exception(f"ec2Configuration must not have more than {_ITEMS_MAX} items.")
    known = _ON_EKS if is_eks else _ON_ECS
    for item in items:
        if item["imageType"] not in known:
            raise client_exception(
                f"ec2Configuration.imageType {item['imageType']} is not one of {', '.join(known)}."
            )
        if item.get("imageKubernetesVersion") and not is_eks:
            raise client_exception(
                "At least one imageKubernetesVersion in EC2Configuration is not supported."
            )
        if len(item.get("imageIdOverride") or "") > _TEXT_LENGTH_MAX:
            raise client_exception(
                f"ec2Configuration.imageIdOverride must have at most {_TEXT_LENGTH_MAX} characters."
            )
