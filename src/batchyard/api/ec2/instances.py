"""DescribeInstances: what the instances of compute environments look like to EC2.

Decides which members are shown: those that mean something for a slice of a machine. An instance
that has ended is shown for an hour, as `terminated`.
"""

import re
from collections.abc import Sequence

from batchyard.api.batch.paging import read_token, write_token
from batchyard.api.ec2.filters import fits, read_filters
from batchyard.api.ec2.refusals import invalid_token, page_size, refuse_dry_run
from batchyard.model.ids import EnvironmentArn, name_in_arn
from batchyard.model.instances import InstanceId
from batchyard.model.limits import ENVIRONMENT_COUNT_MAX
from batchyard.model.records import EnvironmentRecord, InstanceRecord, Json
from batchyard.model.refusal import Refusal
from batchyard.store import Connection, Store
from batchyard.store.environments import list_environments
from batchyard.store.instances import page_instances, read_instance
from batchyard.wire.call import Call

#: "A terminated instance remains visible for a short while (usually less than one hour)."
_VISIBLE_MS = 3_600_000
_MILLI = 1000
_PAGE_SIZE_MIN, _PAGE_SIZE_MAX = 5, 1000
_READ_MAX = 1000
_ID = re.compile(r"i-([0-9a-f]{8}|[0-9a-f]{17})")
_FILTERS = (
    "instance-id",
    "instance-type",
    "instance-state-name",
    "instance-lifecycle",
    "availability-zone",
    "tag-key",
    "tag:",
)
#: EC2's codes of states.
_CODES = {"pending": 0, "running": 16, "terminated": 48}

_Numbered = tuple[int, InstanceRecord]


async def describe_instances(store: Store, call: Call, request: Json) -> Json:
    """Show instances, each in a reservation of its own."""
    ids: Sequence[str] = request.get("InstanceIds") or ()
    filters = read_filters(request, _FILTERS)
    size = _page_size(request, ids)
    query = ("DescribeInstances", [(each.get("Name"), each.get("Values")) for each in filters])
    after_seq = _position_in(query, request.get("NextToken"))
    _refuse_malformed(ids)
    refuse_dry_run(request)

    def read(conn: Connection) -> tuple[list[_Numbered], dict[EnvironmentArn, EnvironmentRecord]]:
        known = list_environments(conn, call.scope, 0, ENVIRONMENT_COUNT_MAX)
        by_arn = {record.arn: record for record in known}
        found = (
            _read_by_id(conn, call, ids)
            if ids
            else _read_page(conn, call, by_arn, filters, after_seq=after_seq, limit=size + 1)
        )
        return found, by_arn

    found, environments = await store.read_long(read)
    shown = [
        _shown(call, record, environments.get(record.environment_arn))
        for _, record in found[:size]
        if not filters or fits(_texts_of(call, record, environments), filters)
    ]
    answer: Json = {
        "Reservations": [
            {
                "ReservationId": f"r-{each['InstanceId'][2:]}",
                "OwnerId": call.scope.account,
                "Instances": [each],
            }
            for each in shown
        ]
    }
    if len(found) > size:
        answer["NextToken"] = write_token(query, found[size - 1][0])
    return answer


def _page_size(request: Json, ids: Sequence[str]) -> int:
    size = page_size(request, size_min=_PAGE_SIZE_MIN, size_max=_PAGE_SIZE_MAX)
    if size is None:
        return max(_PAGE_SIZE_MAX, len(ids))
    if ids:
        text = "The parameter instancesSet cannot be used with the parameter maxResults"
        raise Refusal("InvalidParameterCombination", text)
    return size


def _position_in(query: Sequence[object], token: str | None) -> int:
    if token == "":
        raise invalid_token(token)
    try:
        return read_token(query, token) or 0
    except Refusal:
        raise invalid_token(token or "") from None


def _refuse_malformed(ids: Sequence[str]) -> None:
    for text in ids:
        if not _ID.fullmatch(text):
            raise Refusal("InvalidInstanceID.Malformed", f'Invalid id: "{text}"')


