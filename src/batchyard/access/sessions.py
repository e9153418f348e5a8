"""Temporary keys: what a job's role is given, and how they are recognised again.

Owns the form of a session token. Nothing is stored: a token carries what it stands for and a proof
that we made it, and key id and secret are derived from it; so temporary keys outlive a restart of
the server, and end by their own expiry alone. Refuses to know who may have one.
"""

import hmac
from base64 import b32encode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec

from batchyard.access.access_key import AccessKey
from batchyard.model.roles import role_name_of

#: Ours: longer ones are none of ours, and are not looked at.
TOKEN_LENGTH_MAX = 4096

_KEY_ID_RANDOM_LENGTH = 16
_SECRET_LENGTH = 40
_PROOF_LENGTH = sha256().digest_size


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCredentials:
    """What a client needs to sign as a role."""

    access_key_id: str
    secret: str = field(repr=False)
    token: str = field(repr=False)
    expires_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A temporary key, and when it ends."""

    key: AccessKey
    expires_ms: int


class _Claim(msgspec.Struct, array_like=True, frozen=True):
    """What a token carries."""

    account: str
    role_arn: str
    session_name: str
    expires_ms: int


class SessionKeys:
    """Makes temporary keys and recognises them, all by one secret of the installation."""

    def __init__(self, secret: bytes) -> None:
        self._proof_key, self._id_key, self._secret_key = (
            hmac.digest(secret, b"session " + purpose, "sha256")
            for purpose in (b"proof", b"key id", b"secret")
        )

    def issue(
        self, *, account: str, role_arn: str, session_name: str, expires_ms: int
    ) -> SessionCredentials:
        """Make a key that speaks for `role_arn` in `account` until `expires_ms`.

        What it may do is the account's business: whoever calls has checked that the role is there.
        """
        claim = msgspec.json.encode(_Claim(account, role_arn, session_name, expires_ms))
        return SessionCredentials(
            access_key_id=self._key_id_of(claim),
            secret=self._secret_of(claim),
            token=urlsafe_b64encode(claim + self._proof_of(claim)).decode(),
            expires_ms=expires_ms,
        )

    def find(self, token: str) -> Session | None:
        """Give the session of a token that we made, expired or not; None for any other."""
        if len(token) > TOKEN_LENGTH_MAX:
            return None
        try:
            content = urlsafe_b64decode(token.encode("ascii"))
        except (Base64Error, UnicodeEncodeError):
            return None
        claim, proof = content[:-_PROOF_LENGTH], content[-_PROOF_LENGTH:]
        if not hmac.compare_digest(self._proof_of(claim), proof):
            return None
        made = msgspec.json.decode(claim, type=_Claim)
        role_name = role_name_of(made.role_arn)
        role_id = b32encode(sha256(made.role_arn.encode()).digest()).decode()
        key = AccessKey(
            id=self._key_id_of(claim),
            secret=self._secret_of(claim),
            account=made.account,
            principal_arn=(
                f"arn:aws:sts::{made.account}:assumed-role/{role_name}/{made.session_name}"
            ),
            user_id=f"AROA{role_id[:_KEY_ID_RANDOM_LENGTH]}:{made.session_name}",
        )
        return Session(key=key, expires_ms=made.expires_ms)

    def _proof_of(self, claim: bytes) -> bytes:
        return hmac.digest(self._proof_key, claim, "sha256")

    def _key_id_of(self, claim: bytes) -> str:
        digest = hmac.digest(self._id_key, claim, "sha256")
        return f"ASIA{b32encode(digest).decode()[:_KEY_ID_RANDOM_LENGTH]}"

    def _secret_of(self, claim: bytes) -> str:
        digest = hmac.digest(self._secret_key, claim, "sha256")
        return b64encode(digest).decode()[:_SECRET_LENGTH]
