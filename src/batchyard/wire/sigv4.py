"""Verifies AWS Signature Version 4, in the Authorization header and in presigned URLs.

Decides who signed a request and for which region. Refuses to know what is asked and whether it is
allowed. The path is verified as sent, encoded once more, never as decoded. Specified by AWS's
"Signature Version 4 signing process" and reference/integrations.md sections 4.4 and 4.5.
"""

import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from hashlib import sha256
from urllib.parse import parse_qsl, quote, unquote_to_bytes

import msgspec

from batchyard.access.keys import AccessKey, KeyRing
from batchyard.model.ids import Scope
from batchyard.model.refusal import Refusal
from batchyard.wire.request import HttpRequest

#: How far the caller's clock may be from ours (reference/integrations.md section 4.5).
SKEW_S_MAX = 5 * 60
#: A presigned URL lives at most a week.
PRESIGNED_S_MAX = 7 * 24 * 3600
#: Signing keys kept: one per access key (with its token), day, region and service in use.
SIGNING_KEYS_MAX = 1024

_ALGORITHM = b"AWS4-HMAC-SHA256"
_TERMINATOR = "aws4_request"
_CREDENTIAL_PARTS = 5
#: An access key id has at most 128 characters; the rest of a credential some 50. We keep these.
_CREDENTIAL_LENGTH_MAX = 256
_EXPIRES_DIGITS_MAX = 6
_REGION = re.compile(r"[a-z][a-z0-9-]{0,31}")
_BASIC_ISO = "%Y%m%dT%H%M%SZ"
_BASIC_ISO_FORM = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_EMPTY_SHA256 = sha256(b"").hexdigest().encode()
_UNSIGNED_PAYLOAD = b"UNSIGNED-PAYLOAD"
_PRESIGNED = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)

_TEXT_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS"
    " Secret Access Key and signing method. Consult the service documentation for details."
)
_TEXT_TOKEN_INVALID = "The security token included in the request is invalid."  # noqa: S105
_TEXT_TOKEN_EXPIRED = "The security token included in the request is expired"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed, and for which region."""

    key: AccessKey
    scope: Scope


@dataclass(frozen=True, slots=True)
class _Credential:
    """A credential scope found good: what it proves, and what signs in it."""

    identity: Identity
    day: str
    service: str
    scope: bytes
    signing_key: bytes = field(repr=False)
    #: When a temporary key ends; None for a long-term one.
    expires_ms: int | None = None


class _Claim(msgspec.Struct):
    """What the caller says of its own signature; None where a part is missing."""

    credential: str
    signed_headers: bytes
    signature: bytes
    date: str | None
    #: Seconds that a presigned URL lives; None for a signature in the header.
    expires_s: int | None = None
    #: The session token of a temporary key.
    token: str | None = None


class Verifier:
    """Verifies signatures against a key ring. Keeps the signing keys in use, by credential."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._credentials: OrderedDict[str, _Credential] = OrderedDict()

    def verify(self, request: HttpRequest, service: str, now_ms: int) -> Identity:
        """Prove who signed `request` for `service` (the signing name).

        Raises Refusal (403) with AWS's texts. A presigned request is proved by its query alone.
        """
        claim = _read_claim(request)
        if claim.token is None:
            credential = self._credentials.get(claim.credential)
            # A key that has left the ring proves nothing any more, whatever is kept of it.
            if credential is None or self._keys.find(credential.identity.key.id) is None:
                credential = self._derive(claim.credential, None)
        else:
            credential = self._credentials.get(f"{claim.credential} {claim.token}")
            if credential is None:
                credential = self._derive(claim.credential, claim.token)
            assert credential.expires_ms is not None
            if now_ms >= credential.expires_ms:
                raise Refusal("ExpiredTokenException", _TEXT_TOKEN_EXPIRED, http_status=403)
        if credential.service != service:
            raise _invalid(f"Credential should be scoped to correct service: '{service}'.")
        date = _check_date(claim, credential.day, now_ms)
        header_block = _canonical_headers(claim.signed_headers, request.headers)
        canonical_tail = b"%b\n%b\n%b" % (
            header_block,
            claim.signed_headers,
            _payload_hash(request),
        )
        path = canonical_path(request.raw_path)
        for query in _canonical_queries(request.query, claim.expires_s is not None):
            canonical = b"%b\n%b\n%b\n%b" % (request.method.encode(), path, query, canonical_tail)
            to_sign = b"AWS4-HMAC-SHA256\n%b\n%b\n%b" % (
                date,
                credential.scope,
                sha256(canonical).hexdigest().encode(),
            )
            expected = hmac.digest(credential.signing_key, to_sign, "sha256").hex().encode()
            if hmac.compare_digest(expected, claim.signature):
                return credential.identity
        raise _invalid(_TEXT_MISMATCH)

    def _derive(self, text: str, token: str | None) -> _Credential:
        """Check a credential scope not met before, derive its signing key, and keep both."""
        access_key_id, day, region, service, terminator = _split_credential(text)
        expires_ms = None
        if token is None:
            key = self._keys.find(access_key_id)
        else:
            session = self._keys.find_session(access_key_id, token)
            key = None if session is None else session.key
            expires_ms = None if session is None else session.expires_ms
        if key is None:
            raise _unknown_token()
        if terminator != _TERMINATOR:
            raise _invalid(f"Credential should be scoped with a valid terminator: '{_TERMINATOR}'.")
        if _REGION.fullmatch(region) is None:
            raise _invalid("Credential should be scoped to a valid region.")
        signing_key = f"AWS4{key.secret}".encode()
        for part in (day, region, service, terminator):
            signing_key = hmac.digest(signing_key, part.encode(), "sha256")
        credential = _Credential(
            identity=Identity(key, Scope(key.account, region)),
            day=day,
            service=service,
            scope=f"{day}/{region}/{service}/{terminator}".encode(),
            signing_key=signing_key,
            expires_ms=expires_ms,
        )
        self._credentials[text if token is None else f"{text} {token}"] = credential
        if len(self._credentials) > SIGNING_KEYS_MAX:
            self._credentials.popitem(last=False)
        return credential


