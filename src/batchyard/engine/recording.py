"""What an engine decided from, kept so that its decisions can be made again.

Owns the form of a recording: a *span* for each time an engine was in charge, which begins with
everything live as it was read, and goes on with the inputs of each turn. Decides when it stops.
Refuses to know how it is replayed.

Rules:
- A record is written in the transaction of the facts that came of it: after a crash there are both
  or neither.
- A turn in which nothing became true is not recorded: only events change the state.
- Nothing is in it that is not in the store's tables of jobs, instances and events already.
- Each record begins with a checksum of itself and all before it in its span: one that was damaged
  is told from one that was decided otherwise, and so is one that is missing.

Why it is so: decision 0023.
"""

import zlib
from collections.abc import Iterable, Sequence, Set
from enum import StrEnum

import msgspec
import structlog
from msgspec import Struct

from batchyard.core import inputs as i
from batchyard.engine.recovery import Stored
from batchyard.model.ids import TaskId
from batchyard.store import Connection, recordings

#: Version of the form below; raised when an input or a record of the store changes its meaning, or
#: the core decides otherwise.
VERSION = 3

#: With more live jobs a span does not begin: writing them all down would hold up the start.
LIVE_JOBS_MAX = 100_000
#: What a beginning is packed with: a tenth of its size, at 100 MB a second.
_PACKING_LEVEL = 1
_MIB = 2**20
_CHECKSUM_BYTES = 4
_DAY_MS = 86_400_000

_log = structlog.get_logger()
_TYPE_BY_NAME: dict[str, type[i.Input]] = {each.__name__: each for each in i.Input.__args__}


class RecordKind(StrEnum):
    """What a record tells."""

    BEGINNING = "BEGINNING"
    TURN = "TURN"
    #: The span reached its limit; the engine went on without being recorded.
    END = "END"


class RecordingLimits(Struct, frozen=True, kw_only=True):
    """How much is recorded."""

    #: How long spans are kept after their end; 0: nothing is recorded.
    days: int
    mib_max: int = 256


class Damaged(ValueError):
    """A record is not what was written."""


class NewRecord(Struct, frozen=True, kw_only=True):
    """A record that is still to be written."""

    kind: RecordKind
    body: bytes


class Beginning(Struct, frozen=True, kw_only=True):
    """What an engine had when it took charge."""

    stored: Stored
    hosts: tuple[i.PutHost, ...]
    #: The tasks that the backend knew.
    known: tuple[TaskId, ...]


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
    stored: bytes
    hosts: tuple[i.PutHost, ...]
    known: tuple[TaskId, ...]


class _TurnForm(Struct, frozen=True, kw_only=True, array_like=True):
    inputs: tuple[_Named, ...]
    is_round_due: bool


class Recorder:
    """One engine's recording."""

    def __init__(self, limits: RecordingLimits) -> None:
        self._limits = limits
        self._is_recording = False
        #: How much this span has written, and the checksum of that.
        self._byte_count = 0
        self._checksum = 0

    def keep(self, stored: Stored) -> bytes | None:
        """Write down what was read at the start; None: nothing is recorded, or it is too much."""
        if not self._limits.days:
            return None
        if len(stored.live) + len(stored.parts) > LIVE_JOBS_MAX:
            _log.warning("recording_not_begun", live_jobs=len(stored.live), max=LIVE_JOBS_MAX)
            return None
        return _encode_stored(stored)

    def begin(
        self, kept: bytes | None, *, hosts: Sequence[i.PutHost], known: Set[TaskId]
    ) -> NewRecord | None:
        """Begin a span with what `keep` wrote down."""
        if kept is None:
            return None
        self._is_recording, self._byte_count, self._checksum = True, 0, 0
        form = _BeginningForm(stored=kept, hosts=tuple(hosts), known=tuple(sorted(known)))
        return self._counted(RecordKind.BEGINNING, msgspec.msgpack.encode(form))

    def record(self, inputs: Iterable[i.Input], *, is_round_due: bool) -> NewRecord | None:
        """Write down what a turn decided from."""
        if not self._is_recording:
            return None
        if self._byte_count > self._limits.mib_max * _MIB:
            self._is_recording = False
            _log.warning("recording_full", mib_max=self._limits.mib_max)
            return self._counted(RecordKind.END, b"")
        named = [(type(each).__name__, each) for each in inputs]
        return self._counted(RecordKind.TURN, msgspec.msgpack.encode((named, is_round_due)))

    def write(
        self, conn: Connection, record: NewRecord, digest: bytes, *, epoch: int, at_ms: int
    ) -> None:
        """Write a record beside the facts; at a beginning, drop what is too old or too much."""
        if record.kind is RecordKind.BEGINNING:
            recordings.delete_old_spans(
                conn,
                before_ms=at_ms - self._limits.days * _DAY_MS,
                bytes_max=self._limits.mib_max * _MIB,
            )
        recordings.append_record(conn, (epoch, record.kind, at_ms, VERSION, digest, record.body))

    def _counted(self, kind: RecordKind, content: bytes) -> NewRecord:
        self._checksum = zlib.crc32(content, self._checksum)
        body = self._checksum.to_bytes(_CHECKSUM_BYTES) + content
        self._byte_count += len(body)
        return NewRecord(kind=kind, body=body)


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
    return Beginning(stored=_decode_stored(form.stored), hosts=form.hosts, known=form.known)


def decode_turn(content: bytes) -> TurnRecord:
    """Read a TURN back. Raises `ValueError` for a form never written."""
    form = msgspec.msgpack.decode(content, type=_TurnForm)
    return TurnRecord(inputs=_unnamed(form.inputs), is_round_due=form.is_round_due)


def _encode_stored(stored: Stored) -> bytes:
    encode = msgspec.msgpack.encode
    form = _StoredForm(
        puts=tuple((type(each).__name__, msgspec.Raw(encode(each))) for each in stored.puts),
        rest=msgspec.Raw(encode(msgspec.structs.replace(stored, puts=()))),
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
