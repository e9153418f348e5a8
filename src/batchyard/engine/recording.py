"""What an engine decided from, kept so that its decisions can be made again.

Owns the form of a recording: *spans*, one after the other. The first one of an engine begins with
everything live as it was read, each later one with an inventory of the state (`stocktaking`), and
they go on with the inputs of each turn. Decides when a span ends, and which old ones go. Refuses to
know how it is replayed.

Rules:
- A record is written in the transaction of the facts that came of it: after a crash there are both
  or neither.
- A turn in which nothing became true is not recorded: only events change the state.
- Nothing is in it that is not in the store's tables of jobs, instances and events already.
- Each record begins with a checksum of itself and all before it in its span: one that was damaged
  is told from one that was decided otherwise, and so is one that is missing.

Why it is so: decisions 0023 and 0026.
"""

import zlib
from collections.abc import Iterable, Sequence, Set
from enum import StrEnum

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.state import State
from batchyard.engine.recovery import Stored
from batchyard.engine.stocktaking import PIECE_ENTRIES, Stocktaking
from batchyard.model.amounts import Amount
from batchyard.model.ids import TaskId
from batchyard.store import Connection, recordings

#: Version of the form below; raised when an input or a record of the store changes its meaning, or
#: the core decides otherwise.
VERSION = 7

#: More live jobs are not written down at a start, which that would hold up. The span then begins
#: with an inventory, a few turns later.
LIVE_JOBS_MAX = 100_000
#: Of all that spans may take: what older ones may when one begins, and where one ends that none
#: follows.
_HALF = 2
#: A span is no longer than that, or old ones could not go in time.
_SPAN_MS_MAX = 86_400_000
#: With this part of the live jobs that were too many it is tried again.
_TRY_AGAIN_PART = 2
#: Records that are deleted with each one that is written: deleting a span takes a second.
_DELETED_AT_A_TIME = 500
#: What a beginning is packed with: a tenth of its size, at 100 MB a second.
_PACKING_LEVEL = 1
_CHECKSUM_BYTES = 4
_DAY_MS = 86_400_000

_log = structlog.get_logger()
_TYPE_BY_NAME: dict[str, type[i.Input]] = {each.__name__: each for each in i.Input.__args__}


class RecordKind(StrEnum):
    """What a record tells."""

    BEGINNING = "BEGINNING"
    TURN = "TURN"
    #: Of the inventory that a span begins with; behind its BEGINNING.
    PIECE = "PIECE"
    #: The span reached its limit, and no other one could begin.
    END = "END"


class RecordingLimits(Struct, frozen=True, kw_only=True):
    """How much is recorded."""

    #: How long spans are kept after their end; 0: nothing is recorded.
    days: int
    #: All spans together.
    byte_count_max: int = 2**28
    #: How many spans there is room for: when one takes more than its part, the next one begins.
    #: What a span begins with must be smaller than that, too.
    span_count: int = 4
    #: How many jobs, children and nodes of an inventory are taken down in one turn.
    piece_entries: int = PIECE_ENTRIES


#: What reading a record back raises if it was damaged.
UNREADABLE = (ValueError, zlib.error, msgspec.DecodeError)


class Damaged(ValueError):
    """A record is not what was written."""


class NewRecord(Struct, frozen=True, kw_only=True):
    """A record that is still to be written."""

    #: Of which of the engine's spans, counted from 1.
    part: int
    kind: RecordKind
    body: bytes
    #: The facts of its transaction came of it.
    has_facts: bool = True


class Beginning(Struct, frozen=True, kw_only=True):
    """What an engine had when it took charge, or what it has in the middle of its time."""

    #: None in the middle: then an inventory says it.
    stored: Stored | None
    hosts: tuple[i.PutHost, ...]
    #: The tasks that the backend knew.
    known: tuple[TaskId, ...]
    #: Of an inventory: how many PIECE records follow, and everything else, packed.
    piece_count: int = 0
    rest: bytes = b""


class RecordedAt(Struct, frozen=True, kw_only=True):
    """Who records, and when."""

    epoch: int
    now_ms: int


class TurnRecord(Struct, frozen=True, kw_only=True):
    """What one turn decided from."""

    inputs: tuple[i.Input, ...]
    is_round_due: bool


_Named = tuple[str, msgspec.Raw]


class _StoredForm(Struct, frozen=True, kw_only=True):
    puts: tuple[_Named, ...]
    #: `Stored` without its `puts`.
    rest: msgspec.Raw


