"""Access keys: who may sign requests, and the key a fresh installation starts with.

Owns the look-up from access key id to secret and principal. Refuses to know what a principal may do
and how a request is signed. A secret never appears in a repr, a log line or an error.
"""

import secrets
from collections.abc import Iterable
from pathlib import Path

import msgspec

from batchyard.access.access_key import AccessKey as AccessKey
from batchyard.access.private_file import create_private_file
from batchyard.access.sessions import Session, SessionKeys

#: The account of the development key, unless another is asked for.
DEVELOPMENT_ACCOUNT = "000000000000"
CREDENTIALS_FILE = "credentials.json"

_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_MIXED_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_KEY_ID_RANDOM_LENGTH = 16
_SECRET_LENGTH = 40


class KeyRing:
    """The access keys that may sign. Fixed once built.

    With `sessions`, temporary keys may sign, too: they are recognised by their token, not kept.
    """

    def __init__(self, keys: Iterable[AccessKey], sessions: SessionKeys | None = None) -> None:
        self._key_by_id = {key.id: key for key in keys}
        self._sessions = sessions

    def find(self, access_key_id: str) -> AccessKey | None:
        return self._key_by_id.get(access_key_id)

    def find_session(self, access_key_id: str, token: str) -> Session | None:
        """Give the session of a temporary key; None unless the token is ours and fits the key."""
        session = None if self._sessions is None else self._sessions.find(token)
        return session if session is not None and session.key.id == access_key_id else None


class CredentialsFileError(Exception):
    """The credentials file exists, but is not what we wrote. Says what to do."""


class _StoredKey(msgspec.Struct, forbid_unknown_fields=True):
    access_key_id: str
    secret_access_key: str
    account: str


def root_key(access_key_id: str, secret: str, account: str) -> AccessKey:
    """Build a key that speaks for the account's root: everything is allowed to it."""
    return AccessKey(
        id=access_key_id,
        secret=secret,
        account=account,
        principal_arn=f"arn:aws:iam::{account}:root",
        user_id=account,
    )


def load_or_create_development_key(data_dir: Path, account: str = DEVELOPMENT_ACCOUNT) -> AccessKey:
    """Give the key kept in `credentials.json` of `data_dir`; make one on the first call.

    The file is readable by its owner only and appears whole or not at all; of two processes that
    start at once, both get the key of the first. `account` matters only when the key is made.
    Raises CredentialsFileError if the file cannot be understood.
    """
    path = data_dir / CREDENTIALS_FILE
    stored = _read(path)
    if stored is None:
        fresh = _StoredKey(
            access_key_id=f"AKIA{_draw(_BASE32, _KEY_ID_RANDOM_LENGTH)}",
            secret_access_key=_draw(_MIXED_BASE64, _SECRET_LENGTH),
            account=account,
        )
        content = msgspec.json.format(msgspec.json.encode(fresh), indent=2) + b"\n"
        stored = fresh if create_private_file(path, content) else _read(path)
    if stored is None:
        raise CredentialsFileError(f"{path} was removed while it was being read; start again")
    return root_key(stored.access_key_id, stored.secret_access_key, stored.account)


def _read(path: Path) -> _StoredKey | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(content, type=_StoredKey)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # The cause is left out: it could quote the secret.
        raise CredentialsFileError(
            f"{path} is not a credentials file of batchyard; mend it, or remove it to get a new key"
        ) from None


def _draw(letters: str, count: int) -> str:
    return "".join(secrets.choice(letters) for _ in range(count))