def is_signed(request: HttpRequest) -> bool:
    """Tell whether the request carries any signature, good or bad."""
    return b"authorization" in request.headers or b"X-Amz-Signature=" in request.query


def _read_claim(request: HttpRequest) -> _Claim:
    authorization = request.headers.get(b"authorization")
    is_presigned = b"X-Amz-Signature=" in request.query
    if authorization is not None and is_presigned:
        raise _incomplete(
            "Only one authentication mechanism is allowed: the Authorization header or the query."
        )
    if authorization is not None:
        return _read_header_claim(authorization, request.headers)
    if is_presigned:
        if b"x-amz-security-token" in request.headers:
            raise _unknown_token()
        return _read_query_claim(request.query)
    raise Refusal(
        "MissingAuthenticationTokenException", "Missing Authentication Token", http_status=403
    )


def _read_header_claim(authorization: bytes, headers: dict[bytes, bytes]) -> _Claim:
    algorithm, _, rest = authorization.strip().partition(b" ")
    if algorithm != _ALGORITHM:
        raise _incomplete("Authorization header requires the algorithm 'AWS4-HMAC-SHA256'.")
    parts: dict[bytes, bytes] = {}
    for part in rest.split(b","):
        name, _, value = part.strip().partition(b"=")
        parts[name] = value
    credential = parts.get(b"Credential")
    signed_headers = parts.get(b"SignedHeaders")
    signature = parts.get(b"Signature")
    date = headers.get(b"x-amz-date") or headers.get(b"date")
    if not (credential and signed_headers and signature and date):
        missing = [
            f"Authorization header requires '{name.decode()}' parameter."
            for name in (b"Credential", b"Signature", b"SignedHeaders")
            if not parts.get(name)
        ]
        if not date:
            missing.append(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date'"
                " header."
            )
        raise _incomplete(" ".join(missing))
    token = headers.get(b"x-amz-security-token")
    return _Claim(
        credential=credential.decode("latin-1"),
        signed_headers=signed_headers,
        signature=signature,
        date=date.decode("latin-1"),
        token=None if token is None else token.decode("latin-1"),
    )


def _read_query_claim(query: bytes) -> _Claim:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    values = dict(pairs)
    missing = [name for name in _PRESIGNED if not values.get(name)]
    if missing:
        raise _incomplete(
            "AWS query-string parameters must include "
            + ", ".join(f"'{name}'" for name in missing)
            + ". Re-examine the query-string parameters."
        )
    if len({name for name, _ in pairs if name in _PRESIGNED}) != sum(
        name in _PRESIGNED for name, _ in pairs
    ):
        raise _incomplete("An AWS query-string parameter is given more than once.")
    if not all(values[name].isascii() for name in _PRESIGNED):
        raise _incomplete("An AWS query-string parameter has characters beyond ASCII.")
    if values["X-Amz-Algorithm"].encode() != _ALGORITHM:
        raise _incomplete("'X-Amz-Algorithm' must be 'AWS4-HMAC-SHA256'.")
    expires = values["X-Amz-Expires"]
    is_number = len(expires) <= _EXPIRES_DIGITS_MAX and expires.isdigit()
    if not (is_number and 1 <= int(expires) <= PRESIGNED_S_MAX):
        raise _incomplete(f"'X-Amz-Expires' must be between 1 and {PRESIGNED_S_MAX} seconds.")
    return _Claim(
        credential=values["X-Amz-Credential"],
        signed_headers=values["X-Amz-SignedHeaders"].encode(),
        signature=values["X-Amz-Signature"].encode(),
        date=values["X-Amz-Date"],
        expires_s=int(expires),
        token=values.get("X-Amz-Security-Token"),
    )


