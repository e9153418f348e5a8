"""How refusals are put into words when many operations share the form. Pure."""

from collections.abc import Iterable

from batchyard.model.records import Json
from batchyard.model.refusal import Refusal, client_exception


def executing(request_id: str, text: str) -> Refusal:
    """Wrap `text` the way AWS Batch words its older checks (reference/jobs.md section 0.2)."""
    return client_exception(f"Error executing request, Exception : {text}, RequestId: {request_id}")


def unsupported(member: str) -> Refusal:
    """Say that AWS has this and we do not yet: nothing is ever ignored in silence."""
    return client_exception(f"{member} is not supported yet by batchyard.")


def refuse_given(request: Json, members: Iterable[str], *, within: str = "") -> None:
    """Refuse every one of `members` that is given and not empty; `within` names their structure."""
    for member in members:
        if request.get(member) not in (None, {}, [], ""):
            raise unsupported(f"{within}.{member}" if within else member)
