"""STS: who am I. Decides nothing; says what the signature already proved."""

from batchyard.wire.call import Call, Handlers


def handlers() -> Handlers:
    """Give the handlers of the STS operations that batchyard supports."""
    return {("sts", "GetCallerIdentity"): get_caller_identity}


async def get_caller_identity(call: Call, _request: object) -> dict[str, str]:
    """Answer the caller's account, ARN and user id. Allowed to everyone who signed."""
    return {
        "UserId": call.user_id,
        "Account": call.scope.account,
        "Arn": call.principal_arn,
    }
