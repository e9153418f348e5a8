"""The pure rules of nodes, tasks, pods and dependencies, as laws."""

from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.api.batch.rules.dependencies import Dependencies, check_known
from batchyard.api.batch.rules.ecs_task import merge_task, normalised_task, substitute_task
from batchyard.api.batch.rules.eks_pod import merge_pod, normalised_pod, pod_of_job
from batchyard.api.batch.rules.ground import Ground, Platform
from batchyard.api.batch.rules.nodes import check_ranges, merged_nodes, plan_of
from batchyard.model.amounts import Amount
from batchyard.model.ids import JobId, TaskId
from batchyard.model.log_stream import has_log_stream, log_stream_of
from batchyard.model.node_ranges import node_range_of, range_index_by_node, range_of_node
from batchyard.model.records import Json
from batchyard.model.refusal import Refusal
from tests.api.conftest import CONTAINER, SCOPE, requirements
from tests.api.test_definition_nodes import a_range, nodes
from tests.api.test_definition_pods import a_container as a_pod_container
from tests.api.test_definition_pods import a_pod
from tests.api.test_definition_tasks import a_container, a_task

EC2 = Ground(platform=Platform.EC2, is_multinode=True, request_id="r")
NAMES = ("main", "side")

words = st.text("abcXYZ019_-", min_size=1, max_size=5)
variables = st.dictionaries(words, words, max_size=3).map(
    lambda held: [{"name": name, "value": value} for name, value in held.items()]
)


def name_of(each: Any) -> str:
    return str(each["name"])


# ── ranges of nodes ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "first", "last", "is_open"),
    [
        ("0:3", 0, 3, False),
        (":3", 0, 3, False),
        ("2:", 2, 9, True),
        (":", 0, 9, True),
        ("4", 4, 4, False),
        ("10:12", 10, 12, False),
    ],
)
def test_targets_are_read(text, first, last, is_open):
    found = node_range_of(text, 10)
    assert found is not None
    assert (found.first, found.last, found.is_open) == (first, last, is_open)


@pytest.mark.parametrize("text", ["", "a", "3:1", "10:", "-1:2", "1:2:3", " 1", "1 ", "٣"])
def test_anything_else_is_no_target(text):
    assert node_range_of(text, 10) is None


@st.composite
def nested_ranges(draw: st.DrawFn) -> tuple[int, list[str]]:
    """A number of nodes, and ranges that account for all of them: parts, one part in another."""
    count = draw(st.integers(1, 30))
    cut = draw(st.integers(0, count - 1))
    targets = [f"0:{cut}"] if cut + 1 == count else [f"0:{cut}", f"{cut + 1}:"]
    if cut:
        first = draw(st.integers(0, cut - 1))
        targets.append(f"{first}:{draw(st.integers(first, cut - 1))}")
    return count, draw(st.permutations(targets))


@given(nested_ranges())
def test_ranges_made_of_parts_and_parts_of_parts_are_accepted(made):
    count, targets = made
    check_ranges(targets, count)


@given(nested_ranges())
def test_every_node_has_the_narrowest_of_the_ranges_that_have_it(made):
    count, targets = made
    ranges = [node_range_of(text, count) for text in targets]
    assert all(each is not None for each in ranges)
    properties = nodes(count, *(a_range(target) for target in targets))
    for index, at in enumerate(range_index_by_node([each for each in ranges if each], count)):
        assert at is not None
        having = [len(each) for each in ranges if each and index in each]
        assert len(ranges[at] or ()) == min(having)
        assert range_of_node(properties, index)["targetNodes"] == targets[at]


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=4))
def test_accepted_ranges_leave_no_node_out_and_nest_or_are_apart(count, pairs):
    targets = [f"{min(pair)}:{max(pair)}" for pair in pairs]
    members = [set(range(min(pair), max(pair) + 1)) for pair in pairs]
    is_good = set().union(*members) == set(range(count)) and all(
        not one & other or one < other or other < one
        for at, one in enumerate(members)
        for other in members[:at]
    )
    if is_good:
        check_ranges(targets, count)
    else:
        with pytest.raises(Refusal):
            check_ranges(targets, count)


@given(nested_ranges(), st.lists(st.integers(1, 3), min_size=3, max_size=3))
def test_a_plan_has_every_node_once_with_what_its_range_asks_for(made, cpus):
    count, targets = made
    by_target = dict(zip(targets, cpus, strict=False))
    properties = nodes(
        count,
        *(
            a_range(
                target,
                container={
                    **CONTAINER,
                    "resourceRequirements": requirements(VCPU=str(cpu), MEMORY="4"),
                },
            )
            for target, cpu in by_target.items()
        ),
    )
    plan = plan_of(properties, EC2)
    expected = [
        Amount(
            cpu_milli=1000 * by_target[range_of_node(properties, index)["targetNodes"]],
            memory_mib=4,
        )
        for index in range(count)
    ]
    assert plan.demands() == expected
    assert plan.count == count
    assert [group.count for group in plan.groups] == [
        len(list(same)) for _, same in groupby(expected, key=lambda amount: amount.cpu_milli)
    ]


