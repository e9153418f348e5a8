"""What an engine recorded is decided again; differences are found; recordings have limits."""

import asyncio
import json

import pytest
from click.testing import CliRunner
from sqlalchemy import delete, func, select, update

from batchyard.cli.replay import replay
from batchyard.compute.twin import Script
from batchyard.core.transitions import InvariantBroken
from batchyard.engine import recording
from batchyard.engine.recording import RecordingLimits
from batchyard.model.records import WishKind
from batchyard.model.status import JobStatus
from batchyard.sim.replay import replay_span
from batchyard.store.recordings import read_spans
from batchyard.store.schema import events, recordings
from tests.builders import environment_arn, job_id
from tests.engine.stage import Stage

DAY_MS = 86_400_000


async def replays(stage: Stage):
    return await stage.store.read_long(
        lambda conn: [replay_span(conn, span) for span in read_spans(conn)]
    )


def read_all(conn, *where) -> list[dict]:
    query = select(recordings).where(*where).order_by(recordings.c.seq)
    return [dict(row) for row in conn.execute(query).mappings()]


async def change(stage: Stage, statement) -> None:
    def work(conn) -> None:
        conn.execute(statement)

    await stage.store.write(work)


async def run_jobs(stage: Stage, *numbers: int) -> None:
    await stage.submit(*numbers)
    for number in numbers:
        await stage.until(number, JobStatus.SUCCEEDED)


async def kinds(stage: Stage) -> list[str]:
    query = select(recordings.c.kind).order_by(recordings.c.seq)
    return await stage.store.read(lambda conn: list(conn.scalars(query)))


async def test_every_decision_is_made_again_across_a_crash(stage: Stage) -> None:
    stage.machine.scripts["image"] = Script(duration_ms=0)
    await stage.create(vcpus=2)
    async with stage.engine():
        await run_jobs(stage, 1, 2)
        stage.now_ms += 1_000
    async with stage.engine():
        await run_jobs(stage, 3)

    first, second = await replays(stage)

    assert (first.difference, second.difference) == (None, None)
    assert (first.epoch, second.epoch) == (1, 2)
    placed = [*first.decisions, *second.decisions]
    assert [(each.job_id, each.attempt_number) for each in placed] == [
        (job_id(number), 1) for number in (1, 2, 3)
    ]
    assert {each.environment_arn for each in placed} == {environment_arn()}
    records = [await stage.job(number) for number in (1, 2, 3)]
    attempts = [record.progress.attempts[0] for record in records]
    assert [(each.at_ms, each.host_id, each.instance_id) for each in placed] == [
        (each.placed_ms, each.host_id, each.instance_id) for each in attempts
    ]
    written = select(func.count()).select_from(events)
    count = await stage.store.read(lambda conn: conn.execute(written).scalar_one())
    assert first.event_count + second.event_count == count


async def test_nothing_is_recorded_of_turns_in_which_nothing_became_true(stage: Stage) -> None:
    async with stage.engine() as engine:
        before = await kinds(stage)
        engine._wake.set()
        await asyncio.sleep(0)
        assert await kinds(stage) == before == ["BEGINNING"]


async def test_the_first_difference_is_shown(stage: Stage, tmp_path) -> None:
    stage.machine.scripts["image"] = Script(duration_ms=0)
    await stage.create()
    async with stage.engine():
        await run_jobs(stage, 1)
    kept = update(recordings).where(recordings.c.seq == 2)
    right = await stage.store.read(lambda conn: read_all(conn)[1]["digest"])
    await change(stage, kept.values(digest=b"other"))

    (found,) = await replays(stage)
    shown = CliRunner().invoke(replay, ["--db", f"sqlite:///{tmp_path / 'store.db'}"])

    assert found.turn_count == 1
    assert found.difference is not None
    assert found.difference.at_ms == stage.now_ms
    assert shown.exit_code == 1
    assert "DIFFERENT" in shown.output
    await change(stage, kept.values(digest=right))


@pytest.mark.parametrize("error", [InvariantBroken("never"), KeyError("job"), AssertionError()])
async def test_what_the_core_refuses_is_a_difference(
    stage: Stage, tmp_path, monkeypatch, error: Exception
) -> None:
    """As a core might that was changed since."""

    def refuse(*_args: object, **_named: object) -> None:
        raise error

    stage.machine.scripts["image"] = Script(duration_ms=0)
    await stage.create()
    async with stage.engine():
        await run_jobs(stage, 1)
    with monkeypatch.context() as patched:
        patched.setattr("batchyard.sim.replay.decide", refuse)
        shown = CliRunner().invoke(replay, ["--db", f"sqlite:///{tmp_path / 'store.db'}"])

    assert shown.exit_code == 1
    assert "DIFFERENT\n  first difference at " in shown.output
    assert f"  the core refuses what happened: {type(error).__name__}: {error}\n" in shown.output


