"""Access keys: who may sign requests, and the key a fresh installation starts with.

Owns the look-up from access key id to secret and principal. Refuses to know what a principal may do
and how a request is signed. A secret never appears in a repr, a log line or an error.
"""

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

#: The account of the development key, unless another is asked for.
DEVELOPMENT_ACCOUNT = "000000000000"
CREDENTIALS_FILE = "credentials.json"

_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_MIXED_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_KEY_ID_RANDOM_LENGTH = 16
_SECRET_LENGTH = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """One long-term access key and the principal it speaks for."""

    #: `AKIA…`, as clients send it.
    id: str
    secret: str = field(repr=False)
    #: Twelve digits: what the caller sees and creates belongs to this account.
    account: str
    principal_arn: str
    #: What GetCallerIdentity answers as UserId.
    user_id: str


class KeyRing:
    """The access keys that may sign. Fixed once built."""

    def __init__(self, keys: Iterable[AccessKey]) -> None:
        self._key_by_id = {key.id: key for key in keys}

    def find(self, access_key_id: str) -> AccessKey | None:
        return self._key_by_id.get(access_key_id)


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
        stored = fresh if _create(path, fresh) else _read(path)
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


def _create(path: Path, stored: _StoredKey) -> bool:
    """Write `path` unless it exists; tell whether we wrote it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    content = msgspec.json.format(msgspec.json.encode(stored), indent=2) + b"\n"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # fails if the name is taken, unlike a rename
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            draft.rename(path)
        return True
    finally:
        draft.unlink(missing_ok=True)


def _draw(letters: str, count: int) -> str:
    return "".join(secrets.choice(letters) for _ in range(count))
