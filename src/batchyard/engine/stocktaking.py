"""The engine's state encoded piece by piece, while the engine goes on deciding.

Owns how much is taken down at a time, and the form of the pieces. Refuses to know where they are
kept, and what is in a state: see `core.inventory`.

What the form needs is that State and all in it are plain data: what is not (lines, deadlines,
rooms) has its own word here.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import get_origin

import msgspec

from batchyard.core.deadlines import Deadlines
from batchyard.core.events import Event
from batchyard.core.inventory import Entry, Rest, entry_of, make_again, rest_of, touched_by
from batchyard.core.state import State
from batchyard.core.waiting_line import WaitingLine
from batchyard.model.ids import JobId
from batchyard.scheduler.rooms import RoomGroups

#: Jobs, children and nodes that are taken down at a time: some ten milliseconds.
PIECE_ENTRIES = 2000
_PACKING_LEVEL = 1


class Stocktaking:
    """One inventory of the state, from its beginning to its end."""

    def __init__(self, state: State, piece_entries: int = PIECE_ENTRIES) -> None:
        self._piece_entries = piece_entries
        self._due: Iterator[JobId] = iter(list(state.jobs))
        #: Changed since it began, in the order of that.
        self._changed: dict[JobId, None] = {}
        #: What has been taken down, in order.
        self.pieces: list[bytes] = []
        self.byte_count = 0

    def go_on(self, state: State, events: Iterable[Event]) -> bytes | None:
        """Take down some more, after a turn in which `events` happened.

        Gives the rest of the state when it is complete: pieces and rest are as of this moment.
        """
        self._changed.update(dict.fromkeys(touched_by(events)))
        some = list(islice(self._due, self._piece_entries))
        if some:
            self._take_down(state, some)
            return None
        changed, self._changed = self._changed, {}
        if len(changed) > self._piece_entries:
            self._due = iter(changed)
            return self.go_on(state, ())
        self._take_down(state, changed)
        rest = _packed(rest_of(state))
        self.byte_count += len(rest)
        return rest

    def _take_down(self, state: State, ids: Iterable[JobId]) -> None:
        piece = _packed([entry_of(state, each) for each in ids])
        self.pieces.append(piece)
        self.byte_count += len(piece)


def unpack(rest: bytes, pieces: Sequence[bytes]) -> State:
    """Make the state again.

    Raises what `engine.recording.UNREADABLE` names for a form that was never written.
    """
    entries = (each for piece in pieces for each in _ENTRIES.decode(zlib.decompress(piece)))
    return make_again(_REST.decode(zlib.decompress(rest)), entries)


def _packed(value: object) -> bytes:
    return zlib.compress(ENCODER.encode(value), _PACKING_LEVEL)


def _encode_other(value: object) -> object:
    """Say what is no plain data in plain data. Lines and rooms follow from the rest of it."""
    if isinstance(value, Deadlines):
        return value.entries()
    assert isinstance(value, WaitingLine), value
    return None


def _decode_other(kind: type, plain: object) -> object:
    if get_origin(kind) is Deadlines:
        return Deadlines(msgspec.convert(plain, list[tuple[int, str]]))
    assert kind in (WaitingLine, RoomGroups), kind
    return kind()


#: Dicts keep their order: equal bytes are equal states.
ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode_other)
_ENTRIES = msgspec.msgpack.Decoder(list[Entry], dec_hook=_decode_other)
_REST = msgspec.msgpack.Decoder(Rest, dec_hook=_decode_other)
