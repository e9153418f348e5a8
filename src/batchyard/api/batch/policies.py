"""Create, describe, list, update and delete scheduling policies.

They are written at once (reference/compute-and-scheduling.md section 3.2): a policy has no status.
The engine takes up a change for every queue that uses the policy. A policy is of fair share or of
quota shares for life; one of quota shares has nothing that could change.
"""

from collections.abc import Sequence

from batchyard.api.batch.paging import page_size, read_token, write_token
from batchyard.api.batch.rules.names import check_resource_name, is_policy_arn_in
from batchyard.api.batch.rules.quota import POLICY as QUOTA_SHARE
from batchyard.api.batch.rules.quota import check_quota_policy
from batchyard.api.batch.rules.shares import check_fair_share
from batchyard.api.batch.rules.tag_rules import check_tags
from batchyard.api.batch.service import Service
from batchyard.model.ids import PolicyArn, Scope
from batchyard.model.limits import DESCRIBE_IDS_MAX, PAGE_SIZE_MAX
from batchyard.model.records import Json, PolicyRecord
from batchyard.model.refusal import Refusal, client_exception
from batchyard.store import Connection, policies, queues
from batchyard.wire.call import Call

_FAIR_SHARE = "fairsharePolicy"


async def create_scheduling_policy(service: Service, call: Call, request: Json) -> Json:
    """Make a policy. One that says nothing is of fair share, with all shares equal."""
    name: str = request["name"]
    check_resource_name(name, "name")
    detail = checked_policy(request)
    tags = request.get("tags", {})
    check_tags(tags)
    arn = call.scope.policy_arn(name)

    def insert(conn: Connection) -> None:
        is_new = policies.insert_policy(
            conn, arn=arn, scope=call.scope, name=name, detail=detail, tags=tags
        )
        if not is_new:
            raise client_exception("Object already exists")

    await service.store.write(insert)
    return {"name": name, "arn": arn}


async def update_scheduling_policy(service: Service, call: Call, request: Json) -> Json:
    """Replace what the policy says; it counts at once for every queue with the policy."""
    arn = _arn_of(call.scope, request["arn"])
    detail = checked_policy(request)

    def update(conn: Connection) -> None:
        before = policies.hold_policy(conn, arn)
        if before is None:
            raise _unknown(arn)
        if detail and (QUOTA_SHARE in detail) != (QUOTA_SHARE in before.detail):
            raise client_exception(
                "A scheduling policy is either a fairsharePolicy or a quotaSharePolicy for life."
            )
        if _FAIR_SHARE in detail:
            policies.update_policy(conn, arn, detail)
            service.store.note_wish()

    await service.store.write(update)
    return {}


async def delete_scheduling_policy(service: Service, call: Call, request: Json) -> Json:
    """Delete a policy that no queue has."""
    arn = _arn_of(call.scope, request["arn"])

    def delete(conn: Connection) -> None:
        if policies.hold_policy(conn, arn) is None:
            raise _unknown(arn)
        if queues.queues_of_policy(conn, arn):
            raise client_exception("Cannot delete, found existing JobQueue relationship")
        policies.delete_policy(conn, arn)

    await service.store.write(delete)
    return {}


async def describe_scheduling_policies(service: Service, call: Call, request: Json) -> Json:
    """Show policies in the order asked; unknown ones are left out, repeated ones shown once."""
    arns: Sequence[str] = request["arns"]
    if len(arns) > DESCRIBE_IDS_MAX:
        raise client_exception(f"arns must not have more than {DESCRIBE_IDS_MAX} items.")
    wanted = [PolicyArn(arn) for arn in dict.fromkeys(arns) if is_policy_arn_in(call.scope, arn)]

    def read(conn: Connection) -> list[PolicyRecord]:
        found = (policies.read_policy(conn, arn) for arn in wanted)
        return [each for each in found if each is not None]

    records = await service.store.read(read)
    return {
        "schedulingPolicies": [
            {"name": each.name, "arn": each.arn, **each.detail, "tags": dict(each.tags)}
            for each in records
        ]
    }


async def list_scheduling_policies(service: Service, call: Call, request: Json) -> Json:
    """Name the policies in the order of their creation."""
    size = page_size(request.get("maxResults"), size_max=PAGE_SIZE_MAX)
    query = ("ListSchedulingPolicies", call.scope)
    after_seq = read_token(query, request.get("nextToken")) or 0
    records = await service.store.read(
        lambda conn: policies.list_policies(conn, call.scope, after_seq, size + 1)
    )
    answer: Json = {"schedulingPolicies": [{"arn": each.arn} for each in records[:size]]}
    if len(records) > size:
        answer["nextToken"] = write_token(query, records[size - 1].seq)
    return answer


def checked_policy(request: Json) -> Json:
    """Give what is kept of a policy. Refuses what AWS would refuse."""
    policy: Json | None = request.get(_FAIR_SHARE)
    of_quota: Json | None = request.get(QUOTA_SHARE)
    if of_quota is not None:
        if policy is not None:
            raise client_exception(
                "Only one of fairsharePolicy and quotaSharePolicy can be specified."
            )
        check_quota_policy(of_quota)
        return {QUOTA_SHARE: of_quota}
    if policy is None:
        return {}
    check_fair_share(policy)
    return {_FAIR_SHARE: policy}


def _arn_of(scope: Scope, text: str) -> PolicyArn:
    if not is_policy_arn_in(scope, text):
        raise _unknown(text)
    return PolicyArn(text)


def _unknown(arn: str) -> Refusal:
    return client_exception(f"{arn} does not exist")