@pytest.mark.parametrize("what", ["flipped", "emptied", "lost", "beginning", "end"])
async def test_damage_is_told_from_a_difference(stage: Stage, tmp_path, what: str) -> None:
    stage.machine.scripts["image"] = Script(duration_ms=0)
    await stage.create()
    async with stage.engine():
        await run_jobs(stage, 1, 2)
    rows = await stage.store.read(read_all)
    at = {"beginning": 0, "end": -1}.get(what, 2)
    row = rows[at]
    one = recordings.c.seq == row["seq"]
    if what == "lost":
        await change(stage, delete(recordings).where(one))
        shown_seq = row["seq"] + 1
    else:
        broken = b"" if what == "emptied" else row["body"][:-1] + bytes([row["body"][-1] ^ 4])
        await change(stage, update(recordings).where(one).values(body=broken))
        shown_seq = row["seq"]

    shown = CliRunner().invoke(replay, ["--db", f"sqlite:///{tmp_path / 'store.db'}"])

    assert shown.exit_code == 1
    assert shown.output.startswith("recording 1.1: ")
    assert shown.output.endswith(
        f"identical, then DAMAGED: record {shown_seq} cannot be read, or one before it is missing:"
        " its checksum is wrong\n"
    )
    turn_count = len(rows) - 1 if at == -1 else at
    assert f" {turn_count} turns, " in shown.output
    await change(stage, delete(recordings))
    await change(stage, recordings.insert().values(rows))


async def test_what_another_version_recorded_is_passed_over(stage: Stage, tmp_path) -> None:
    """After an update older recordings are left; they do not hide the newer ones."""
    url = ["--db", f"sqlite:///{tmp_path / 'store.db'}"]
    async with stage.engine():
        pass
    old = update(recordings).where(recordings.c.epoch == 1)
    await change(stage, old.values(version=1, body=b"what only an older one reads"))
    alone = CliRunner().invoke(replay, url)
    async with stage.engine():
        pass

    shown = CliRunner().invoke(replay, url)
    asked = CliRunner().invoke(replay, [*url, "--span", "1"])

    refused, replayed = shown.output.splitlines()
    assert refused == (
        "recording 1.1: NOT REPLAYED: it has version 1, and this batchyard reads"
        f" {recording.VERSION}; the batchyard that recorded it can replay it"
    )
    assert replayed.endswith("identical")
    assert (shown.exit_code, alone.exit_code, asked.exit_code) == (0, 1, 1)
    assert alone.output == asked.output == f"{refused}\n"
    await change(stage, delete(recordings).where(recordings.c.epoch == 1))


async def test_without_days_nothing_is_recorded(stage: Stage, tmp_path) -> None:
    stage.recording = RecordingLimits(days=0)
    stage.machine.scripts["image"] = Script(duration_ms=0)
    await stage.create()
    async with stage.engine():
        await run_jobs(stage, 1)

    assert await kinds(stage) == []
    shown = CliRunner().invoke(replay, ["--db", f"sqlite:///{tmp_path / 'store.db'}"])
    assert shown.exit_code == 1
    assert shown.output.startswith("Error: nothing is recorded: see the setting recording_days")


def small(byte_count_max: int = 200_000, span_count: int = 50) -> RecordingLimits:
    """Give spans of some 4,000 bytes, whose inventories are taken two jobs at a time."""
    return RecordingLimits(
        days=7, byte_count_max=byte_count_max, span_count=span_count, piece_entries=2
    )


async def run_many(stage: Stage, first: int, last: int) -> None:
    for number in range(first, last):
        await run_jobs(stage, number)
        stage.now_ms += 1_000


async def byte_count(stage: Stage) -> int:
    query = select(func.sum(func.length(recordings.c.body)))
    return await stage.store.read(lambda conn: conn.execute(query).scalar_one())


async def test_recordings_follow_each_other_while_the_engine_runs(stage: Stage) -> None:
    """Some jobs wait for others and some run all the time: an inventory has more than one piece."""
    stage.recording = small()
    stage.machine.scripts["image"] = Script(duration_ms=0)
    stage.machine.scripts["slow"] = Script(duration_ms=None)
    await stage.create(vcpus=4, kind="FARGATE")
    await stage.submit(101, 102, image="slow")
    await stage.submit(103, 104, 105, after=[101])
    async with stage.engine():
        await run_many(stage, 1, 40)
        placed = [job_id(number) for number in (101, 102, *range(1, 40))]

    found = await replays(stage)

    assert [each.is_identical for each in found] == [True] * len(found)
    assert [(each.epoch, each.part) for each in found] == [
        (1, part) for part in range(1, len(found) + 1)
    ]
    assert len(found) > 3
    assert [each.job_id for span in found for each in span.decisions] == placed
    pieces = select(func.count()).where(recordings.c.kind == "PIECE")
    count = await stage.store.read(lambda conn: conn.execute(pieces).scalar_one())
    assert count >= 3 * (len(found) - 1)


