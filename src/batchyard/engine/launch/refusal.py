"""What keeps an attempt from being started.

Owns the word alone, for all that describe tasks; what comes of it is up to `dispatch`. Refuses to
know why.
"""


class CannotLaunch(Exception):
    """The task cannot be started; the text is the attempt's reason, in AWS's form."""
