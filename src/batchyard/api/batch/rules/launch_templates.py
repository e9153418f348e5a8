"""What `launchTemplate` of a compute environment may say. Pure.

Decides by reference/compute-and-scheduling.md section 1.3. Refuses to know what a template holds:
it is a thing of EC2, so it is shown and nothing more.
"""

import re
from collections.abc import Collection, Sequence

from batchyard.api.batch.rules.choices import check_choice
from batchyard.engine.catalogue import names_of
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

#: Items of `instanceTypes` that stand for several families; an override cannot be for one.
BUNDLES = ("optimal", "default_x86_64", "default_arm64")

_OVERRIDES_MAX = 10
_USERDATA_TYPES = ("EKS_BOOTSTRAP_SH", "EKS_NODEADM")
_VERSION_WORDS = ("$Default", "$Latest")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def check_launch_template(template: Json, instance_types: Sequence[str], *, is_eks: bool) -> None:
    """Refuse a template that is named twice or not at all, and overrides that cannot be told apart.

    `instance_types` are the environment's.
    """
    _check_one(template, "launchTemplate", is_eks=is_eks)
    overrides: Sequence[Json] = template.get("overrides") or ()
    if len(overrides) > _OVERRIDES_MAX:
        raise client_exception(
            f"launchTemplate.overrides must not have more than {_OVERRIDES_MAX} items."
        )
    known = names_of(instance_types)
    target_by_name: dict[str, str] = {}
    for override in overrides:
        _check_one(override, "launchTemplate.overrides", is_eks=is_eks)
        targets = override.get("targetInstanceTypes")
        if not targets:
            raise client_exception(
                "targetInstanceTypes must be provided for each of launchTemplate.overrides."
            )
        for target in targets:
            _check_target(target, known, target_by_name)


def _check_one(template: Json, where: str, *, is_eks: bool) -> None:
    if bool(template.get("launchTemplateId")) is bool(template.get("launchTemplateName")):
        raise client_exception(
            f"{where} must have exactly one of launchTemplateId and launchTemplateName."
        )
    version = template.get("version")
    if version and version not in _VERSION_WORDS and not _NUMBER.fullmatch(version):
        raise client_exception(f"{where}.version {version} must be a number, $Default or $Latest.")
    check_choice(template, "userdataType", _USERDATA_TYPES)
    if template.get("userdataType") and not is_eks:
        raise client_exception("userdataType is only applicable for EKS environments.")


def _check_target(target: str, known: Collection[str], target_by_name: dict[str, str]) -> None:
    """Refuse a target that is none, or that an earlier one covers; then note what it covers."""
    names = [] if target in BUNDLES else sorted(names_of([target]))
    if not names:
        raise client_exception(f"targetInstanceTypes {target} is not an instance type or family.")
    for name in names:
        if name not in known:
            raise client_exception(f"targetInstanceTypes {target} is not among instanceTypes.")
        if name in target_by_name:
            raise client_exception(
                f"targetInstanceTypes {target_by_name[name]} and {target} of"
                " launchTemplate.overrides overlap."
            )
        target_by_name[name] = target