async def test_all_recordings_together_stay_within_the_bound(stage: Stage) -> None:
    stage.recording = small(byte_count_max=30_000, span_count=8)
    stage.machine.scripts["image"] = Script(duration_ms=0)
    await stage.create()
    async with stage.engine():
        for first in range(0, 120, 5):
            await run_many(stage, first, first + 5)
            assert await byte_count(stage) <= 30_000

    found = await replays(stage)

    assert found[0].part > 3
    assert [each.part for each in found] == [*range(found[0].part, found[-1].part + 1)]
    decided = [each.job_id for span in found for each in span.decisions]
    assert decided
    assert decided == [job_id(number) for number in range(120 - len(decided), 120)]


async def test_a_recording_lasts_a_day_at_most(stage: Stage) -> None:
    stage.machine.scripts["image"] = Script(duration_ms=0)
    await stage.create()
    async with stage.engine():
        await run_jobs(stage, 1)
        stage.now_ms += DAY_MS
        await run_jobs(stage, 2)
        await run_jobs(stage, 3)
        stage.now_ms += 8 * DAY_MS
        await run_jobs(stage, 4)
        await run_jobs(stage, 5)

    # The first one ended eight days ago when the third began; the second ended then.
    assert [span.part for span in await stage.store.read(read_spans)] == [2, 3]


async def test_with_too_many_live_jobs_it_begins_a_few_turns_later(
    stage: Stage, monkeypatch
) -> None:
    """At a start, writing all of them down would hold it up; it is done piece by piece then."""
    monkeypatch.setattr(recording, "LIVE_JOBS_MAX", 1)
    stage.recording = small(byte_count_max=10**6)
    stage.machine.scripts["image"] = Script(duration_ms=0)
    stage.machine.scripts["slow"] = Script(duration_ms=None)
    await stage.create(vcpus=8, kind="FARGATE")
    await stage.submit(1, 2, 3, 4, 5, image="slow")
    async with stage.engine():
        for number in range(1, 6):
            await stage.until(number, JobStatus.RUNNING)
    before = await kinds(stage)
    async with stage.engine():
        while (await kinds(stage)) == before:
            await asyncio.sleep(0)
        await run_jobs(stage, 6)

    after = (await kinds(stage))[len(before) :]
    assert after[:4] == ["BEGINNING", "PIECE", "PIECE", "PIECE"]
    assert "TURN" in after
    assert [each.job_id for each in (await replays(stage))[-1].decisions] == [job_id(6)]


async def test_where_too_much_is_live_it_ends_and_begins_again_with_less(stage: Stage) -> None:
    """What a recording begins with must leave room: else there is none until half has ended."""
    stage.recording = small(byte_count_max=60_000, span_count=14)
    stage.machine.scripts["image"] = Script(duration_ms=0)
    stage.machine.scripts["slow"] = Script(duration_ms=None)
    await stage.create(vcpus=4, kind="FARGATE")
    numbers = iter(range(1, 500))
    async with stage.engine():
        await stage.submit(500, image="slow")
        await stage.submit(*range(501, 600), after=[500])
        while (await kinds(stage))[-1] != "END":
            await run_jobs(stage, next(numbers))
        *_, full = await replays(stage)
        for number in range(501, 600):
            await stage.wish(WishKind.CANCEL, number, "enough")
        attempt = (await stage.job(500)).progress.attempt
        assert attempt is not None
        stage.machine.finish(attempt.task_id)
        await stage.until(599, JobStatus.FAILED)
        while (await kinds(stage))[-1] != "TURN":
            await run_jobs(stage, next(numbers))

    assert (full.was_cut, full.is_identical) == (True, True)
    newest = (await replays(stage))[-1]
    assert (newest.is_identical, newest.was_cut, newest.part) == (True, False, full.part + 1)


async def test_spans_that_ended_days_ago_are_deleted_at_a_start(stage: Stage) -> None:
    stage.recording = RecordingLimits(days=1)
    for _ in range(3):
        async with stage.engine():
            pass
        stage.now_ms += DAY_MS - 1
    async with stage.engine():
        pass

    spans = await stage.store.read(read_spans)
    # The first one ended when the second began: two days ago, nearly.
    assert [span.epoch for span in spans] == [2, 3, 4]


