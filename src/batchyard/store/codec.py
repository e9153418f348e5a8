"""Rows to records and back.

Owns the stored form of every JSON column. Refuses to know tables and statements.

Rules:
- A field added to a record later has a default: rows written before it are then still read. A field
  that is no longer known is passed over.
- NULL stands for an empty object or list: most jobs have neither tags nor dependencies.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from batchyard.model.capacity_use import UnitQuantity
from batchyard.model.ids import JobId
from batchyard.model.queue_snapshots import QueueSnapshot
from batchyard.model.records import ConsumableNeed, ExitRule, JobProgress, Json, NodePlan
from batchyard.model.service_records import ServiceTerms

_NO_SERVICE = ServiceTerms(capacity_use=())

_encode = msgspec.json.Encoder().encode
_decode_progress = msgspec.json.Decoder(JobProgress).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_tags = msgspec.json.Decoder(dict[str, str]).decode
_decode_exit_rules = msgspec.json.Decoder(tuple[ExitRule, ...]).decode
_decode_needs = msgspec.json.Decoder(tuple[ConsumableNeed, ...]).decode
_decode_snapshot = msgspec.json.Decoder(QueueSnapshot).decode
_decode_node_plan = msgspec.json.Decoder(NodePlan).decode
_decode_service_terms = msgspec.json.Decoder(ServiceTerms).decode
_decode_texts = msgspec.json.Decoder(tuple[str, ...]).decode


def encode_progress(progress: JobProgress) -> bytes:
    return _encode(progress)


def decode_progress(stored: bytes | None) -> JobProgress:
    """NULL: the engine has not looked at the job yet."""
    return JobProgress() if stored is None else _decode_progress(stored)


def encode_object(value: Json) -> bytes:
    return _encode(value)


def decode_object(stored: bytes) -> Json:
    return _decode_object(stored)


def encode_json(value: object) -> bytes:
    return _encode(value)


def encode_tags(tags: Mapping[str, str]) -> bytes | None:
    return _encode(dict(tags)) if tags else None


def decode_tags(stored: bytes | None) -> dict[str, str]:
    return {} if stored is None else _decode_tags(stored)


def encode_texts(texts: Iterable[str]) -> bytes:
    return _encode(tuple(texts))


def decode_texts(stored: bytes) -> tuple[str, ...]:
    return _decode_texts(stored)


def encode_job_ids(ids: tuple[JobId, ...]) -> bytes | None:
    return _encode(ids) if ids else None


def decode_job_ids(stored: bytes | None) -> tuple[JobId, ...]:
    return () if stored is None else tuple(map(JobId, _decode_texts(stored)))


def encode_exit_rules(rules: tuple[ExitRule, ...]) -> bytes | None:
    return _encode(rules) if rules else None


def decode_exit_rules(stored: bytes | None) -> tuple[ExitRule, ...]:
    return () if stored is None else _decode_exit_rules(stored)


def encode_needs(needs: tuple[ConsumableNeed, ...]) -> bytes | None:
    return _encode(needs) if needs else None


def decode_needs(stored: bytes | None) -> tuple[ConsumableNeed, ...]:
    return () if stored is None else _decode_needs(stored)


def encode_snapshot(snapshot: QueueSnapshot) -> bytes:
    return _encode(snapshot)


def decode_snapshot(stored: bytes) -> QueueSnapshot:
    return _decode_snapshot(stored)


def encode_node_plan(plan: NodePlan | None) -> bytes | None:
    return None if plan is None else _encode(plan)


def decode_node_plan(stored: bytes | None) -> NodePlan | None:
    return None if stored is None else _decode_node_plan(stored)


def encode_service_terms(
    capacity_use: tuple[UnitQuantity, ...], preemption_retries_max: int | None
) -> bytes | None:
    """NULL: it is no service job."""
    if not capacity_use:
        return None
    terms = ServiceTerms(capacity_use=capacity_use, preemption_retries_max=preemption_retries_max)
    return _encode(terms)


def decode_service_terms(stored: bytes | None) -> ServiceTerms:
    return _NO_SERVICE if stored is None else _decode_service_terms(stored)


def encode_text(text: str) -> bytes:
    """UTF-8. A lone surrogate, which has no UTF-8 form, becomes a question mark."""
    return text.encode(errors="replace")


def decode_text(stored: bytes) -> str:
    return stored.decode(errors="replace")
