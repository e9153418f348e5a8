"""Traces in the Standard Workload Format of the Parallel Workloads Archive.

Decides how its 18 fields and its header become jobs. Refuses a line that is none: with its number,
and no guess.

- A field of -1 is not known. Jobs whose run time or processors nobody knows are left out, and so
  are those that were cancelled before they ran; notes count them.
- Processors are those that a job was given, else those that it asked for; each is a vCPU. Memory is
  what it used, else what it asked for, of each processor; unknown memory counts as none.
- A failed job exits with 1, one cancelled while it ran with 143; one whose status nobody knows has
  succeeded. Lines of parts of a job that was checkpointed (status 2, 3, 4) are left out: another
  line is about the whole of it. Where there is none, that is said.
- Fields that decide nothing here may hold any number.
- Fields 17 and 18 (the preceding job and the think time) are read and not followed: the submission
  times have them in them already.

Where it is specified: https://www.cs.huji.ac.il/labs/parallel/workload/swf.html.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from batchyard.model.amounts import Amount
from batchyard.sim.trace import BadTrace, Trace, TraceJob

_UNKNOWN = -1
_MS_PER_S = 1000
_KIB_PER_MIB = 1024
_COMMENT = ";"

_FAILED, _COMPLETED, _CANCELLED = 0, 1, 5
_PARTS = (2, 3, 4)
_PART = "they are parts of jobs that have a line as a whole"
_ONLY_PARTS = "they are parts of jobs that have no line as a whole, and nobody knows the rest"
_EXIT_BY_STATUS = {_FAILED: 1, _CANCELLED: 143}


class SwfLine(NamedTuple):
    """The fields, in their order. Times in seconds, memory in KiB of each processor."""

    job_number: float
    submit_s: float
    wait_s: float
    run_s: float
    processors: float
    cpu_s: float
    memory_kib: float
    asked_processors: float
    asked_s: float
    asked_memory_kib: float
    status: float
    user: float
    group: float
    executable: float
    queue: float
    partition: float
    preceding_job: float
    think_s: float


_FIELDS = len(SwfLine._fields)
#: Fields that decide something here.
_USED = (
    *("job_number", "submit_s", "run_s", "processors", "memory_kib", "asked_processors", "asked_s"),
    *("asked_memory_kib", "status", "user", "group", "queue"),
)
_WHOLE = (
    "job_number",
    "processors",
    "asked_processors",
    "status",
    "user",
    "group",
    "queue",
)


def parse_swf(lines: Iterable[str], name: str) -> Trace:
    """Read a trace. Raises `BadTrace` at the first line that is none."""
    header: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    jobs: list[TraceJob] = []
    seen: dict[str, int] = {}
    wholes: set[float] = set()
    parts: Counter[float] = Counter()
    for number, line in _told(lines, header):
        found = _parse_line(line, f"{name}:{number}")
        if found.status in _PARTS:
            parts[found.job_number] += 1
            continue
        wholes.add(found.job_number)
        job = _job_of(found, left_out)
        if job is None:
            continue
        if job.id in seen:
            raise BadTrace(f"{name}:{number}: job {job.id} was on line {seen[job.id]} already")
        seen[job.id] = number
        jobs.append(job)
    for job_number, count in parts.items():
        left_out[_PART if job_number in wholes else _ONLY_PARTS] += count
    is_in_order = all(a.submitted_ms <= b.submitted_ms for a, b in pairwise(jobs))
    if not is_in_order:
        jobs.sort(key=lambda job: job.submitted_ms)
    notes = [_note(why, count) for why, count in sorted(left_out.items())]
    if not is_in_order:
        notes.append("The jobs were not in the order of their submission, and are now.")
    return Trace(
        name=name,
        jobs=jobs,
        began_ms=(_count_in(header, "UnixStartTime") or 0) * _MS_PER_S,
        processors=_count_in(header, "MaxProcs") or _count_in(header, "MaxNodes"),
        notes=tuple(notes),
    )


def _note(why: str, count: int) -> str:
    what = "lines" if why in (_PART, _ONLY_PARTS) else "jobs"
    return f"{count} {what} were left out: {why}."


def _told(lines: Iterable[str], header: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Give the lines about jobs with their numbers, and keep what comments say."""
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text.startswith(_COMMENT):
            label, colon, value = text.lstrip("; \t").partition(":")
            if colon:
                header.setdefault(label.strip(), value.strip())
        elif text:
            yield number, text


def _parse_line(text: str, where: str) -> SwfLine:
    words = text.split()
    if len(words) != _FIELDS:
        raise BadTrace(f"{where}: {_FIELDS} fields are expected, and there are {len(words)}")
    try:
        line = SwfLine(*map(float, words))
    except ValueError:
        wrong = next(each for each in words if not _is_number(each))
        raise BadTrace(f"{where}: {wrong!r} is no number") from None
    for field in _USED:
        value: float = getattr(line, field)
        if not -1 <= value < 2**53:
            raise BadTrace(f"{where}: {field} is {value:g}, which cannot be")
        if field in _WHOLE and value != int(value):
            raise BadTrace(f"{where}: {field} is {value:g}, which is no whole number")
    if line.submit_s < 0 or line.job_number < 0:
        raise BadTrace(f"{where}: a job needs a number and a submission time")
    return line


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _job_of(line: SwfLine, left_out: Counter[str]) -> TraceJob | None:
    """Make a job of a line; None: it tells of none that could run here."""
    status = int(line.status)
    processors = int(line.processors if line.processors > 0 else line.asked_processors)
    memory_kib = line.memory_kib if line.memory_kib > 0 else line.asked_memory_kib
    why = _why_left_out(line, status, processors)
    if why is not None:
        left_out[why] += 1
        return None
    return TraceJob(
        id=str(int(line.job_number)),
        submitted_ms=round(line.submit_s * _MS_PER_S),
        run_ms=round(line.run_s * _MS_PER_S),
        demand=_amount_of(processors, max(0, round(memory_kib * processors / _KIB_PER_MIB))),
        exit_code=_EXIT_BY_STATUS.get(status, 0),
        requested_ms=round(line.asked_s * _MS_PER_S) if line.asked_s > 0 else None,
        queue=_label("", line.queue) or "",
        user=_label("user", line.user),
        group=_label("group", line.group),
    )


def _why_left_out(line: SwfLine, status: int, processors: int) -> str | None:
    if status == _CANCELLED and line.run_s <= 0:
        return "they were cancelled before they ran"
    if line.run_s < 0:
        return "nobody knows how long they ran"
    if processors <= 0:
        return "nobody knows their processors"
    return None


@cache
def _amount_of(processors: int, memory_mib: int) -> Amount:
    return Amount(cpu_milli=processors * 1000, memory_mib=memory_mib)


@cache
def _label(prefix: str, number: float) -> str | None:
    return None if number == _UNKNOWN else f"{prefix}{int(number)}"


def _count_in(header: dict[str, str], label: str) -> int | None:
    """Read a number of the header; None: it is not there, or unknown."""
    words = header.get(label, "").split()
    return int(words[0]) if words and words[0].isdecimal() and int(words[0]) > 0 else None
