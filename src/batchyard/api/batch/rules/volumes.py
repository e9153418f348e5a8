"""What `volumes` and `mountPoints` may say (reference/jobs.md section 11.6). Pure.

Refuses to know whether a host path, a file system or an access point exists.
"""

import re
from collections.abc import Sequence

from batchyard.api.batch.rules.choices import check_choice, check_path, not_on_fargate
from batchyard.api.batch.rules.ground import Ground
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

_VOLUME_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_FILE_SYSTEM_ID = re.compile(r"fs-[A-Za-z0-9-]{1,128}")
_ACCESS_POINT_ID = re.compile(r"fsap-[A-Za-z0-9-]{1,128}")
_S3_FILES_ARN = re.compile(r"arn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]{12}:\S+")
_ROOT_LENGTH_MAX = 4096
_PORT_MAX = 65_535
_SOURCES = ("host", "efsVolumeConfiguration", "s3filesVolumeConfiguration")
_ON_OFF = ("ENABLED", "DISABLED")
#: The only version of Fargate's platform that cannot mount EFS.
_PLATFORM_WITHOUT_EFS = "1.3.0"


def check_volumes(
    volumes: Sequence[Json], ground: Ground, *, job_role: str | None, platform_version: str | None
) -> None:
    """Refuse volumes without a good name, with two sources, or with a source that cannot be."""
    names: list[str] = []
    for volume in volumes:
        name = volume.get("name", "")
        if not _VOLUME_NAME.fullmatch(name):
            raise client_exception(
                "volumes.name must be 1 to 255 letters, digits, hyphens and underscores."
            )
        if name in names:
            raise client_exception(f"volumes.name {name} is given more than once.")
        names.append(name)
        given = [source for source in _SOURCES if volume.get(source)]
        if len(given) > 1:
            raise client_exception(f"volumes {name} must not have both {' and '.join(given)}.")
        if ground.is_fargate and "host" in volume:
            raise not_on_fargate("host")
        source = (volume.get("host") or {}).get("sourcePath")
        if source:
            check_path(source, f"volumes.host.sourcePath {source}")
        if efs := volume.get("efsVolumeConfiguration"):
            if platform_version == _PLATFORM_WITHOUT_EFS:
                raise client_exception("EFS is supported for Fargate platform version 1.4.0")
            _check_efs(efs, job_role=job_role)
        if s3_files := volume.get("s3filesVolumeConfiguration"):
            _check_s3_files(s3_files)


def check_mounts(mounts: Sequence[Json], volumes: Sequence[Json]) -> None:
    """Refuse mount points of volumes that the definition does not have."""
    names = [volume["name"] for volume in volumes]
    for mount in mounts:
        if mount.get("sourceVolume") not in names:
            raise client_exception(
                f"mountPoints.sourceVolume {mount.get('sourceVolume', '')} is not a volume."
            )
        check_path(mount.get("containerPath"), "mountPoints.containerPath")


def _check_efs(efs: Json, *, job_role: str | None) -> None:
    where = "efsVolumeConfiguration"
    if not _FILE_SYSTEM_ID.fullmatch(efs["fileSystemId"]):
        raise client_exception(f"{where}.fileSystemId {efs['fileSystemId']} is not valid.")
    _check_root(efs.get("rootDirectory"), where)
    _check_port(efs.get("transitEncryptionPort"), where)
    check_choice(efs, "transitEncryption", _ON_OFF)
    authorization = efs.get("authorizationConfig") or {}
    check_choice(authorization, "iam", _ON_OFF)
    is_encrypted = efs.get("transitEncryption") == "ENABLED"
    access_point = authorization.get("accessPointId")
    if access_point:
        if not _ACCESS_POINT_ID.fullmatch(access_point):
            raise client_exception(f"{where}.accessPointId {access_point} is not valid.")
        if not is_encrypted:
            raise client_exception(
                f"{where}.transitEncryption must be ENABLED where accessPointId is given."
            )
        if efs.get("rootDirectory") not in (None, "", "/"):
            raise client_exception(
                f"{where}.rootDirectory must be / or absent where accessPointId is given."
            )
    if authorization.get("iam") == "ENABLED":
        if not is_encrypted:
            raise client_exception(f"{where}.transitEncryption must be ENABLED where iam is.")
        if not job_role:
            raise client_exception(f"{where}: a job role must be given where iam is ENABLED.")


def _check_s3_files(s3_files: Json) -> None:
    where = "s3filesVolumeConfiguration"
    for member in ("fileSystemArn", "accessPointArn"):
        arn = s3_files.get(member)
        if arn and not _S3_FILES_ARN.fullmatch(arn):
            raise client_exception(f"{where}.{member} {arn} is not an ARN.")
    if not s3_files["fileSystemArn"]:
        raise client_exception(f"{where}.fileSystemArn must be provided.")
    _check_root(s3_files.get("rootDirectory"), where)
    _check_port(s3_files.get("transitEncryptionPort"), where)


def _check_root(root: str | None, where: str) -> None:
    if root and len(root) > _ROOT_LENGTH_MAX:
        raise client_exception(
            f"{where}.rootDirectory must be at most {_ROOT_LENGTH_MAX} characters long."
        )


def _check_port(port: int | None, where: str) -> None:
    if port is not None and not 0 <= port <= _PORT_MAX:
        raise client_exception(f"{where}.transitEncryptionPort must be between 0 and {_PORT_MAX}.")