@given(nested_ranges(), variables, st.lists(words, max_size=2))
def test_overriding_nodes_twice_is_overriding_them_once(made, environment, command):
    count, targets = made
    properties = nodes(count, *(a_range(target) for target in targets))
    overrides: Json = {
        "nodePropertyOverrides": [
            {
                "targetNodes": targets[0],
                "containerOverrides": {"environment": environment, "command": command},
            }
        ]
    }
    before = repr((properties, overrides))
    once = merged_nodes(properties, overrides, {}, EC2)
    assert merged_nodes(once, overrides, {}, EC2) == once
    assert repr((properties, overrides)) == before
    assert merged_nodes(properties, {}, {}, EC2) == properties


# ── tasks ────────────────────────────────────────────────────────────────────────────────

task_overrides = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(NAMES)},
        optional={
            "command": st.lists(words, max_size=2),
            "environment": variables,
            "resourceRequirements": st.integers(4, 9).map(
                lambda memory: requirements(MEMORY=str(memory))
            ),
        },
    ),
    max_size=2,
    unique_by=name_of,
).map(lambda containers: {"taskProperties": [{"containers": containers}]})


def two_containers() -> Json:
    return normalised_task(a_task(a_container("main"), a_container("side", essential=False)), EC2)


@given(task_overrides)
def test_overriding_a_task_twice_is_overriding_it_once(override):
    task = two_containers()
    before = repr((task, override))
    once = merge_task(task, override, EC2)
    assert merge_task(once, override, EC2) == once
    assert repr((task, override)) == before


@given(task_overrides)
def test_containers_that_an_override_does_not_name_stay_as_they_are(override: Json):
    task = two_containers()
    named = [each["name"] for each in override["taskProperties"][0]["containers"]]
    before, after = (
        each["taskProperties"][0]["containers"] for each in (task, merge_task(task, override, EC2))
    )
    assert [each["name"] for each in after] == list(NAMES)
    for old, new in zip(before, after, strict=True):
        assert new == old or new["name"] in named


def test_a_task_looks_the_same_when_it_is_made_normal_again():
    task = two_containers()
    assert normalised_task(task, EC2) == task


@given(st.lists(words, max_size=3))
def test_a_task_without_references_stays_as_it_is(command):
    task = normalised_task(a_task(a_container("main", command=command)), EC2)
    assert substitute_task(task, {"a": "b"}) == task


# ── pods ─────────────────────────────────────────────────────────────────────────────────

amounts = st.integers(1, 8).map(lambda each: {"cpu": str(each), "memory": f"{each + 3}Mi"})
pod_overrides = st.fixed_dictionaries(
    {},
    optional={
        "containers": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(NAMES)},
                optional={
                    "image": st.just("alpine"),
                    "args": st.lists(words, max_size=2),
                    "env": variables,
                    "resources": st.fixed_dictionaries({"limits": amounts}),
                },
            ),
            max_size=2,
            unique_by=name_of,
        ),
        "metadata": st.fixed_dictionaries(
            {"labels": st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"))}
        ),
    },
).map(lambda pod: {"podProperties": pod})


@given(pod_overrides)
def test_overriding_a_pod_twice_is_overriding_it_once(override):
    pod = normalised_pod(a_pod(a_pod_container("main"), a_pod_container("side")))
    before = repr((pod, override))
    once = merge_pod(pod, override)
    assert merge_pod(once, override) == once
    assert repr((pod, override)) == before
    of_job = pod_of_job(once)
    assert pod_of_job(of_job) == of_job


# ── dependencies, log streams ────────────────────────────────────────────────────────────


@given(
    st.lists(st.integers(0, 5), max_size=4),
    st.lists(st.integers(0, 5), max_size=4),
    st.dictionaries(st.integers(0, 5), st.none() | st.integers(2, 4)),
    st.integers(2, 4),
)
def test_dependencies_are_accepted_exactly_when_all_of_them_can_come_true(whole, each, known, size):
    size_by_id = {JobId(str(number)): count for number, count in known.items()}
    dependencies = Dependencies(
        whole=tuple(JobId(str(number)) for number in whole),
        each=tuple(JobId(str(number)) for number in each),
    )
    can_be = all(number in known for number in whole) and all(
        known.get(number) == size for number in each
    )
    if can_be:
        check_known(dependencies, size_by_id, array_size=size)
    else:
        with pytest.raises(Refusal):
            check_known(dependencies, size_by_id, array_size=size)


def test_streams_of_containers_of_a_task_have_their_names():
    arn = SCOPE.definition_arn("jd", 1)
    task_id = TaskId("0" * 32)
    assert log_stream_of({}, arn, task_id, name="side") == f"jd/side/{task_id}"
    options = {
        "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-stream-prefix": "p"}}
    }
    assert log_stream_of(options, arn, task_id, name="side") == f"p/side/{task_id}"


@pytest.mark.parametrize(
    ("container", "has_stream"),
    [
        ({}, True),
        ({"logConfiguration": {"logDriver": "awslogs"}}, True),
        ({"logConfiguration": {"logDriver": "json-file"}}, False),
        ({"logConfiguration": {"logDriver": "none"}}, False),
    ],
)
def test_only_one_driver_has_streams(container, has_stream):
    assert has_log_stream(container) is has_stream
