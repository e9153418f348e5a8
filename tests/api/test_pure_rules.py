"""The pure rules of the Batch API: parameters, overrides, pages, pairs, tags, names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.api.batch.job_ids import JobIds
from batchyard.api.batch.paging import (
    page_size,
    read_named_token,
    read_token,
    write_named_token,
    write_token,
)
from batchyard.api.batch.rules.fargate import check_fargate_pair
from batchyard.api.batch.rules.ground import Ground, Platform
from batchyard.api.batch.rules.names import definition_name_of, is_job_name, job_id_of
from batchyard.api.batch.rules.overrides import merge_container
from batchyard.api.batch.rules.requirements import demand_of
from batchyard.api.batch.rules.substitution import substitute
from batchyard.api.batch.rules.tag_rules import check_tags
from batchyard.model.amounts import Amount
from batchyard.model.ecs_arns import cluster_name_of
from batchyard.model.fargate_sizes import MEMORY_MIB_BY_CPU_MILLI
from batchyard.model.ids import DefinitionArn, Scope, TaskId, is_job_id
from batchyard.model.log_stream import log_group_of, log_region_of, log_stream_of
from batchyard.model.records import Json
from batchyard.model.refusal import Refusal

SCOPE = Scope("123456789012", "eu-central-1")
ID = "0b8a5d8e-1c1c-4a3a-9f0d-0123456789ab"

names = st.text("abcXYZ019_-", min_size=1, max_size=8)
values = st.text(max_size=12)


# ── substitution ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("command", "parameters", "expected"),
    [
        (["echo", "Ref::a"], {"a": "1"}, ["echo", "1"]),
        (["--in=Ref::a/Ref::b"], {"a": "x", "b": "y"}, ["--in=x/y"]),
        (["Ref::ab"], {"a": "short", "ab": "long"}, ["long"]),
        (["Ref::a"], {"a": "Ref::b", "b": "never"}, ["Ref::b"]),
        (["Ref::a"], {"a": "two words"}, ["two words"]),
        (["Ref::a"], {"a": ""}, [""]),
        (["Ref::a.txt"], {"a": "x"}, ["x.txt"]),
        (["Ref:a", "Ref::"], {}, ["Ref:a", "Ref::"]),
        ([], {"unused": "1"}, []),
    ],
)
def test_references_are_replaced(command, parameters, expected):
    assert substitute(command, parameters) == expected


def test_a_reference_without_a_parameter_is_refused():
    with pytest.raises(Refusal) as refused:
        substitute(["Ref::gone"], {"other": "1"})
    assert (
        refused.value.message == "Unable to substitute value. No parameter found for reference gone"
    )


@given(st.dictionaries(names, values), st.lists(values.filter(lambda v: "Ref::" not in v)))
def test_a_command_without_references_stays_as_it_is(parameters, command):
    assert substitute(command, parameters) == command


@given(st.dictionaries(names, values, min_size=1))
def test_every_argument_that_is_a_reference_becomes_exactly_its_value(parameters):
    command = [f"Ref::{name}" for name in parameters]
    assert substitute(command, parameters) == list(parameters.values())


# ── overrides ────────────────────────────────────────────────────────────────────────────

requirement_lists = st.dictionaries(
    st.sampled_from(["VCPU", "MEMORY"]), st.integers(4, 64).map(str)
).map(lambda held: [{"type": kind, "value": value} for kind, value in held.items()])
environment_lists = st.lists(st.fixed_dictionaries({"name": names, "value": values}), max_size=5)
containers = st.fixed_dictionaries(
    {
        "image": st.just("busybox"),
        "command": st.lists(values, max_size=3),
        "environment": environment_lists,
        "resourceRequirements": requirement_lists,
    },
    optional={"vcpus": st.integers(1, 8), "memory": st.integers(4, 64)},
)
overrides_given = st.fixed_dictionaries(
    {},
    optional={
        "command": st.lists(values.filter(bool), max_size=3),
        "environment": environment_lists,
        "resourceRequirements": requirement_lists,
        "vcpus": st.integers(1, 8),
        "memory": st.integers(4, 64),
    },
)


@given(containers, overrides_given)
def test_merging_twice_is_merging_once(container, overrides):
    once = merge_container(container, overrides)
    assert merge_container(once, overrides) == once


@given(containers, overrides_given)
def test_merging_changes_neither_argument(container, overrides):
    before = repr(container), repr(overrides)
    merge_container(container, overrides)
    assert (repr(container), repr(overrides)) == before


@given(containers, overrides_given)
def test_each_type_has_the_override_where_given_and_else_the_definition(container, overrides):
    merged = merge_container(container, overrides)
    effective = {r["type"]: r["value"] for r in merged["resourceRequirements"]}
    defined = {r["type"]: r["value"] for r in container["resourceRequirements"]}
    over = {r["type"]: r["value"] for r in overrides.get("resourceRequirements", [])}
    assert effective == {**defined, **over}


@given(containers, overrides_given)
def test_environment_is_merged_by_name(container, overrides):
    merged = merge_container(container, overrides)
    if not overrides.get("environment"):
        assert merged["environment"] == container["environment"]
        return
    expected = {v["name"]: v["value"] for v in container["environment"]}
    expected.update((v["name"], v["value"]) for v in overrides["environment"])
    assert {v["name"]: v["value"] for v in merged["environment"]} == expected
    assert len(merged["environment"]) == len(expected)


@given(containers)
def test_empty_overrides_change_nothing(container):
    empty: Json = {"command": [], "environment": [], "resourceRequirements": []}
    assert merge_container(container, empty) == container


def test_deprecated_overrides_do_not_touch_what_requirements_say():
    container = {"resourceRequirements": [{"type": "VCPU", "value": "2"}], "memory": 128}
    merged = merge_container(container, {"vcpus": 8, "memory": 256})
    assert merged == {"resourceRequirements": [{"type": "VCPU", "value": "2"}], "memory": 256}


def test_requirements_beat_deprecated_members_of_the_definition():
    merged = merge_container(
        {"vcpus": 1, "memory": 128}, {"resourceRequirements": [{"type": "MEMORY", "value": "512"}]}
    )
    assert merged == {"vcpus": 1, "resourceRequirements": [{"type": "MEMORY", "value": "512"}]}


# ── amounts ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("cpu", "cpu_milli"),
    [
        *(("1", 1000), ("1.0", 1000), ("0.25", 250), ("0.5", 500), ("16", 16000)),
        *(("0.250000", 250), (str(2**31 - 1), (2**31 - 1) * 1000)),
    ],
)
def test_vcpus_are_read_without_rounding(cpu, cpu_milli):
    container = {
        "resourceRequirements": [
            {"type": "VCPU", "value": cpu},
            {"type": "MEMORY", "value": "512"},
        ]
    }
    demand = demand_of(container, Ground(platform=Platform.FARGATE, request_id="r"))
    assert demand == Amount(cpu_milli=cpu_milli, memory_mib=512)


@given(
    st.one_of(st.sampled_from(sorted(MEMORY_MIB_BY_CPU_MILLI)), st.integers(1, 20_000)),
    st.one_of(st.integers(1, 130).map(lambda gib: gib * 1024), st.integers(1, 130_000)),
)
def test_a_pair_is_accepted_exactly_when_fargate_offers_it(cpu_milli, memory_mib):
    demand = Amount(cpu_milli=cpu_milli, memory_mib=memory_mib)
    if memory_mib in MEMORY_MIB_BY_CPU_MILLI.get(cpu_milli, ()):
        check_fargate_pair(demand)
    else:
        with pytest.raises(Refusal, match="Fargate resource requirements"):
            check_fargate_pair(demand)


@pytest.mark.parametrize(
    ("cpu_milli", "memory_mib", "is_offered"),
    [
        (250, 512, True),
        (250, 3072, False),
        (1000, 8192, True),
        (1000, 1024, False),
        (4000, 30720, True),
        (8000, 20480, True),
        (8000, 17408, False),
        (16000, 122880, True),
        (3000, 8192, False),
    ],
)
def test_the_table_of_pairs_is_amazons(cpu_milli, memory_mib, is_offered):
    assert (memory_mib in MEMORY_MIB_BY_CPU_MILLI.get(cpu_milli, ())) is is_offered


def test_a_refused_pair_is_worded_like_amazons():
    with pytest.raises(Refusal) as refused:
        check_fargate_pair(Amount(cpu_milli=1000, memory_mib=4000))
    assert refused.value.message == "Fargate resource requirements (1.00 vCPU, 4000 MiB) not valid."


# ── pages ────────────────────────────────────────────────────────────────────────────────

queries = st.tuples(st.sampled_from(["ListJobs", "Describe"]), names, st.none() | values)


@given(queries, st.integers(0, 2**63 - 1))
def test_a_token_names_its_position(query, position):
    assert read_token(query, write_token(query, position)) == position


@given(queries, queries, st.integers(0, 2**63 - 1))
def test_a_token_is_good_for_its_own_query_only(query, other, position):
    token = write_token(query, position)
    if query != other:
        with pytest.raises(Refusal, match="nextToken is not valid"):
            read_token(other, token)


@given(values.filter(bool))
def test_anything_else_is_no_token(text):
    with pytest.raises(Refusal, match="nextToken is not valid"):
        read_token(("ListJobs",), text)
    with pytest.raises(Refusal, match="nextToken is not valid"):
        read_named_token(("ListJobs",), text)


@given(names, st.integers(0, 2**63 - 1))
def test_a_named_token_gives_its_name_and_position_back(name, position):
    query = ("ListJobs", "a")
    token = write_named_token(query, name, position)
    assert read_named_token(query, token) == (name, position)
    for read in (read_token, lambda _, text: read_named_token(("ListJobs", "b"), text)):
        with pytest.raises(Refusal, match="nextToken is not valid"):
            read(query, token)
    assert read_named_token(query, "") is None


@pytest.mark.parametrize("absent", [None, ""])
def test_no_token_means_the_first_page(absent):
    assert read_token(("ListJobs",), absent) is None


def test_page_sizes():
    assert page_size(None, size_max=100) == 100
    assert page_size(7, size_max=100) == 7
    assert page_size(1000, size_max=100) == 100
    with pytest.raises(Refusal, match="maxResults must be between 1 and 100"):
        page_size(0, size_max=100)


# ── tags, names, ids ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({str(n): "" for n in range(51)}, "A resource cannot have more than 50 tags."),
        ({"": "x"}, "Tag keys must be between 1 and 128 characters long."),
        ({"k" * 129: "x"}, "Tag keys must be between 1 and 128 characters long."),
        ({"k": "v" * 257}, "Tag values must be at most 256 characters long."),
        ({"aws:x": "v"}, "Tag keys and values cannot start with aws:"),
        ({"AwS:x": "v"}, "Tag keys and values cannot start with aws:"),
        *(
            (
                tags,
                "Tags may contain letters, digits, spaces and the characters _ . : / = + - @ only.",
            )
            for tags in ({"a!": "v"}, {"k": "two\nlines"}, {"k": "a\tb"}, {"k\r": "v"})
        ),
    ],
)
def test_tags_that_break_a_rule_are_refused(tags, message):
    with pytest.raises(Refusal) as refused:
        check_tags(tags)
    assert refused.value.message == message


def test_tags_may_have_letters_of_any_language_and_no_value():
    check_tags({"Größe": "", "a b_.:/=+-@9": "日本"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("d", ("d", None)),
        ("d:7", ("d", 7)),
        ("arn:aws:batch:eu-central-1:123456789012:job-definition/d", ("d", None)),
        ("arn:aws:batch:eu-central-1:123456789012:job-definition/d:7", ("d", 7)),
        ("arn:aws:batch:eu-central-1:999999999999:job-definition/d:7", None),
        ("arn:aws:batch:us-east-1:123456789012:job-definition/d:7", None),
    ],
)
def test_definitions_are_named_by_name_revision_or_arn(text, expected):
    assert definition_name_of(SCOPE, text) == expected


@pytest.mark.parametrize("text", ["d:latest", "d:0", "a b", "", "d:7:8"])
def test_a_malformed_definition_is_refused(text):
    with pytest.raises(Refusal) as refused:
        definition_name_of(SCOPE, text)
    assert (
        refused.value.message
        == f"Provided name {text} is not supported pattern[a-zA-Z_0-9-]{{1,128}}"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ID, ID),
        (f"{ID}:3", f"{ID}:3"),
        (f"{ID}#1", f"{ID}#1"),
        (f"arn:aws:batch:eu-central-1:123456789012:job/{ID}", ID),
        (f"arn:aws:batch:eu-central-1:123456789012:job/{ID}:3", f"{ID}:3"),
        (f"arn:aws:batch:eu-central-1:999999999999:job/{ID}", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_jobs_are_named_by_id_or_arn(text, expected):
    assert job_id_of(SCOPE, text) == expected


@pytest.mark.parametrize("name", ["a", "9-a_b", "x" * 128])
def test_good_job_names(name):
    assert is_job_name(name)


@pytest.mark.parametrize("name", ["", "-a", "_a", "a b", "a.b", "x" * 129, "a\n"])
def test_bad_job_names(name):
    assert not is_job_name(name)


def test_job_ids_are_distinct_version_4_uuids():
    ids = JobIds()
    made = [ids.make() for _ in range(2000)]
    assert len(set(made)) == 2000
    assert all(is_job_id(job_id) and job_id[14] == "4" and job_id[19] in "89ab" for job_id in made)


def test_a_cluster_is_named_like_amazons_and_outlives_its_environment():
    name = cluster_name_of(SCOPE.environment_arn("ce"))
    assert name.startswith("ce_Batch_")
    assert is_job_id(name.removeprefix("ce_Batch_"))
    assert name == cluster_name_of(SCOPE.environment_arn("ce"))


def test_log_streams():
    task_id = TaskId("0" * 32)
    arn = DefinitionArn(SCOPE.definition_arn("d" * 300, 4))
    assert log_stream_of({}, arn, task_id) == f"{'d' * 200}/default/{task_id}"
    options = {"awslogs-stream-prefix": "p", "awslogs-group": "/g", "awslogs-region": "us-east-1"}
    container = {"logConfiguration": {"logDriver": "awslogs", "options": options}}
    assert log_stream_of(container, arn, task_id) == f"p/default/{task_id}"
    assert (log_group_of(container), log_group_of({})) == ("/g", "/aws/batch/job")
    assert (log_region_of(container), log_region_of({})) == ("us-east-1", None)
