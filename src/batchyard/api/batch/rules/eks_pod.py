"""What `eksProperties` may say: one pod (reference/jobs.md section 10.2). Pure.

Decides members, defaults, the size of the job, and how `eksPropertiesOverride` is merged. What a
container of a pod asks of CPU and memory is read in `eks_resources`.
"""

import re
from collections.abc import Sequence

from batchyard.api.batch.rules.choices import (
    check_choice,
    check_count,
    check_environment,
    check_image,
    check_path,
    merged_by_name,
)
from batchyard.api.batch.rules.eks_resources import (
    amount_of,
    check_resources,
    with_requests,
)
from batchyard.model.amounts import Amount
from batchyard.model.limits import POD_CONTAINERS_MAX
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_DNS_SUBDOMAIN = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_KEY_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_QUANTITY = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[EPTGMk]i?|Ki|m)?")
_ANNOTATION_LENGTH_MAX = 255
_NAMESPACE_LENGTH_MAX = 63
_ID_MAX = 2**31 - 1

#: The name of a pod's only container, if it has none.
DEFAULT_NAME = "Default"
_GROUPS = ("initContainers", "containers")
_LISTS = ("command", "args", "env", "volumeMounts")
_SOURCES = ("hostPath", "emptyDir", "secret", "persistentVolumeClaim")
_DNS_POLICIES = ("Default", "ClusterFirst", "ClusterFirstWithHostNet")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_SECCOMP_TYPES = ("RuntimeDefault", "Localhost", "Unconfined")


def check_pod_properties(properties: Json) -> None:
    """Refuse a pod that AWS would refuse."""
    pod = properties.get("podProperties")
    if not pod:
        raise client_exception("eksProperties.podProperties must be provided.")
    check_count(pod.get("containers", ()), "podProperties.containers", least=1, most=10)
    check_count(
        pod.get("initContainers", ()), "podProperties.initContainers", most=POD_CONTAINERS_MAX
    )
    check_choice(pod, "dnsPolicy", _DNS_POLICIES)
    for secret in pod.get("imagePullSecrets", ()):
        if not secret["name"]:
            raise client_exception("imagePullSecrets.name must be provided.")
    volumes = pod.get("volumes", ())
    _check_volumes(volumes)
    _check_names(pod)
    for group in _GROUPS:
        for index, container in enumerate(pod.get(group, ())):
            _check_container(container, volumes, where=f"{group}[{index}]")
            check_resources(
                container.get("resources", {}),
                where=f"{group}[{index}].resources",
                is_needed=group == "containers",
            )
    _check_security(pod.get("securityContext", {}), "podProperties.securityContext")
    _check_metadata(pod.get("metadata", {}))


def check_namespace(namespace: str, member: str) -> None:
    """Refuse a name that no namespace of Kubernetes has, and those AWS Batch does not use."""
    if len(namespace) > _NAMESPACE_LENGTH_MAX or not _DNS_LABEL.fullmatch(namespace):
        raise client_exception(
            f"{member} {namespace} must be 1 to {_NAMESPACE_LENGTH_MAX} lower-case letters, digits"
            " and hyphens, and begin and end with a letter or digit."
        )
    if namespace == "default" or namespace.startswith("kube"):
        raise client_exception(f"{member} must not be default, and must not start with kube.")


def normalised_pod(properties: Json) -> Json:
    """Give the pod as Describe shows it: lists that were not set are there, and empty."""
    pod: Json = {**properties["podProperties"]}
    for group in _GROUPS:
        pod[group] = [_normalised(container, pod) for container in pod.get(group, ())]
    pod.setdefault("volumes", [])
    pod.setdefault("imagePullSecrets", [])
    return {"podProperties": pod}


def pod_of_job(properties: Json) -> Json:
    """Give the pod of a job: what its containers have limits for and no requests, they request."""
    pod: Json = {**properties["podProperties"]}
    for group in _GROUPS:
        pod[group] = [
            {**each, "resources": with_requests(each["resources"])}
            if each.get("resources")
            else each
            for each in pod.get(group, ())
        ]
    return {"podProperties": pod}


