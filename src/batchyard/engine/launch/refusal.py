"""What keeps an attempt from being started. Knows nothing else."""


class CannotLaunch(Exception):
    """The task cannot be started; the text is the attempt's reason, in AWS's form."""
