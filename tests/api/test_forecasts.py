"""How a forecast is told and kept: whoever looks ahead says the same each time here."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from batchyard.api.own.forecasts import duration, get_job_forecast, get_queue_forecast
from batchyard.api.own.futures import Asked
from batchyard.model.forecast import Future, Interval, StartForecast
from batchyard.model.ids import JobId
from batchyard.model.records import JobProgress
from batchyard.model.status import JobStatus
from batchyard.model.what_if import Comparison
from batchyard.wire.call import Call
from tests.api.conftest import NOW_MS, SCOPE, Yard, an_attempt

pytestmark = pytest.mark.ours_only

MINUTE = 60_000
#: In 40, 60 and 90 minutes.
ENDS = {"p10": 40 * MINUTE, "p50": 60 * MINUTE, "p90": 90 * MINUTE}
WAITING = JobProgress(status=JobStatus.RUNNABLE)


class SameAgain:
    """Looks ahead, and runs so many starts far if that is said."""

    def __init__(self, paced_after: int | None = None) -> None:
        self._paced_after = paced_after

    async def foresee(self, asked: Asked) -> Future | None:
        start = Interval(**{f"{name}_ms": asked.now_ms + ms for name, ms in ENDS.items()})
        job = StartForecast(job_id=asked.job_id or JobId("any"), start=start, started_count=9)
        return Future(
            at_ms=asked.now_ms,
            seed=0,
            run_count=9,
            jobs=(job,),
            waiting_count=1,
            all_started=start,
            all_ended=start,
            paced_after=self._paced_after,
        )

    async def compare(self, asked: Asked) -> Comparison:
        raise NotImplementedError


async def tell(yard: Yard, now_ms: int, *, paced_after: int | None = None, **request: Any) -> Any:
    call = Call(
        scope=SCOPE,
        principal_arn="arn:aws:iam::123456789012:root",
        user_id="123456789012",
        access_key_id="AKIDEXAMPLE",
        request_id="the-request-id",
        now_ms=now_ms,
    )
    operation = get_queue_forecast if "jobQueue" in request else get_job_forecast
    return await operation(yard.store, SameAgain(paced_after), call, request)


async def a_waiting_job(yard: Yard) -> JobId:
    job_id = await yard.submit()
    await yard.progress(job_id, WAITING)
    return job_id


async def test_ends_are_moved_by_what_forecasts_of_the_past_missed_by(ready: Yard) -> None:
    """Once an hour something is said, and the job starts two hours after that, so late."""
    now_ms = NOW_MS
    for _ in range(8):
        job_id = await a_waiting_job(ready)
        told = await tell(ready, now_ms, jobId=job_id)
        if now_ms == NOW_MS:
            off_ms = {"p10": -0.05 * (ENDS["p50"] - ENDS["p10"])}
            off_ms["p90"] = 0.05 * (ENDS["p90"] - ENDS["p50"])
            for name, ms in ENDS.items():
                assert told["start"][name] == now_ms + ms + round(off_ms.get(name, 0))
            assert (told["stretch"]["lowPercent"], told["stretch"]["highPercent"]) == (105, 105)
            assert told["stretch"]["text"].startswith("Ends are moved to 105 % of their distance")
        attempt = an_attempt(job_id, started_ms=now_ms + 120 * MINUTE)
        started = replace(WAITING, status=JobStatus.RUNNING, attempt=attempt)
        await ready.progress(job_id, started)
        now_ms += 60 * MINUTE

    job_id = await a_waiting_job(ready)
    told = await tell(ready, now_ms, jobId=job_id)
    stretch = told["stretch"]
    assert stretch["momentCount"] >= 5
    assert stretch["highPercent"] > 150
    assert stretch["lowPercent"] < 105
    late_ms = told["start"]["p90"] - now_ms
    assert late_ms == pytest.approx((60 + 0.3 * stretch["highPercent"]) * MINUTE, rel=0.02)
    assert told["start"]["p50"] == now_ms + ENDS["p50"]
    early_ms = (ENDS["p50"] - ENDS["p10"]) * stretch["lowPercent"] / 100
    assert told["start"]["p10"] == pytest.approx(now_ms + ENDS["p50"] - early_ms, abs=MINUTE / 5)
    assert stretch["text"].startswith("Ends are moved by what forecasts of this queue missed by")
    assert f"the late one to {stretch['highPercent']} %." in stretch["text"]
    assert f" to {duration(late_ms)} (8 of 10), the middle one" in told["summary"]
    # Said again it is the same; so it is of the queue.
    assert (await tell(ready, now_ms, jobId=job_id))["start"] == told["start"]
    queue = await tell(ready, now_ms, jobQueue="jq")
    assert queue["stretch"] == stretch
    assert queue["jobs"][0]["start"] == queue["allStarted"] == told["start"]


async def test_what_was_said_is_what_is_scored(ready: Yard) -> None:
    """Said with a late end that was moved out, it holds a start that was late before."""
    for number in range(8):
        await tell(ready, NOW_MS + number * 60 * MINUTE, jobId=await a_waiting_job(ready))
    now_ms = NOW_MS + 1000 * MINUTE
    job_id = await a_waiting_job(ready)
    told = await tell(ready, now_ms, jobId=job_id)
    assert told["start"]["p90"] > now_ms + 120 * MINUTE
    attempt = an_attempt(job_id, started_ms=now_ms + 120 * MINUTE)
    await ready.progress(job_id, replace(WAITING, status=JobStatus.RUNNING, attempt=attempt))
    rate = (await tell(ready, now_ms + 1, jobId=job_id))["hitRate"]
    assert (rate["scoredCount"], rate["heldCount"], rate["openCount"]) == (1, 1, 8)


async def test_from_where_on_nothing_was_run_is_told(ready: Yard) -> None:
    job_id = await a_waiting_job(ready)
    pace = (
        "What comes after 2,999 starts goes on at the pace of the latter half of these, as if all"
        " succeeded."
    )
    for request in ({"jobId": job_id}, {"jobQueue": "jq"}):
        told = await tell(ready, NOW_MS, paced_after=2999, **request)
        assert told["assumptions"][-1] == pace
        assert pace not in (await tell(ready, NOW_MS, **request))["assumptions"]
