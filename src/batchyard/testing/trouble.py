"""What a yard of tests raises, beside what AWS's clients raise."""


class YardTrouble(Exception):
    """The yard cannot do what was asked, or its server has failed. Says why."""


class NotInRealTime(YardTrouble):
    """Asked of a yard with a real clock and real containers, which nobody can command so."""
