"""Recorded decisions made again, by the same code, and compared with what was decided.

Owns the comparison: a span (see `engine.recording`) begins with the state that an engine had, and
each of its turns must lead to the very events that were written then. Refuses to go on behind the
first difference: what follows it means nothing. Changes nothing in the store.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import msgspec
from msgspec import Struct

from batchyard.core import events as e
from batchyard.core.state import State
from batchyard.core.transitions import InvariantBroken
from batchyard.core.turn import Outcome
from batchyard.engine.deciding import decide
from batchyard.engine.facts import digest_of
from batchyard.engine.recording import (
    UNREADABLE,
    VERSION,
    Beginning,
    Contents,
    RecordKind,
    decode_beginning,
    decode_turn,
)
from batchyard.engine.recovery import Stored, build_state, settle_hosts
from batchyard.engine.stocktaking import unpack
from batchyard.model.ids import EnvironmentArn, HostId, JobId
from batchyard.model.instances import InstanceId
from batchyard.store import Connection
from batchyard.store.events import read_events_at
from batchyard.store.recordings import RecordRow, Span, read_span


class Decision(Struct, frozen=True, kw_only=True):
    """An attempt that was placed."""

    at_ms: int
    job_id: JobId
    attempt_number: int
    environment_arn: EnvironmentArn
    host_id: HostId
    instance_id: InstanceId | None


class Difference(Struct, frozen=True, kw_only=True):
    """The first turn that went otherwise than it was written down."""

    at_ms: int
    #: How many events of the turn are the same on both sides.
    equal_count: int
    #: The first event that differs, as JSON; None: there was none any more, or nobody kept it.
    recorded: str | None
    replayed: str | None
    #: The core could not take the inputs at all.
    broken: str | None = None


class SpanReplay(Struct, frozen=True, kw_only=True):
    """What came of a span."""

    epoch: int
    part: int
    began_ms: int
    ended_ms: int
    turn_count: int
    event_count: int
    decisions: tuple[Decision, ...]
    #: The recording reached its limit before the engine ended.
    was_cut: bool
    #: None: every event is the same, as far as the span could be read.
    difference: Difference | None
    #: Its form, if that is another one than this batchyard reads: nothing of it was replayed.
    other_version: int | None = None
    #: Which record could not be read, and why; what is before it was replayed.
    damage: str | None = None

    @property
    def is_identical(self) -> bool:
        """Tell whether all of it was read, and decided as it was then."""
        return self.difference is None and self.other_version is None and self.damage is None


def replay_span(conn: Connection, span: Span) -> SpanReplay:
    """Decide everything in a span again, up to the first difference or damage."""
    run = _Run()
    for row in read_span(conn, span):
        if not run.follow(conn, row):
            break
    return SpanReplay(
        epoch=span.epoch,
        part=span.part,
        began_ms=span.began_ms,
        ended_ms=run.at_ms,
        turn_count=run.turn_count,
        event_count=run.event_count,
        decisions=tuple(run.decisions),
        was_cut=run.was_cut,
        difference=run.difference,
        other_version=run.other_version,
        damage=run.damage,
    )


class _Run:
    """One pass through a span."""

    def __init__(self) -> None:
        self._state = State()
        self._contents = Contents()
        #: The inventory that the span begins with, if it does, and its pieces so far.
        self._begun: Beginning | None = None
        self._pieces: list[bytes] = []
        self.at_ms = 0
        #: How many events of that moment earlier turns had.
        self._told_count = 0
        self.turn_count = 0
        self.event_count = 0
        self.decisions: list[Decision] = []
        self.was_cut = False
        self.difference: Difference | None = None
        self.other_version: int | None = None
        self.damage: str | None = None

    def follow(self, conn: Connection, row: RecordRow) -> bool:
        """Decide what a record is about; False: the replay ends with it."""
        if row.version != VERSION:
            self.other_version = row.version
            return False
        if row.at_ms != self.at_ms:
            self.at_ms, self._told_count = row.at_ms, 0
        try:
            decided = self._decided(row)
        except UNREADABLE as error:
            self.damage = f"record {row.seq} cannot be read, or one before it is missing: {error}"
            return False
        if decided is None:
            self.was_cut = True
            return False
        try:
            events = decided().events
        except (InvariantBroken, AssertionError, KeyError) as broken:
            self.difference = Difference(
                at_ms=row.at_ms, equal_count=0, recorded=None, replayed=None, broken=_told(broken)
            )
            return False
        return self._compare(conn, row, events)

    def _compare(self, conn: Connection, row: RecordRow, events: Sequence[e.Event]) -> bool:
        if not row.digest:  # Nothing was decided with it.
            return True
        if digest_of(events) != row.digest:
            self.difference = _difference(conn, row.at_ms, events, self._told_count)
            return False
        self.turn_count += 1
        self.event_count += len(events)
        self._told_count += len(events)
        self.decisions += _decisions_in(events)
        return True

    def _decided(self, row: RecordRow) -> Callable[[], Outcome] | None:
        """Read a record, and say how it is decided; None: the recording ends."""
        content = self._contents.take(row.body)
        match row.kind:
            case RecordKind.END:
                return None
            case RecordKind.BEGINNING:
                begun = decode_beginning(content)
                if begun.stored is None:
                    self._begun = begun
                    return Outcome
                return partial(self._begin, begun, begun.stored, row.at_ms)
            case RecordKind.PIECE:
                return self._take_piece(content)
            case _:
                turn = decode_turn(content)
                return partial(
                    decide, self._state, turn.inputs, row.at_ms, is_round_due=turn.is_round_due
                )

    def _take_piece(self, content: bytes) -> Callable[[], Outcome]:
        """Keep a piece of the inventory that the span begins with; the last one makes the state."""
        begun = self._begun
        if begun is None:
            raise ValueError("it is part of no inventory")
        self._pieces.append(content)
        if len(self._pieces) == begun.piece_count:
            self._state = unpack(begun.rest, self._pieces)
        return Outcome

    def _begin(self, begun: Beginning, stored: Stored, at_ms: int) -> Outcome:
        self._state, outcome = build_state(stored, begun.hosts, at_ms)
        offered = [host.host_id for host in begun.hosts]
        outcome.add(settle_hosts(self._state, offered, frozenset(begun.known), at_ms))
        return outcome


def _told(broken: Exception) -> str:
    return f"{type(broken).__name__}: {broken}"


def _decisions_in(events: Iterable[e.Event]) -> Iterable[Decision]:
    for event in events:
        if isinstance(event, e.AttemptPlaced):
            yield Decision(
                at_ms=event.at_ms,
                job_id=event.job_id,
                attempt_number=event.number,
                environment_arn=event.environment_arn,
                host_id=event.host_id,
                instance_id=event.instance_id,
            )


def _difference(
    conn: Connection, at_ms: int, events: Iterable[e.Event], told_count: int
) -> Difference:
    """Find where the events of a turn part from those that the store has of that moment.

    `told_count` of these are of turns before it.
    """
    kept = read_events_at(conn, at_ms)[told_count:]
    recorded = [f"{each.kind} {_json(each.body)}" for each in kept]
    replayed = [f"{type(each).__name__} {_json(msgspec.to_builtins(each))}" for each in events]
    equal_count = 0
    while (
        equal_count < min(len(recorded), len(replayed))
        and recorded[equal_count] == replayed[equal_count]
    ):
        equal_count += 1

    def at(texts: list[str]) -> str | None:
        return texts[equal_count] if equal_count < len(texts) else None

    return Difference(
        at_ms=at_ms, equal_count=equal_count, recorded=at(recorded), replayed=at(replayed)
    )


def _json(body: object) -> str:
    return msgspec.json.encode(body, order="sorted").decode()
