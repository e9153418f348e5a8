"""What EC2 refuses in the same words for every operation: values, sizes of pages, dry runs."""

from batchyard.model.records import Json
from batchyard.model.refusal import Refusal

_PRECONDITION_FAILED = 412


def invalid_value(text: str) -> Refusal:
    """Refuse a value in EC2's form."""
    return Refusal("InvalidParameterValue", text)


def invalid_token(token: str) -> Refusal:
    """Refuse a `NextToken`, in the words seen from DescribeVpcs."""
    return invalid_value(
        f"Value ( {token} ) for parameter NextToken is invalid. The token is invalid."
    )


def page_size(request: Json, *, size_min: int, size_max: int) -> int | None:
    """Give `MaxResults`; None: there is none. Refuses what is out of its bounds."""
    size: int | None = request.get("MaxResults")
    if size is None or size_min <= size <= size_max:
        return size
    bound = (
        f"greater than or equal to {size_min}"
        if size < size_min
        else f"less than or equal to {size_max}"
    )
    text = f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value {bound}."
    raise invalid_value(text)


def refuse_dry_run(request: Json) -> None:
    """Answer `DryRun`, once everything else about the request is right: AWS does it by an error."""
    if request.get("DryRun"):
        text = "Request would have succeeded, but DryRun flag is set."
        raise Refusal("DryRunOperation", text, http_status=_PRECONDITION_FAILED)
