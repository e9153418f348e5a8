"""What a secret's `valueFrom` names: a secret of Secrets Manager or a parameter of SSM.

Decides which forms there are and what each one means (reference/jobs.md section 11.4). Pure: the
API refuses what is malformed with the same function by which the engine reads what to fetch.
Refuses to know whether the thing named exists.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

_ARN = re.compile(
    r"arn:aws[a-z-]*:(?P<service>secretsmanager|ssm):(?P<region>[a-z0-9-]+):(?P<account>\d{12})"
    r":(?P<resource>.+)",
    re.ASCII,
)
#: Secrets Manager's name of a secret, with the six random characters that its ARN ends with.
_SECRET_NAME = re.compile(r"[A-Za-z0-9/_+=.@-]{1,519}", re.ASCII)
#: SSM's names; a version or a label may stand behind a colon.
_PARAMETER_NAME = re.compile(r"[A-Za-z0-9_./-]{1,2048}(?::[A-Za-z0-9_.-]{1,100})?", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_SECRET_PREFIX = "secret:"  # noqa: S105 -- how an ARN spells what it names
_PARAMETER_PREFIX = "parameter/"
#: `:json-key:version-stage:version-id` behind the ARN.
_SELECTORS_MAX = 3


class SecretStore(StrEnum):
    """Who keeps a secret; the values are botocore's names of the services."""

    SECRETS_MANAGER = "secretsmanager"
    PARAMETER_STORE = "ssm"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReference:
    """One thing to fetch, and the part of it that is wanted. Equal ones are one secret."""

    store: SecretStore
    region: str
    #: As the service takes it: the secret's ARN, the parameter's ARN or its name.
    id: str
    #: The member wanted of a secret that is a JSON object; None: the whole secret.
    json_key: str | None = None
    #: At most one of the two is given; neither means AWSCURRENT.
    version_stage: str | None = None
    version_id: str | None = None


def parse_value_from(text: str, region: str) -> SecretReference:
    """Read a `valueFrom`; `region` is the job's, where a bare parameter name is looked for.

    Raises ValueError, with a text fit for the caller, if it has none of the forms.
    """
    if not text.startswith("arn:"):
        if _PARAMETER_NAME.fullmatch(text) is None:
            raise ValueError(f"{text!r} is not the name of an SSM parameter")
        return SecretReference(store=SecretStore.PARAMETER_STORE, region=region, id=text)
    found = _ARN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not the ARN of a secret or of an SSM parameter")
    resource = found["resource"]
    if found["service"] == SecretStore.SECRETS_MANAGER:
        return _parse_secret(text, resource, found["region"])
    name = resource.removeprefix(_PARAMETER_PREFIX)
    if name == resource or _PARAMETER_NAME.fullmatch(name) is None:
        raise ValueError(f"{text!r} is not the ARN of an SSM parameter")
    return SecretReference(store=SecretStore.PARAMETER_STORE, region=found["region"], id=text)


def parse_credentials_parameter(text: str) -> SecretReference:
    """Read a `credentialsParameter`: the ARN of a secret, and no part of one. Raises ValueError."""
    found = parse_value_from(text, "") if text.startswith("arn:") else None
    if found is None or found.store is not SecretStore.SECRETS_MANAGER or found.id != text:
        raise ValueError(f"{text!r} is not the ARN of a secret")
    return found


def explain_credentials_parameter(text: str) -> str | None:
    """Say what is wrong with a `credentialsParameter`; None: it is well-formed."""
    try:
        parse_credentials_parameter(text)
    except ValueError as error:
        return str(error)
    return None


def explain_value_from(text: str) -> str | None:
    """Say what is wrong with a `valueFrom`; None: it is well-formed."""
    try:
        parse_value_from(text, "us-east-1")
    except ValueError as error:
        return str(error)
    return None


def parameter_names_of(reference: SecretReference) -> tuple[str, ...]:
    """List the names that a parameter's ARN may stand for, the likeliest first.

    An ARN leaves out the slash that a path begins with, so `parameter/a` may be `a` or `/a`; a name
    with a slash inside always begins with one.
    """
    name = reference.id.partition(f":{_PARAMETER_PREFIX}")[2]
    if not name:
        return (reference.id,)
    return (f"/{name}",) if "/" in name else (name, f"/{name}")


def _parse_secret(text: str, resource: str, region: str) -> SecretReference:
    prefix, _, rest = resource.partition(":")
    name, *selectors = rest.split(":")
    if (
        f"{prefix}:" != _SECRET_PREFIX
        or _SECRET_NAME.fullmatch(name) is None
        or len(selectors) > _SELECTORS_MAX
    ):
        raise ValueError(f"{text!r} is not the ARN of a secret")
    json_key, stage, version_id = [*selectors, "", "", ""][:_SELECTORS_MAX]
    # The Batch guide prints `<arn>::<version-id>`, one colon short of what the ECS guide asks for.
    if not version_id and _UUID.fullmatch(stage):
        stage, version_id = "", stage
    if stage and version_id:
        raise ValueError(f"{text!r} names both a version stage and a version id")
    arn = text[: len(text) - sum(len(each) + 1 for each in selectors)]
    return SecretReference(
        store=SecretStore.SECRETS_MANAGER,
        region=region,
        id=arn,
        json_key=json_key or None,
        version_stage=stage or None,
        version_id=version_id or None,
    )
