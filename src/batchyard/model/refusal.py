"""A refusal: the caller asked for something that is not allowed.

Its text is what the caller reads.
"""


class Refusal(Exception):
    """The caller's fault, in AWS's words.

    `code` is AWS's error type (`ClientException`, `ResourceNotFoundException`, …), `http_status`
    what the wire answers with. The wire turns it into the protocol's error form; nothing was
    changed.
    """

    def __init__(self, code: str, message: str, *, http_status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status


def client_exception(message: str) -> Refusal:
    """Build AWS Batch's one modelled refusal (reference/jobs.md section 0.2)."""
    return Refusal("ClientException", message)