class _BeginningForm(Struct, frozen=True, kw_only=True, array_like=True):
    #: Empty with an inventory.
    stored: bytes
    hosts: tuple[i.PutHost, ...]
    known: tuple[TaskId, ...]
    piece_count: int
    rest: bytes


class _TurnForm(Struct, frozen=True, kw_only=True, array_like=True):
    inputs: tuple[_Named, ...]
    is_round_due: bool


class Recorder:
    """One engine's recording."""

    def __init__(self, limits: RecordingLimits) -> None:
        self._limits = limits
        self._is_recording = False
        #: How many spans have begun, and when the last of them did.
        self._part = 0
        self._began_ms = 0
        #: How much this span has written, and the checksum of that.
        self._byte_count = 0
        self._checksum = 0
        #: What earlier spans take that are still kept, oldest first.
        self._earlier: list[int] = []
        self._stocktaking: Stocktaking | None = None
        #: So many live jobs were too many; None: it has not been tried.
        self._too_many: int | None = None
        #: What is before it is being deleted; None: nothing is.
        self._keep_from: int | None = None

    @property
    def has_more_to_do(self) -> bool:
        """Tell whether turns are needed for what is being taken down."""
        return self._stocktaking is not None

    def keep(self, conn: Connection, stored: Stored) -> bytes | None:
        """Write down what was read at the start; None: nothing is recorded, or it is too much."""
        self._earlier = recordings.read_sizes(conn)
        if not self._limits.days or len(stored.live) + len(stored.parts) > LIVE_JOBS_MAX:
            return None
        kept = encode_stored(stored)
        if len(kept) > self._span_bytes:
            self._give_up(len(stored.live))
            return None
        return kept

    def begin(
        self, kept: bytes | None, *, hosts: Sequence[i.PutHost], known: Set[TaskId], now_ms: int
    ) -> Sequence[NewRecord]:
        """Begin a span with what `keep` wrote down."""
        if kept is None:
            return ()
        form = _BeginningForm(
            stored=kept, hosts=tuple(hosts), known=tuple(sorted(known)), piece_count=0, rest=b""
        )
        return [self._begun(form, now_ms)]

    def record(
        self, state: State, turn: TurnRecord, events: Sequence[e.Event], *, now_ms: int
    ) -> Sequence[NewRecord]:
        """Write down what a turn decided from, and whatever it is time for.

        `events` came of it, and `state` is as they left it.
        """
        records: list[NewRecord] = []
        if self._is_recording and events:
            records.append(self._turn_record(turn))
        if self._stocktaking is None and self._is_time(state, now_ms):
            self._stocktaking = Stocktaking(state, self._limits.piece_entries)
        if self._stocktaking is not None:
            records += self._take_stock(self._stocktaking, state, events, now_ms)
        return records

    def write(
        self, conn: Connection, records: Sequence[NewRecord], digest: bytes, *, at: RecordedAt
    ) -> None:
        """Write records beside the facts, whose digest is given; let old ones go meanwhile."""
        for each in records:
            of_facts = digest if each.has_facts else b""
            row = (at.epoch, each.part, each.kind, at.now_ms, VERSION, of_facts, each.body)
            recordings.append_record(conn, row)
        if any(each.kind is RecordKind.BEGINNING for each in records):
            before_ms = at.now_ms - self._limits.days * _DAY_MS
            self._keep_from = recordings.drop_spans(
                conn, kept=1 + len(self._earlier), before_ms=before_ms
            )
        if self._keep_from is not None and not recordings.delete_some(
            conn, self._keep_from, _DELETED_AT_A_TIME
        ):
            self._keep_from = None

    @property
    def _span_bytes(self) -> int:
        return self._limits.byte_count_max // self._limits.span_count

    def _is_time(self, state: State, now_ms: int) -> bool:
        if not self._limits.days:
            return False
        if self._too_many is not None and len(state.jobs) * _TRY_AGAIN_PART >= self._too_many:
            return False
        is_long = now_ms - self._began_ms >= _SPAN_MS_MAX
        return not self._is_recording or self._byte_count > self._span_bytes or is_long

    def _turn_record(self, turn: TurnRecord) -> NewRecord:
        if self._byte_count > self._limits.byte_count_max // _HALF:
            self._is_recording = False
            _log.warning("recording_full", bytes_max=self._limits.byte_count_max)
            return self._counted(RecordKind.END, b"")
        named = [(type(each).__name__, each) for each in turn.inputs]
        return self._counted(RecordKind.TURN, msgspec.msgpack.encode((named, turn.is_round_due)))

    def _take_stock(
        self, stocktaking: Stocktaking, state: State, events: Iterable[e.Event], now_ms: int
    ) -> Iterable[NewRecord]:
        """Take down some more; give the beginning of a span once all is."""
        rest = stocktaking.go_on(state, events)
        if stocktaking.byte_count > self._span_bytes:
            self._stocktaking = None
            self._give_up(len(state.jobs))
            return
        if rest is None:
            return
        self._stocktaking = None
        if self._part:
            self._earlier.append(self._byte_count)
        hosts = tuple(
            i.PutHost(host_id=host.id, capacity=host.capacity)
            for host in state.hosts.values()
            if host.capacity != Amount()
        )
        pieces = stocktaking.pieces
        form = _BeginningForm(stored=b"", hosts=hosts, known=(), piece_count=len(pieces), rest=rest)
        yield replace(self._begun(form, now_ms), has_facts=False)
        for piece in pieces:
            yield replace(self._counted(RecordKind.PIECE, piece), has_facts=False)

    def _give_up(self, live_job_count: int) -> None:
        self._too_many = live_job_count
        _log.warning(
            "recording_not_begun", live_jobs=live_job_count, bytes_max=self._limits.byte_count_max
        )

    def _begun(self, form: _BeginningForm, now_ms: int) -> NewRecord:
        self._is_recording, self._byte_count, self._checksum = True, 0, 0
        self._too_many = None
        self._part += 1
        while sum(self._earlier) > self._limits.byte_count_max // _HALF:
            self._earlier.pop(0)
        self._began_ms = now_ms
        return self._counted(RecordKind.BEGINNING, msgspec.msgpack.encode(form))

    def _counted(self, kind: RecordKind, content: bytes) -> NewRecord:
        self._checksum = zlib.crc32(content, self._checksum)
        body = self._checksum.to_bytes(_CHECKSUM_BYTES) + content
        self._byte_count += len(body)
        return NewRecord(part=self._part, kind=kind, body=body)


