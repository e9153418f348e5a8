"""The tag operations (reference/compute-and-scheduling.md section 6)."""

from collections.abc import Callable, Mapping, Sequence

from batchyard.api.batch.rules.names import is_arn_in
from batchyard.api.batch.rules.tag_rules import check_tags
from batchyard.api.batch.service import Service
from batchyard.model.ids import Scope
from batchyard.model.records import Json
from batchyard.model.refusal import Refusal, client_exception
from batchyard.store import Connection
from batchyard.store import tags as stored_tags
from batchyard.wire.call import Call

_ARN_PARTS = 6
_Tags = Mapping[str, str]


async def tag_resource(service: Service, call: Call, request: Json) -> Json:
    """Add tags; a key that is there gets the new value."""
    given: dict[str, str] = request["tags"]
    check_tags(given)
    await _change(service, call, request["resourceArn"], lambda tags: {**tags, **given})
    return {}


async def untag_resource(service: Service, call: Call, request: Json) -> Json:
    """Take tags away; a key that is not there is no error."""
    keys: Sequence[str] = request["tagKeys"]
    await _change(
        service,
        call,
        request["resourceArn"],
        lambda tags: {key: value for key, value in tags.items() if key not in keys},
    )
    return {}


async def list_tags_for_resource(service: Service, call: Call, request: Json) -> Json:
    """Show the tags of a resource."""
    arn: str = request["resourceArn"]
    _check_arn(call.scope, arn)
    tags = await service.store.read(lambda conn: stored_tags.read_tags(conn, arn))
    if tags is None:
        raise _unknown(arn)
    return {"tags": tags}


async def _change(
    service: Service, call: Call, arn: str, change: Callable[[_Tags], dict[str, str]]
) -> None:
    _check_arn(call.scope, arn)

    def write(conn: Connection) -> None:
        before = stored_tags.read_tags(conn, arn)
        if before is None:
            raise _unknown(arn)
        after = change(before)
        check_tags(after)
        stored_tags.write_tags(conn, arn, after)

    await service.store.write(write)


def _check_arn(scope: Scope, arn: str) -> None:
    """Refuse what is not ours to see, and jobs that cannot have tags of their own."""
    if not is_arn_in(scope, arn):
        raise _unknown(arn)
    resource = arn.split(":", _ARN_PARTS - 1)[-1]
    if resource.startswith(("job/", "service-job/")) and ("#" in resource or ":" in resource):
        raise client_exception("Tags are not supported on child jobs.")


def _unknown(arn: str) -> Refusal:
    return client_exception(f"{arn} does not exist")
