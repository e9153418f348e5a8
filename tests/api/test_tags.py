"""TagResource, UntagResource, ListTagsForResource."""

import pytest

from tests.api.conftest import ELSEWHERE, Yard

BATCH = "arn:aws:batch:eu-central-1:123456789012"
MISSING = "00000000-0000-4000-8000-000000000000"


async def arn_of(yard: Yard, kind: str) -> str:
    if kind == "job":
        return f"{BATCH}:job/{await yard.submit(tags={'old': '1'})}"
    if kind == "job-definition":
        return await yard.define("tagged", tags={"old": "1"})
    if kind == "scheduling-policy":
        answer = await yard.call("CreateSchedulingPolicy", name="tagged", tags={"old": "1"})
        return str(answer["arn"])
    name = {"compute-environment": "ce", "job-queue": "jq"}[kind]
    arn = f"{BATCH}:{kind}/{name}"
    await yard.call("TagResource", resourceArn=arn, tags={"old": "1"})
    return arn


@pytest.mark.parametrize(
    "kind",
    ["compute-environment", "job-queue", "job-definition", "job", "scheduling-policy"],
)
async def test_tags_are_merged_and_taken_away(ready: Yard, kind):
    arn = await arn_of(ready, kind)
    assert await ready.call("TagResource", resourceArn=arn, tags={"a": "1", "b": ""}) == {}
    await ready.call("TagResource", resourceArn=arn, tags={"a": "2"})
    assert await ready.call("ListTagsForResource", resourceArn=arn) == {
        "tags": {"old": "1", "a": "2", "b": ""}
    }
    assert await ready.call("UntagResource", resourceArn=arn, tagKeys=["a", "gone"]) == {}
    assert await ready.call("ListTagsForResource", resourceArn=arn) == {
        "tags": {"old": "1", "b": ""}
    }


async def test_tags_show_where_the_resource_is_described(ready: Yard):
    job_id = await ready.submit()
    await ready.call("TagResource", resourceArn=f"{BATCH}:job/{job_id}", tags={"k": "v"})
    assert (await ready.job(job_id))["tags"] == {"k": "v"}
    await ready.call("TagResource", resourceArn=f"{BATCH}:job-queue/jq", tags={"k": "v"})
    [queue] = (await ready.call("DescribeJobQueues"))["jobQueues"]
    assert (queue["tags"], queue["status"]) == ({"k": "v"}, "VALID")


@pytest.mark.parametrize(
    ("arn", "message"),
    [
        (f"{BATCH}:job-queue/gone", f"{BATCH}:job-queue/gone does not exist"),
        (f"{BATCH}:job-definition/jd", f"{BATCH}:job-definition/jd does not exist"),
        (f"{BATCH}:job/{MISSING}", f"{BATCH}:job/{MISSING} does not exist"),
        (f"{BATCH}:job/{MISSING}:0", "Tags are not supported on child jobs."),
        (f"{BATCH}:job/{MISSING}#0", "Tags are not supported on child jobs."),
        (f"{BATCH}:scheduling-policy/p", f"{BATCH}:scheduling-policy/p does not exist"),
        ("jq", "jq does not exist"),
        (
            "arn:aws:logs:eu-central-1:1:log-group:g",
            "arn:aws:logs:eu-central-1:1:log-group:g does not exist",
        ),
    ],
)
async def test_what_cannot_be_tagged(ready: Yard, arn, message):
    assert await ready.refused("TagResource", resourceArn=arn, tags={"a": "b"}) == message
    assert await ready.refused("UntagResource", resourceArn=arn, tagKeys=["a"]) == message
    assert await ready.refused("ListTagsForResource", resourceArn=arn) == message


async def test_the_51st_tag_is_refused_and_nothing_changes(ready: Yard):
    arn = f"{BATCH}:job-queue/jq"
    await ready.call("TagResource", resourceArn=arn, tags={str(n): "" for n in range(50)})
    message = await ready.refused("TagResource", resourceArn=arn, tags={"one-more": ""})
    assert message == "A resource cannot have more than 50 tags."
    await ready.call("TagResource", resourceArn=arn, tags={"7": "changed"})
    tags = (await ready.call("ListTagsForResource", resourceArn=arn))["tags"]
    assert (len(tags), tags["7"]) == (50, "changed")


async def test_other_accounts_cannot_see_or_change_tags(ready: Yard):
    arn = f"{BATCH}:job-queue/jq"
    for operation, request in (
        ("TagResource", {"tags": {"a": "b"}}),
        ("UntagResource", {"tagKeys": ["a"]}),
        ("ListTagsForResource", {}),
    ):
        message = await ready.refused(operation, scope=ELSEWHERE, resourceArn=arn, **request)
        assert message == f"{arn} does not exist"
