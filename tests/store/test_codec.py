"""What is written is read back, and rows of other versions are read too."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from batchyard.model.ids import EnvironmentArn, HostId, JobId, TaskId
from batchyard.model.records import Attempt, JobProgress, StopCause
from batchyard.model.status import JobStatus
from batchyard.store import codec

texts = st.text(st.characters(exclude_categories=["Cs"]))
times = st.integers(0, 2**53)
maybe_text = st.none() | texts

attempts = st.builds(
    Attempt,
    number=st.integers(1, 10),
    task_id=texts.map(TaskId),
    environment_arn=texts.map(EnvironmentArn),
    host_id=texts.map(HostId),
    placed_ms=times,
    started_ms=st.none() | times,
    stopped_ms=st.none() | times,
    exit_code=st.none() | st.integers(-255, 255),
    reason=maybe_text,
    status_reason=maybe_text,
    stop_cause=st.none() | st.sampled_from(StopCause),
)
progresses = st.builds(
    JobProgress,
    status=st.sampled_from(JobStatus),
    status_reason=maybe_text,
    started_ms=st.none() | times,
    stopped_ms=st.none() | times,
    attempts=st.lists(attempts, max_size=3).map(tuple),
    attempt=st.none() | attempts,
    is_cancelled=st.booleans(),
    is_terminated=st.booleans(),
    wish_reason=maybe_text,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@given(progresses)
def test_progress_comes_back(progress: JobProgress) -> None:
    assert codec.decode_progress(codec.encode_progress(progress)) == progress


@given(progresses, st.sets(st.sampled_from([field.name for field in fields(JobProgress)])))
def test_a_row_without_a_later_field_gets_its_default(progress: JobProgress, missing) -> None:
    stored = msgspec.json.decode(codec.encode_progress(progress))
    old = {name: value for name, value in stored.items() if name not in missing}
    found = codec.decode_progress(msgspec.json.encode(old | {"of_the_future": [1]}))
    fresh = JobProgress()
    for field in fields(JobProgress):
        expected = fresh if field.name in missing else progress
        assert getattr(found, field.name) == getattr(expected, field.name)


@given(st.dictionaries(texts, json_values, max_size=4))
def test_objects_come_back(value) -> None:
    assert codec.decode_object(codec.encode_object(value)) == value


@given(st.dictionaries(texts, texts, max_size=4))
def test_tags_come_back(value) -> None:
    assert codec.decode_tags(codec.encode_tags(value)) == value


@given(st.lists(texts, max_size=4))
def test_texts_and_ids_come_back(value) -> None:
    ids = tuple(map(JobId, value))
    assert codec.decode_texts(codec.encode_texts(value)) == tuple(value)
    assert codec.decode_job_ids(codec.encode_job_ids(ids)) == ids


@given(texts)
def test_text_comes_back(value: str) -> None:
    assert codec.decode_text(codec.encode_text(value)) == value


def test_nothing_is_stored_for_nothing() -> None:
    assert codec.decode_progress(None) == JobProgress()
    assert codec.encode_tags({}) is None
    assert codec.encode_job_ids(()) is None
    assert codec.decode_text(codec.encode_text("a\udcffb")) == "a?b"
