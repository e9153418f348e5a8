"""What an access key is, long-lived or temporary. A secret never appears in a repr."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """An access key and the principal it speaks for."""

    #: `AKIA…`, or `ASIA…` of a temporary key, as clients send it.
    id: str
    secret: str = field(repr=False)
    #: Twelve digits: what the caller sees and creates belongs to this account.
    account: str
    principal_arn: str
    #: What GetCallerIdentity answers as UserId.
    user_id: str
