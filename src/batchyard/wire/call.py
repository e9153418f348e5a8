"""What a handler of an operation receives: who calls, in which scope, when.

Knows no HTTP and no job.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from batchyard.model.ids import Scope
from batchyard.model.refusal import client_exception


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One verified request. A struct rather than a dataclass: one is made per request.

    `scope` comes from the signature: the account of the access key, the region of the credential
    scope. `principal_arn` and `user_id` say who signed. `now_ms` is when the request arrived.
    """

    scope: Scope
    principal_arn: str
    user_id: str
    access_key_id: str
    request_id: str
    now_ms: int
    #: Length of the request's body as sent; some operations limit their own.
    body_size: int = 0
    #: What the caller is told beside the answer, in a header of ours.
    warnings: list[str] = []

    def warn(self, texts: Iterable[str]) -> None:
        """Tell the caller what will not come to what was meant, beside an answer that is AWS's."""
        self.warnings.extend(texts)

    def limit_body(self, bytes_max: int) -> None:
        """Refuse a body longer than `bytes_max`. Raises Refusal."""
        if self.body_size > bytes_max:
            raise client_exception(
                f"The request is {self.body_size} bytes long; at most {bytes_max} are allowed."
            )


#: Handles one operation: takes the decoded request (checked against the model: types, required
#: members; members the model does not know are gone, null counts as absent) and gives the answer in
#: the model's member names. Raises `model.refusal.Refusal` for the caller's faults.
Handler = Callable[[Call, Any], Awaitable[Any]]

#: Handlers by (service name as botocore spells it, operation name): ("batch", "SubmitJob").
Handlers = dict[tuple[str, str], Handler]