def demand_of_pod(properties: Json) -> Amount:
    """Say what the pod needs: all its containers at once, or one of those that run before them."""
    pod = properties["podProperties"]
    at_once = Amount()
    for container in pod["containers"]:
        at_once += amount_of(container.get("resources", {}))
    for container in pod.get("initContainers", ()):
        before = amount_of(container.get("resources", {}))
        at_once = Amount(
            cpu_milli=max(at_once.cpu_milli, before.cpu_milli),
            memory_mib=max(at_once.memory_mib, before.memory_mib),
            gpu_count=max(at_once.gpu_count, before.gpu_count),
        )
    return at_once


def merge_pod(properties: Json, override: Json) -> Json:
    """Give the pod with an `eksPropertiesOverride` applied; neither argument is changed.

    Containers are found by their names; the only container of a pod needs none. Refuses what AWS
    would refuse, also of the merged pod.
    """
    over = override.get("podProperties") or {}
    pod: Json = {**properties["podProperties"]}
    for group in _GROUPS:
        if over.get(group):
            pod[group] = _merge_group(pod.get(group, ()), over[group], group)
    if metadata := over.get("metadata"):
        pod["metadata"] = _merge_metadata(pod.get("metadata", {}), metadata)
    merged = {"podProperties": pod}
    check_pod_properties(merged)
    return merged


def images_of(properties: Json) -> set[str]:
    """Name the images that the containers of a pod have."""
    pod = properties["podProperties"]
    return {each["image"] for group in _GROUPS for each in pod.get(group, ())}


def namespace_of(properties: Json) -> str | None:
    """Name the namespace that a pod asks for, if any."""
    namespace: str | None = properties["podProperties"].get("metadata", {}).get("namespace")
    return namespace or None


def _check_names(pod: Json) -> None:
    containers = [each for group in _GROUPS for each in pod.get(group, ())]
    names: list[str] = []
    for container in containers:
        name = container.get("name")
        if not name and len(containers) == 1:
            return
        if not name:
            raise client_exception("containers.name must be provided for each of several.")
        if name != DEFAULT_NAME and not _DNS_LABEL.fullmatch(name):
            raise client_exception(
                f"containers.name {name} must be 1 to 63 lower-case letters, digits and hyphens."
            )
        if name in names:
            raise client_exception(f"containers.name {name} is given more than once.")
        names.append(name)


def _check_container(container: Json, volumes: Sequence[Json], *, where: str) -> None:
    check_image(container.get("image"), where)
    check_choice(container, "imagePullPolicy", _PULL_POLICIES)
    check_environment(container.get("env", ()))
    names = [volume["name"] for volume in volumes]
    for mount in container.get("volumeMounts", ()):
        if mount.get("name") not in names:
            raise client_exception(f"volumeMounts.name {mount.get('name', '')} is not a volume.")
        check_path(mount.get("mountPath"), "volumeMounts.mountPath")
    _check_security(container.get("securityContext", {}), f"{where}.securityContext")


def _check_volumes(volumes: Sequence[Json]) -> None:
    names: list[str] = []
    for volume in volumes:
        name = volume["name"]
        if not _DNS_SUBDOMAIN.fullmatch(name):
            raise client_exception(f"volumes.name {name} must be a DNS subdomain name.")
        if name in names:
            raise client_exception(f"volumes.name {name} is given more than once.")
        names.append(name)
        given = [source for source in _SOURCES if source in volume]
        if len(given) != 1:
            raise client_exception(
                f"volumes {name} must have exactly one of {', '.join(_SOURCES)}."
            )
        if "hostPath" in volume:
            check_path(volume["hostPath"].get("path"), "volumes.hostPath.path")
        empty = volume.get("emptyDir", {})
        if empty.get("medium") not in (None, "", "Memory"):
            raise client_exception(
                f"volumes.emptyDir.medium {empty['medium']} must be empty or Memory."
            )
        limit = empty.get("sizeLimit")
        if limit and not _QUANTITY.fullmatch(limit):
            raise client_exception(f"volumes.emptyDir.sizeLimit {limit} is not a quantity.")