def _read_by_id(conn: Connection, call: Call, ids: Sequence[str]) -> list[_Numbered]:
    """Read the instances named. Refuses unknown ids, as EC2 does, all at once."""
    found: list[_Numbered] = []
    unknown: list[str] = []
    for text in dict.fromkeys(ids):
        record = read_instance(conn, InstanceId(text))
        if record is None or not _is_visible(call, record):
            unknown.append(text)
        else:
            found.append((0, record))
    if unknown:
        what = "ID" if len(unknown) == 1 else "IDs"
        verb = "does" if len(unknown) == 1 else "do"
        text = f"The instance {what} '{', '.join(unknown)}' {verb} not exist"
        raise Refusal("InvalidInstanceID.NotFound", text)
    return found


def _read_page(  # noqa: PLR0913 -- what makes a page
    conn: Connection,
    call: Call,
    environments: dict[EnvironmentArn, EnvironmentRecord],
    filters: Sequence[Json],
    *,
    after_seq: int,
    limit: int,
) -> list[_Numbered]:
    prefix = call.scope.environment_arn("")
    page: list[_Numbered] = []
    while len(page) < limit:
        read = page_instances(
            conn,
            prefix,
            after_seq=after_seq,
            limit=_READ_MAX,
            ended_after_ms=call.now_ms - _VISIBLE_MS,
        )
        page += [
            (seq, record)
            for seq, record in read
            if _is_visible(call, record) and fits(_texts_of(call, record, environments), filters)
        ]
        if len(read) < _READ_MAX:
            break
        after_seq = read[-1][0]
    return page[:limit]


def _is_visible(call: Call, record: InstanceRecord) -> bool:
    ended_ms = record.terminated_ms
    is_ours = record.environment_arn.startswith(call.scope.environment_arn(""))
    return is_ours and (ended_ms is None or call.now_ms - ended_ms < _VISIBLE_MS)


def _state_of(call: Call, record: InstanceRecord) -> str:
    if record.terminated_ms is not None:
        return "terminated"
    return "pending" if call.now_ms < record.ready_ms else "running"


def _tags_of(record: InstanceRecord, environment: EnvironmentRecord | None) -> dict[str, str]:
    """Give the tags of an instance: its environment's `computeResources.tags`, and AWS Batch's."""
    given: dict[str, str] = {}
    if environment is not None:
        given = (environment.detail.get("computeResources") or {}).get("tags") or {}
    return {**given, "AWSBatchServiceTag": "batch", "batchyard:host": record.host_id}


def _texts_of(
    call: Call, record: InstanceRecord, environments: dict[EnvironmentArn, EnvironmentRecord]
) -> dict[str, list[str]]:
    """Give what filters compare, by their names."""
    tags = _tags_of(record, environments.get(record.environment_arn))
    texts: dict[str, list[str]] = {
        "instance-id": [record.id],
        "instance-type": [record.instance_type],
        "instance-state-name": [_state_of(call, record)],
        "instance-lifecycle": ["spot"] if record.is_spot else [],
        "availability-zone": [f"{call.scope.region}a"],
        "tag-key": list(tags),
    }
    return texts | {f"tag:{key}": [value] for key, value in tags.items()}


def _shown(call: Call, record: InstanceRecord, environment: EnvironmentRecord | None) -> Json:
    state = _state_of(call, record)
    tags = _tags_of(record, environment)
    shown: Json = {
        "InstanceId": record.id,
        "InstanceType": record.instance_type,
        "State": {"Code": _CODES[state], "Name": state},
        "LaunchTime": record.launched_ms / _MILLI,
        "Placement": {"AvailabilityZone": f"{call.scope.region}a", "Tenancy": "default"},
        "CpuOptions": {"CoreCount": max(1, record.capacity.cpu_milli // _MILLI)},
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    if record.is_spot:
        shown["InstanceLifecycle"] = "spot"
    if record.cause is not None:
        text = f"{record.cause}: {name_in_arn(record.environment_arn)}"
        shown["StateTransitionReason"] = text
    return shown
