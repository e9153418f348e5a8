"""What a handler of an operation receives: who calls, in which scope, when. Knows no HTTP and no job."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from batchyard.model.ids import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One verified request.

    `scope` comes from the signature: the account of the access key, the region of the credential
    scope. `principal_arn` and `user_id` say who signed. `now_ms` is when the request arrived.
    """

    scope: Scope
    principal_arn: str
    user_id: str
    access_key_id: str
    request_id: str
    now_ms: int


#: Handles one operation: takes the decoded request (checked against the model: types, required
#: members; members the model does not know are gone, null counts as absent) and gives the answer in
#: the model's member names. Raises `model.refusal.Refusal` for the caller's faults.
Handler = Callable[[Call, Any], Awaitable[Any]]

#: Handlers by (service name as botocore spells it, operation name): ("batch", "SubmitJob").
Handlers = dict[tuple[str, str], Handler]
