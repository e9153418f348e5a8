"""Signatures: what botocore's signer makes is accepted; anything changed afterwards is refused."""

import re
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from batchyard.access.keys import KeyRing
from batchyard.model.refusal import Refusal
from batchyard.wire.request import HttpRequest
from batchyard.wire.sigv4 import PRESIGNED_S_MAX, SIGNING_KEYS_MAX, Verifier

from .conftest import ACCOUNT, KEY, REGION

HOST = "yard.example:8421"
SEGMENT = st.text("abcXYZ019-._~%:@!$&'()*+,;= é", max_size=8)


def percent(text: str) -> str:
    """Encode what may not stand in a request line, and leave the rest as some clients do."""
    return "".join(c if re.match(r"[!-\"$&-;=@-~]", c) else f"%{ord(c):02X}" for c in text)


PATHS = st.lists(SEGMENT.map(percent), max_size=4).map(lambda parts: "/" + "/".join(parts))
QUERIES = st.lists(
    st.tuples(SEGMENT, SEGMENT).map(lambda kv: "=".join(map(percent_query, kv))), max_size=3
).map("&".join)


def percent_query(text: str) -> str:
    return "".join(c if re.match(r"[A-Za-z0-9._~-]", c) else percent_byte(c) for c in text)


def percent_byte(c: str) -> str:
    return "".join(f"%{byte:02X}" for byte in c.encode())


HEADERS = st.dictionaries(
    st.sampled_from(["X-Amz-Target", "Content-Type", "X-Amz-Meta", "X-Custom"]),
    st.text("ab Z/;,=09.", min_size=1, max_size=12).filter(str.strip),
)


def now_ms_of(request: HttpRequest, at: str | None = None) -> int:
    text = at or request.headers[b"x-amz-date"].decode()
    moment = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000


def signed(method="POST", path="/v1/submitjob", query="", headers=None, **options):
    body = options.get("body", b"{}")
    credentials = options.get("credentials", Credentials(KEY.id, KEY.secret))
    url = f"http://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers={"Host": HOST} | (headers or {}), data=body)
    SigV4Auth(credentials, options.get("service", "batch"), REGION).add_auth(request)
    return received(request)


def received(request: AWSRequest) -> HttpRequest:
    parts = urlsplit(request.url)
    path, _, _ = request.url[len(f"http://{HOST}") :].partition("?")
    return HttpRequest(
        request.method,
        path.encode(),
        parts.query.encode(),
        {name.lower().encode(): value.strip().encode() for name, value in request.headers.items()},
        request.data,
    )


def verify(request, service="batch", now_ms=None):
    return Verifier(KeyRing([KEY])).verify(
        request, service, now_ms if now_ms is not None else now_ms_of(request)
    )


def refused(request, **options):
    with pytest.raises(Refusal) as info:
        verify(request, **options)
    assert info.value.http_status == 403
    return info.value.code, info.value.message


@pytest.mark.aws_documented
@given(st.sampled_from(["GET", "POST", "DELETE"]), PATHS, QUERIES, HEADERS, st.binary(max_size=64))
def test_what_botocore_signs_is_accepted(method, path, query, headers, body):
    identity = verify(signed(method, path, query, headers, body=body))

    assert identity.key is KEY
    assert (identity.scope.account, identity.scope.region) == (ACCOUNT, REGION)


@pytest.mark.aws_documented
@given(
    st.data(),
    PATHS,
    QUERIES,
    HEADERS.map(lambda headers: {n: " ".join(v.split()) for n, v in headers.items()}),
    st.binary(min_size=1, max_size=64),
)
def test_any_byte_changed_after_signing_is_refused(data, path, query, headers, body):
    request = signed("POST", path, query, headers, body=body)
    now_ms = now_ms_of(request)
    covered = request.headers[b"authorization"].split(b"SignedHeaders=")[1].split(b",")[0]
    places = ["method", "raw_path", "body", "authorization"]
    places += ["query"] * bool(query) + [name.decode() for name in covered.split(b";")]
    place = data.draw(st.sampled_from(places))
    before = original(request, place)
    at = data.draw(st.integers(0, len(before) - 1))
    byte = data.draw(st.integers(0x21, 0x7E).filter(lambda each: each != before[at]))
    after = before[:at] + bytes([byte]) + before[at + 1 :]
    if means_the_same(place, before, after):
        return
    change(request, place, after)

    with pytest.raises(Refusal):
        verify(request, now_ms=now_ms)