def _split_credential(credential: str) -> list[str]:
    parts = credential.split("/")
    if len(parts) != _CREDENTIAL_PARTS or len(credential) > _CREDENTIAL_LENGTH_MAX:
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g."
            f" keyid/date/region/service/term, got '{credential}'"
        )
    return parts


@lru_cache(maxsize=64)
def _parse_date(text: str) -> tuple[int, str]:
    """Give the Unix second and the basic ISO form of a request date, or raise ValueError."""
    if _BASIC_ISO_FORM.fullmatch(text):
        at = datetime.strptime(text, _BASIC_ISO).replace(tzinfo=UTC)
        return int(at.timestamp()), text
    at = parsedate_to_datetime(text)
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    second = int(at.timestamp())
    return second, _basic_iso(second)


def _basic_iso(second: int) -> str:
    return datetime.fromtimestamp(second, tz=UTC).strftime(_BASIC_ISO)


def _check_date(claim: _Claim, day: str, now_ms: int) -> bytes:
    """Check that the request is of now; give its date as it was signed."""
    try:
        second, date = _parse_date(claim.date or "")
    except (ValueError, OverflowError):
        raise _incomplete(
            "Date must be in ISO-8601 'basic format'. Got"
            f" '{claim.date}'. See http://en.wikipedia.org/wiki/ISO_8601"
        ) from None
    if date[:8] != day:
        raise _invalid(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from"
            f" HTTP: '{day}' != '{date[:8]}', from '{date}'."
        )
    now = now_ms // 1000
    lived_s_max = SKEW_S_MAX if claim.expires_s is None else claim.expires_s
    if second < now - lived_s_max:
        raise _invalid(
            f"Signature expired: {date} is now earlier than {_basic_iso(now - lived_s_max)}"
            f" ({_basic_iso(now)} - {_minutes(lived_s_max)})"
        )
    if second > now + SKEW_S_MAX:
        raise _invalid(
            f"Signature not yet current: {date} is still later than {_basic_iso(now + SKEW_S_MAX)}"
            f" ({_basic_iso(now)} + {_minutes(SKEW_S_MAX)})"
        )
    return date.encode()


def _minutes(seconds: int) -> str:
    return f"{seconds // 60} min." if seconds % 60 == 0 else f"{seconds} s."


def _canonical_headers(signed_headers: bytes, headers: dict[bytes, bytes]) -> bytes:
    names = signed_headers.split(b";")
    if b"host" not in names:
        raise _invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    unsigned = [name for name in headers if name[:6] == b"x-amz-" and name not in names]
    if unsigned:
        listed = ", ".join(name.decode("latin-1") for name in unsigned)
        raise _invalid(f"There were headers present in the request which were not signed: {listed}")
    try:
        lines = [b"%b:%b\n" % (name, b" ".join(headers[name].split())) for name in names]
    except KeyError:  # a header that was signed has not arrived
        raise _invalid(_TEXT_MISMATCH) from None
    return b"".join(lines)


def _payload_hash(request: HttpRequest) -> bytes:
    computed = sha256(request.body).hexdigest().encode() if request.body else _EMPTY_SHA256
    sent = request.headers.get(b"x-amz-content-sha256")
    if sent is None or sent == computed:
        return computed
    if sent == _UNSIGNED_PAYLOAD:
        return sent
    raise _invalid("The provided 'x-amz-content-sha256' header does not match what was computed.")


@lru_cache(maxsize=256)
def canonical_path(raw_path: bytes) -> bytes:
    """Normalise a path as sent and encode it once more, as all services but S3 want it."""
    parts: list[str] = []
    text = raw_path.decode("latin-1")
    for part in text.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    normal = "/" + "/".join(parts) + ("/" if parts and text.endswith("/") else "")
    return quote(normal, safe="/~", encoding="latin-1").encode()


def _canonical_queries(query: bytes, is_presigned: bool) -> list[bytes]:
    """Give the canonical forms under which a client may have signed `query`.

    The first takes names and values as sent (botocore), the second decodes and encodes them again
    (AWS's description). Both bind every name and value.
    """
    if not query:
        return [b""]
    pairs = [part.partition(b"=")[::2] for part in query.split(b"&") if part]
    if is_presigned:
        pairs = [pair for pair in pairs if pair[0] != b"X-Amz-Signature"]
    as_sent = b"&".join([b"%b=%b" % pair for pair in sorted(pairs)])
    encoded = sorted((_encode_again(name), _encode_again(value)) for name, value in pairs)
    again = "&".join(f"{name}={value}" for name, value in encoded).encode()
    return [as_sent] if again == as_sent else [as_sent, again]


def _encode_again(text: bytes) -> str:
    return quote(unquote_to_bytes(text), safe="-_.~")


def _unknown_token() -> Refusal:
    return Refusal("UnrecognizedClientException", _TEXT_TOKEN_INVALID, http_status=403)


def _invalid(message: str) -> Refusal:
    return Refusal("InvalidSignatureException", message, http_status=403)


def _incomplete(message: str) -> Refusal:
    return Refusal("IncompleteSignatureException", message, http_status=403)
