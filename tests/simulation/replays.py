"""Whatever the servers of a run decided, they decide again from what they recorded.

Owns one more check, at the end of a run. Refuses to know how a recording is made or replayed.
"""

from __future__ import annotations

from pathlib import Path

from batchyard.engine.recording import RecordingLimits
from batchyard.sim.replay import SpanReplay, replay_span
from batchyard.store.reading import open_for_reading
from batchyard.store.recordings import read_spans
from tests.simulation.observer import Broken

#: So little that a run has several recordings, whose inventories are taken over several turns.
RECORDING = RecordingLimits(days=7, byte_count_max=128_000, span_count=32, piece_entries=3)


def check_replays(path: Path) -> int:
    """Replay every recording in a store; give how many turns that were. Raises `Broken`."""
    turn_count = 0
    with open_for_reading(f"sqlite:///{path}") as conn:
        for span in read_spans(conn):
            found = replay_span(conn, span)
            if not found.is_identical:
                raise Broken(f"recording {span.epoch} is not replayed: {_why(found)}")
            turn_count += found.turn_count
    return turn_count


def _why(found: SpanReplay) -> object:
    return found.difference or found.damage or found.other_version