class Contents:
    """The contents of a span's records, taken out in their order."""

    def __init__(self) -> None:
        self._checksum = 0

    def take(self, body: bytes) -> bytes:
        """Give the content of the next record. Raises `Damaged`."""
        content = body[_CHECKSUM_BYTES:]
        self._checksum = zlib.crc32(content, self._checksum)
        if self._checksum.to_bytes(_CHECKSUM_BYTES) != body[:_CHECKSUM_BYTES]:
            raise Damaged("its checksum is wrong")
        return content


def decode_beginning(content: bytes) -> Beginning:
    """Read a BEGINNING back. Raises `ValueError` for a form never written."""
    form = msgspec.msgpack.decode(content, type=_BeginningForm)
    return Beginning(
        stored=_decode_stored(form.stored) if form.stored else None,
        hosts=form.hosts,
        known=form.known,
        piece_count=form.piece_count,
        rest=form.rest,
    )


def decode_turn(content: bytes) -> TurnRecord:
    """Read a TURN back. Raises `ValueError` for a form never written."""
    form = msgspec.msgpack.decode(content, type=_TurnForm)
    return TurnRecord(inputs=_unnamed(form.inputs), is_round_due=form.is_round_due)


def encode_stored(stored: Stored) -> bytes:
    """Write down everything live as it was read."""
    encode = msgspec.msgpack.encode
    form = _StoredForm(
        puts=tuple((type(each).__name__, msgspec.Raw(encode(each))) for each in stored.puts),
        rest=msgspec.Raw(encode(replace(stored, puts=()))),
    )
    return zlib.compress(encode(form), _PACKING_LEVEL)


class _Rest(Stored, frozen=True, kw_only=True):
    """`Stored` whose inputs stand elsewhere."""

    puts: tuple[()] = ()


def _decode_stored(packed: bytes) -> Stored:
    form = msgspec.msgpack.decode(zlib.decompress(packed), type=_StoredForm)
    rest = msgspec.msgpack.decode(form.rest, type=_Rest)
    fields = {name: getattr(rest, name) for name in Stored.__struct_fields__}
    return Stored(**{**fields, "puts": _unnamed(form.puts)})


def _unnamed(named: Iterable[_Named]) -> tuple[i.Input, ...]:
    decode = msgspec.msgpack.decode
    try:
        return tuple(decode(raw, type=_TYPE_BY_NAME[name]) for name, raw in named)
    except KeyError as error:
        raise ValueError(f"an input {error} is not known here") from error