async def test_the_oldest_spans_go_when_all_are_too_large(stage: Stage) -> None:
    for _ in range(3):
        async with stage.engine():
            pass
    size = await byte_count(stage)
    stage.recording = RecordingLimits(days=7, byte_count_max=2 * size - 2, span_count=1)
    async with stage.engine():
        pass

    assert [span.epoch for span in await stage.store.read(read_spans)] == [2, 3, 4]


async def test_the_command_shows_what_started_when_and_where(stage: Stage, tmp_path) -> None:
    stage.machine.scripts["image"] = Script(duration_ms=0)
    await stage.create()
    async with stage.engine():
        await run_jobs(stage, 1)
    instance_id = (await stage.job(1)).progress.attempts[0].instance_id
    url = ["--db", f"sqlite:///{tmp_path / 'store.db'}"]

    shown = CliRunner().invoke(replay, [*url, "--decisions"])
    as_json = CliRunner().invoke(replay, [*url, "--json"])
    missing = CliRunner().invoke(replay, [*url, "--span", "9"])

    assert (shown.exit_code, as_json.exit_code, missing.exit_code) == (0, 0, 2)
    head, columns, row = shown.output.splitlines()
    assert head.startswith("recording 1.1: 1970-01-01 00:16:40.000Z to ")
    assert head.endswith("1 attempts started: identical")
    assert columns.split() == ["STARTED", "JOB", "ATTEMPT", "ENVIRONMENT", "PLACE"]
    assert row.split()[2:] == [job_id(1), "1", "ce", instance_id]
    assert as_json.output.startswith('{"recordings":[{"epoch":1,"part":1,"began_ms":1000000,')
    assert "there is no recording 9, but 1.1" in missing.output
    for chosen in ("1", "1.1"):
        one = CliRunner().invoke(replay, [*url, "--span", chosen, "--decisions"])
        assert (one.exit_code, one.output) == (0, shown.output)
    for unknown in ("1.2", "x", "1.", ""):
        assert CliRunner().invoke(replay, [*url, "--span", unknown]).exit_code == 2


OTHER = """
name = "b first"
[[computeEnvironments]]
computeEnvironmentName = "one"
computeResources = { type = "FARGATE", maxvCpus = 1 }
[[schedulingPolicies]]
name = "fair"
[schedulingPolicies.fairsharePolicy]
shareDistribution = [{ shareIdentifier = "b", weightFactor = 0.1 }]
[[jobQueues]]
jobQueueName = "jq"
priority = 1
schedulingPolicyArn = "fair"
computeEnvironmentOrder = [{ order = 1, computeEnvironment = "one" }]
"""


async def test_under_another_configuration_it_shows_who_gains_and_loses(
    stage: Stage, tmp_path
) -> None:
    """On one vCPU a, a and b run in turns of a minute; b is served before the second a then."""
    await stage.create(vcpus=4, policy={})
    await stage.submit(1, 2, share="a")
    await stage.submit(3, share="b")
    async with stage.engine():
        for number in (1, 2, 3):
            await stage.until(number, JobStatus.RUNNING)
        stage.now_ms += 60_000
        for number in (1, 2, 3):
            attempt = (await stage.job(number)).progress.attempt
            assert attempt is not None
            stage.machine.finish(attempt.task_id)
        for number in (1, 2, 3):
            await stage.until(number, JobStatus.SUCCEEDED)
    other = tmp_path / "other.toml"
    other.write_text(OTHER)
    url = ["--db", f"sqlite:///{tmp_path / 'store.db'}"]

    shown = CliRunner().invoke(replay, [*url, "--config", str(other)])
    as_json = CliRunner().invoke(replay, [*url, "--config", str(other), "--json"])

    assert (shown.exit_code, as_json.exit_code) == (0, 0), shown.output
    assert "b first, compared with the server (both simulated)" in shown.output
    assert "Who loses most" in shown.output
    assert "Who gains most" not in shown.output
    gains = json.loads(as_json.output)["gains"]
    assert [(job["id"], job["before_ms"], job["after_ms"]) for job in gains["jobs"]] == [
        (job_id(1), 0, 0),
        (job_id(2), 0, 120_000),
        (job_id(3), 0, 60_000),
    ]
    assert [(each["share_identifier"], each["later_count"]) for each in gains["groups"]] == [
        ("a", 1),
        ("b", 1),
    ]


def test_a_store_that_is_not_there_is_not_made(tmp_path) -> None:
    path = tmp_path / "none.db"
    shown = CliRunner().invoke(replay, ["--db", f"sqlite:///{path}"])

    assert shown.exit_code == 1
    assert shown.output == f"Error: there is no store at {path}\n"
    assert not path.exists()