def _check_security(context: Json, where: str) -> None:
    for member in ("runAsUser", "runAsGroup", "fsGroup"):
        if not 0 <= context.get(member, 0) <= _ID_MAX:
            raise client_exception(f"{where}.{member} must be between 0 and {_ID_MAX}.")
    capabilities = context.get("capabilities", {})
    for name in (*capabilities.get("add", ()), *capabilities.get("drop", ())):
        if name.startswith("CAP_"):
            raise client_exception(f"{where}.capabilities {name} must not start with CAP_.")
    seccomp = context.get("seccompProfile")
    if seccomp:
        check_choice(seccomp, "type", _SECCOMP_TYPES)
        if (seccomp["type"] == "Localhost") is not bool(seccomp.get("localhostProfile")):
            raise client_exception(
                f"{where}.seccompProfile must have localhostProfile where its type is Localhost,"
                " and only there."
            )


def _check_metadata(metadata: Json) -> None:
    if namespace := metadata.get("namespace"):
        check_namespace(namespace, "metadata.namespace")
    for member in ("labels", "annotations"):
        for key in metadata.get(member, {}):
            prefix, slash, name = key.rpartition("/")
            if not _KEY_NAME.fullmatch(name) or (slash and not _DNS_SUBDOMAIN.fullmatch(prefix)):
                raise client_exception(f"metadata.{member} {key} is not a valid key.")
    for value in metadata.get("labels", {}).values():
        if not _LABEL_VALUE.fullmatch(value):
            raise client_exception(f"metadata.labels value {value} is not valid.")
    for value in metadata.get("annotations", {}).values():
        if len(value) > _ANNOTATION_LENGTH_MAX:
            raise client_exception(
                f"metadata.annotations values must be at most {_ANNOTATION_LENGTH_MAX} characters"
                " long."
            )


def _normalised(container: Json, pod: Json) -> Json:
    shown: Json = {**container}
    if not shown.get("name"):
        shown["name"] = DEFAULT_NAME
    for member in _LISTS:
        shown.setdefault(member, [])
    if "resources" in shown:
        shown["resources"] = {"limits": {}, "requests": {}, **shown["resources"]}
    return shown


def _merge_group(ours: Sequence[Json], over: Sequence[Json], group: str) -> list[Json]:
    names = [container["name"] for container in ours]
    merged = dict(zip(names, ours, strict=True))
    seen: list[str] = []
    for each in over:
        name = each.get("name") or (names[0] if len(names) == 1 else "")
        if name not in merged:
            raise client_exception(
                f"eksPropertiesOverride: {group} {name} is not in the job definition."
            )
        if name in seen:
            raise client_exception(
                f"eksPropertiesOverride: {group} {name} is given more than once."
            )
        seen.append(name)
        merged[name] = _merge_container(merged[name], each)
    return list(merged.values())


def _merge_container(container: Json, over: Json) -> Json:
    merged: Json = {**container}
    for member in ("image", "command", "args"):
        if over.get(member):
            merged[member] = over[member]
    if resources := over.get("resources"):
        merged["resources"] = {"limits": {}, "requests": {}, **resources}
    if over.get("env"):
        merged["env"] = merged_by_name(container.get("env", ()), over["env"])
    return merged


def _merge_metadata(ours: Json, over: Json) -> Json:
    merged: Json = {**ours}
    for member in ("labels", "annotations"):
        if over.get(member):
            merged[member] = {**ours.get(member, {}), **over[member]}
    if over.get("namespace"):
        merged["namespace"] = over["namespace"]
    return merged
