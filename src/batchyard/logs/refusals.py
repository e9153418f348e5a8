"""What CloudWatch Logs says when it refuses (reference/integrations.md section 2.2). Pure."""

from batchyard.model.refusal import Refusal


def invalid(message: str) -> Refusal:
    """Build the refusal of a parameter."""
    return Refusal("InvalidParameterException", message)


def invalid_value(value: object, member: str, constraint: str) -> Refusal:
    """Build the refusal of a value that the service model does not allow."""
    return invalid(
        f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint:"
        f" {constraint}"
    )


def invalid_token() -> Refusal:
    return invalid("The specified nextToken is invalid.")


def no_group() -> Refusal:
    return Refusal("ResourceNotFoundException", "The specified log group does not exist.")


def no_stream() -> Refusal:
    return Refusal("ResourceNotFoundException", "The specified log stream does not exist.")


def group_exists() -> Refusal:
    return Refusal("ResourceAlreadyExistsException", "The specified log group already exists")


def stream_exists() -> Refusal:
    return Refusal("ResourceAlreadyExistsException", "The specified log stream already exists")
