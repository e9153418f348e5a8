"""Names of IAM roles, and whether a job may have one. Pure.

Refuses to know what a role may do: batchyard has no IAM policies, so a role's temporary keys may do
what any key of the account may. That is why a job is given none for a role of another account.
"""

import re

_ROLE_ARN = re.compile(
    r"arn:aws[a-z-]*:iam::(\d{12}):role/(?:[!-~]+/)?([\w+=,.@-]{1,64})", re.ASCII
)

_CANNOT_ASSUME = (
    "ECS was unable to assume the role '{arn}' that was provided for this task. Please verify that"
    " the role being passed has the proper trust relationship and permissions and that your IAM"
    " user has permissions to pass this role."
)


def explain_role(role_arn: str, account: str) -> str | None:
    """Say, in ECS's words, why a job of `account` may not have the role; None: it may."""
    found = _ROLE_ARN.fullmatch(role_arn)
    if found is not None and found[1] == account:
        return None
    return _CANNOT_ASSUME.format(arn=role_arn)


def role_name_of(role_arn: str) -> str:
    """Give a role's name, without its path."""
    return role_arn.rsplit("/", 1)[-1]
