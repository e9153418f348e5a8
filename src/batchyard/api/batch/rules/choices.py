"""Checks of single members that many structures share: choices, paths, images, variables. Pure."""

import re
from collections.abc import Sequence

from batchyard.model.limits import IMAGE_LENGTH_MAX
from batchyard.model.records import Json
from batchyard.model.refusal import Refusal, client_exception

_IMAGE = re.compile(r"[A-Za-z0-9_:./#@-]+")
_RESERVED_PREFIX = "AWS_BATCH"


def is_blank(value: object) -> bool:
    """Tell whether a member says nothing: absent, empty, or a structure of nothing but such."""
    if isinstance(value, dict):
        return all(is_blank(each) for each in value.values())
    if isinstance(value, list):
        return all(is_blank(each) for each in value)
    return value is None or value == ""


def check_choice(members: Json, member: str, choices: Sequence[str]) -> None:
    """Refuse a value that is none of `choices`. An absent or empty one is left alone."""
    value = members.get(member)
    if value and value not in choices:
        raise client_exception(f"{member} {value} is not one of {', '.join(choices)}.")


def check_path(path: str | None, member: str) -> None:
    """Refuse a path of a container or a host that is not absolute."""
    if not path or not path.startswith("/"):
        raise client_exception(f"{member} must be an absolute path.")


def check_image(image: str | None, where: str) -> None:
    """Refuse an image's name that is missing, too long, or has characters AWS does not take."""
    if not image:
        raise client_exception(f"{where}.image must be provided.")
    if len(image) > IMAGE_LENGTH_MAX or not _IMAGE.fullmatch(image):
        raise client_exception(
            f"{where}.image must be 1 to {IMAGE_LENGTH_MAX} letters, digits,"
            " and the characters - _ : . / # @"
        )


def check_environment(environment: Sequence[Json]) -> None:
    """Refuse variables without a name, and names that belong to the service."""
    for variable in environment:
        name = variable.get("name")
        if not name:
            raise client_exception("Environment variables must have a name.")
        if name.startswith(_RESERVED_PREFIX):
            raise client_exception(f"Environment variables cannot start with {_RESERVED_PREFIX}.")


def check_command(command: Sequence[str]) -> None:
    """Refuse an overriding command with an empty argument, in AWS's words."""
    if "" in command:
        raise client_exception("Command cannot be empty")


def check_count(items: Sequence[object], member: str, *, most: int, least: int = 0) -> None:
    """Refuse a list that has too few or too many items."""
    if not least <= len(items) <= most:
        raise client_exception(f"{member} must have {least} to {most} items.")


def not_on_fargate(member: str) -> Refusal:
    """Word AWS's refusal of a member that Fargate does not have."""
    return client_exception(f"{member} is not applicable for Fargate.")


def merged_by_name(ours: Sequence[Json], over: Sequence[Json]) -> list[Json]:
    """Merge variables by their names: the same name is replaced, new ones are appended."""
    merged = {variable["name"]: variable for variable in ours}
    merged.update((variable["name"], variable) for variable in over)
    return list(merged.values())