def original(request, place):
    if place == "method":
        return request.method.encode()
    if place in ("raw_path", "query", "body"):
        return getattr(request, place)
    return request.headers[place.encode()]


def change(request, place, value):
    if place == "method":
        request.method = value.decode()
    elif place in ("raw_path", "query", "body"):
        setattr(request, place, value)
    else:
        request.headers[place.encode()] = value


def means_the_same(place, before, after):
    """Tell changes that change nothing: `%2f` for `%2F` in the query, `/./` in a path."""
    if place == "raw_path":
        return plain_path(before) == plain_path(after)
    if place == "query":
        return plain_pairs(before) == plain_pairs(after)
    if place == "authorization":
        # Parameters that nobody reads may change: there are none, but a separator's neighbour is.
        return False
    return place not in ("method", "body") and before.split() == after.split()


def plain_path(path):
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return parts, path.endswith(b"/") and bool(parts)


def plain_pairs(query):
    pairs = [part.partition(b"=") for part in query.split(b"&") if part]
    return sorted((unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs)


@pytest.mark.aws_documented
def test_the_tag_paths_of_botocore_are_signed_with_the_path_encoded_twice():
    path = "/v1/tags/arn%3Aaws%3Abatch%3Aeu-central-1%3A1%3Ajob-queue%2Fq"

    assert verify(signed("DELETE", path, "tagKeys=a%20b&tagKeys=c", body=b"")).key is KEY


@pytest.mark.unknown
def test_a_query_signed_in_canonical_form_is_accepted_as_other_sdks_send_it():
    # Signed as `a=%2F&b=`, sent as `b&a=/`.
    request = signed("GET", "/", "a=%2F&b=", body=b"")
    request.query = b"b&a=/"

    assert verify(request).key is KEY


@pytest.mark.aws_documented
def test_a_payload_hash_that_is_sent_must_be_the_bodys():
    right = {"X-Amz-Content-SHA256": sha256(b"{}").hexdigest()}
    assert verify(signed(headers=right)).key is KEY
    request = signed(headers=right)
    request.body = b"[]"
    assert refused(request) == (
        "InvalidSignatureException",
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )


@pytest.mark.aws_documented
def test_a_payload_may_be_left_unsigned():
    request = signed(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    request.body = b"anything"

    assert verify(request).key is KEY


@pytest.mark.aws_documented
@pytest.mark.parametrize("seconds", [-300, -1, 0, 299, 300])
def test_clocks_may_differ_by_five_minutes(seconds):
    request = signed()

    assert verify(request, now_ms=now_ms_of(request) + seconds * 1000).key is KEY


@pytest.mark.aws_documented
def test_an_old_or_early_signature_is_refused():
    request = signed()
    request.headers[b"x-amz-date"] = b"20300830T123600Z"
    auth = request.headers[b"authorization"]
    request.headers[b"authorization"] = re.sub(rb"/\d{8}/", b"/20300830/", auth)

    assert refused(request, now_ms=now_ms_of(request, "20300830T124600Z")) == (
        "InvalidSignatureException",
        "Signature expired: 20300830T123600Z is now earlier than 20300830T124100Z"
        " (20300830T124600Z - 5 min.)",
    )
    assert refused(request, now_ms=now_ms_of(request, "20300830T122600Z")) == (
        "InvalidSignatureException",
        "Signature not yet current: 20300830T123600Z is still later than 20300830T123100Z"
        " (20300830T122600Z + 5 min.)",
    )


@pytest.mark.aws_documented
def test_the_scope_must_be_ours():
    assert refused(signed(service="ec2")) == (
        "InvalidSignatureException",
        "Credential should be scoped to correct service: 'batch'.",
    )
    for old, new, text in [
        (b"aws4_request", b"aws5_request", "a valid terminator: 'aws4_request'."),
        (REGION.encode(), b"EU%", "a valid region."),
        (b"/20", b"/19", "Date in Credential scope does not match YYYYMMDD"),
    ]:
        request = signed()
        auth = request.headers[b"authorization"].replace(old, new, 1)
        request.headers[b"authorization"] = auth
        code, message = refused(request)
        assert code == "InvalidSignatureException"
        assert text in message


@pytest.mark.aws_documented
def test_a_malformed_authorization_says_what_is_missing():
    request = signed()
    del request.headers[b"x-amz-date"]
    request.headers[b"authorization"] = b"AWS4-HMAC-SHA256 SignedHeaders=host"
    assert refused(request, now_ms=0) == (
        "IncompleteSignatureException",
        "Authorization header requires 'Credential' parameter. Authorization header requires"
        " 'Signature' parameter. Authorization header requires existence of either a 'X-Amz-Date'"
        " or a 'Date' header.",
    )
    request = signed()
    auth = request.headers[b"authorization"]
    request.headers[b"authorization"] = auth.replace(b"/aws4_request", b"")
    code, message = refused(request)
    assert code == "IncompleteSignatureException"
    assert "exactly 5 slash-delimited elements" in message
    for other in (b"Bearer abc", b"", b"AWS4-HMAC-SHA256", b"AWS AKIA:abc", b"\xff\xfe"):
        request = signed()
        request.headers[b"authorization"] = other
        assert refused(request)[0] == "IncompleteSignatureException"


@pytest.mark.aws_documented
@pytest.mark.parametrize("date", [b"", b"yesterday", b"20309930T126000Z", b"2030-08-30T12:36:00Z"])
def test_a_date_that_is_none_is_refused(date):
    request = signed()
    now_ms = now_ms_of(request)
    request.headers[b"x-amz-date"] = date

    assert refused(request, now_ms=now_ms)[0] == "IncompleteSignatureException"


@pytest.mark.aws_documented
def test_host_and_every_amz_header_must_be_signed():
    request = signed()
    request.headers[b"x-amz-target"] = b"Logs_20140328.DeleteLogGroup"
    assert refused(request) == (
        "InvalidSignatureException",
        "There were headers present in the request which were not signed: x-amz-target",
    )
    request = signed()
    auth = request.headers[b"authorization"]
    request.headers[b"authorization"] = auth.replace(b"=host;", b"=")
    assert "'Host'" in refused(request)[1]
    request = signed(headers={"X-Custom": "a"})
    del request.headers[b"x-custom"]
    assert refused(request)[0] == "InvalidSignatureException"


@pytest.mark.unknown
def test_a_long_term_key_has_no_session_token():
    request = signed(credentials=Credentials(KEY.id, KEY.secret, "token"))

    assert refused(request) == (
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    )


@pytest.mark.aws_documented
def test_a_date_header_serves_where_there_is_no_amz_date():
    request = signed(headers={"Date": "Fri, 30 Aug 2030 12:36:00 GMT"})
    # botocore signs and sends X-Amz-Date or Date, whichever is there.
    assert b"x-amz-date" not in request.headers

    now_ms = now_ms_of(request, datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"))
    assert verify(request, now_ms=now_ms).key is KEY


def presigned(expires_s=60, query="Action=GetCallerIdentity&Version=2011-06-15"):
    request = AWSRequest("GET", f"http://{HOST}/?{query}", headers={"Host": HOST})
    credentials = Credentials(KEY.id, KEY.secret)
    SigV4QueryAuth(credentials, "sts", REGION, expires=expires_s).add_auth(request)
    request.data = b""
    return received(request), re.findall(r"X-Amz-Date=(\w+)", request.url)[0]


@pytest.mark.aws_documented
def test_a_presigned_url_is_accepted_while_it_lives():
    request, date = presigned(expires_s=60)
    start = now_ms_of(request, date)

    assert verify(request, "sts", start).key is KEY
    assert verify(request, "sts", start + 60_000).key is KEY
    code, text = refused(request, service="sts", now_ms=start + 61_000)
    assert code == "InvalidSignatureException"
    assert text.startswith(f"Signature expired: {date} is now earlier than ")
    assert refused(request, service="sts", now_ms=start - 301_000)[1].startswith("Signature not")


@pytest.mark.aws_documented
def test_a_presigned_url_changed_in_any_part_is_refused():
    request, date = presigned()
    now_ms = now_ms_of(request, date)
    for old, new in [
        (b"GetCallerIdentity", b"AssumeRole"),
        (b"X-Amz-Expires=60", b"X-Amz-Expires=90"),
        (b"X-Amz-Expires=60", b"X-Amz-Expires=0"),
        (b"X-Amz-Expires=60", b"X-Amz-Expires=%d" % (PRESIGNED_S_MAX + 1)),
        (b"X-Amz-Expires=60", b"X-Amz-Expires=60&X-Amz-Expires=90"),
        (b"X-Amz-Expires=60", b""),
        (b"X-Amz-SignedHeaders=host", b"X-Amz-SignedHeaders=date"),
        (b"X-Amz-Algorithm=AWS4-HMAC-SHA256", b"X-Amz-Algorithm=none"),
        (b"Version", b"X-Amz-Security-Token=x&Version"),
    ]:
        changed, _ = presigned()
        changed.query = request.query.replace(old, new)
        assert changed.query != request.query
        with pytest.raises(Refusal):
            verify(changed, "sts", now_ms)


@pytest.mark.aws_documented
def test_a_request_is_signed_once():
    request = signed(query="X-Amz-Signature=abc", method="GET")

    assert refused(request)[0] == "IncompleteSignatureException"


@pytest.mark.ours_only
def test_the_kept_credentials_are_bounded_and_the_secret_is_not_shown():
    verifier = Verifier(KeyRing([KEY]))
    for number in range(SIGNING_KEYS_MAX + 10):
        request = signed()
        auth = request.headers[b"authorization"].replace(REGION.encode(), b"r-%d" % number)
        request.headers[b"authorization"] = auth
        with pytest.raises(Refusal):
            verifier.verify(request, "batch", now_ms_of(request))
    kept = verifier._credentials
    assert len(kept) == SIGNING_KEYS_MAX
    assert KEY.secret not in repr(kept)
    assert KEY.secret not in repr(KEY)


#: What a claim may be made of, by somebody who means no good.
PIECES = st.lists(
    st.one_of(
        st.binary(max_size=8),
        st.sampled_from(
            [
                *(b"%E2%82%AC", b"%", b"%00", b"host", KEY.id.encode(), b"/", b"20260101", b"T"),
                *(b"9" * 5000, b"aws4_request", b"sts", b"AWS4-HMAC-SHA256", b",", b"=", b"+99999"),
            ]
        ),
    ),
    max_size=6,
).map(b"".join)


@pytest.mark.ours_only
@given(st.lists(PIECES, min_size=6, max_size=6))
def test_whatever_a_presigned_url_claims_is_refused_and_breaks_nothing(values):
    names = ["Signature", "Algorithm", "Credential", "Date", "SignedHeaders", "Expires"]
    query = b"&".join(
        b"X-Amz-" + name.encode() + b"=" + value for name, value in zip(names, values, strict=True)
    )
    request = HttpRequest("GET", b"/", query, {b"host": b"a"})
    with pytest.raises(Refusal):
        verify(request, "sts", 0)


@pytest.mark.ours_only
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"X-Amz-Expires", b"1" * 5000),
        (b"X-Amz-SignedHeaders", b"%E2%82%AC"),
        (b"X-Amz-Signature", b"%E2%82%AC"),
        (b"X-Amz-Algorithm", b"%E2%82%AC"),
        (b"X-Amz-Date", b"%E2%82%AC"),
    ],
)
def test_a_presigned_url_of_odd_characters_is_refused(name, value):
    """Each of these once ended in a 500, for anybody."""
    request, date = presigned()
    old = re.search(name + b"=[^&]*", request.query)
    assert old is not None
    request.query = request.query.replace(old.group(), name + b"=" + value)
    with pytest.raises(Refusal):
        verify(request, "sts", now_ms_of(request, date))


@pytest.mark.ours_only
@given(PIECES, PIECES, PIECES, PIECES)
def test_whatever_a_header_claims_is_refused_and_breaks_nothing(credential, names, signature, date):
    claim = b"AWS4-HMAC-SHA256 Credential=%b, SignedHeaders=%b, Signature=%b"
    headers = {
        b"host": b"a",
        b"authorization": claim % (credential, names, signature),
        b"date": date,
    }
    with pytest.raises(Refusal):
        verify(HttpRequest("GET", b"/", b"", headers), "sts", 0)


@pytest.mark.ours_only
def test_a_credential_that_is_too_long_is_not_kept():
    verifier = Verifier(KeyRing([KEY]))
    request = signed()
    auth = request.headers[b"authorization"].replace(
        REGION.encode(), REGION.encode() + b"/" + b"a" * 9999
    )
    request.headers[b"authorization"] = auth.replace(b"/batch/", b"/")
    with pytest.raises(Refusal, match="Credential"):
        verifier.verify(request, "batch", now_ms_of(request))
    assert not verifier._credentials
