"""Statements compiled once for a process, whatever databases come and go in it.

An engine of SQLAlchemy keeps its compiled statements to itself, and each life of a server has
engines of its own: a third of a run would be spent on compiling the same statements again. What is
compiled depends on the dialect alone, so the engines of a process share one.
"""

from __future__ import annotations

from sqlalchemy import Engine

_first: list[Engine] = []


def share_compiled(engine: Engine) -> None:
    """Let an engine of SQLite use what others have compiled. Not after its first connection."""
    if not _first:
        _first.append(engine)
    engine.dialect = engine.pool._dialect = _first[0].dialect
    engine._compiled_cache = _first[0]._compiled_cache
