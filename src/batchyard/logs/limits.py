"""Limits of CloudWatch Logs, from its service model and user guide, and ours beside them. Pure."""

MS_PER_DAY = 24 * 60 * 60 * 1000

EVENTS_PER_PAGE_MAX = 10_000
#: Messages in UTF-8 and 26 bytes for each.
PAGE_BYTES_MAX = 1024 * 1024
DESCRIBE_PAGE_MAX = 50
STREAM_NAMES_PER_FILTER_MAX = 100
FILTER_PATTERN_LENGTH_MAX = 1024
NAME_LENGTH_MAX = 512

EVENTS_PER_PUT_MAX = 10_000
PUT_BYTES_MAX = 1024 * 1024
PUT_SPAN_MS_MAX = MS_PER_DAY
PUT_AHEAD_MS_MAX = 2 * 60 * 60 * 1000
PUT_BEHIND_MS_MAX = 14 * MS_PER_DAY
#: A longer line of output becomes several events.
EVENT_BYTES_MAX = 256 * 1024

RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
)  # fmt: skip

#: Ours: events that one call of FilterLogEvents looks at before it answers with a token.
SCAN_EVENTS_MAX = 10_000
#: Ours: rows that one commit of the sweep deletes, so that nobody waits long behind it.
SWEEP_ROWS = 2_000
#: Ours: the rest of the sweep after each commit, several times as long as that takes.
SWEEP_REST_S = 0.05
