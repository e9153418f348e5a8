"""How `batchyard replay --config` shows two schedules, and who gains and loses."""

from collections.abc import Callable, Sequence

import click

from batchyard.cli.simulate import duration
from batchyard.cli.tables import print_table
from batchyard.sim.gains import Gains, Moved

_SHOWN_MAX = 10


def show_gains(found: Gains, *, with_all: bool) -> None:
    """Print the groups, and the jobs that move most, or all of them."""
    click.echo(f"\n{found.after}, compared with {found.before} (both simulated)")
    print_table(
        ("QUEUE", "SHARE", "JOBS", "EARLIER", "LATER", "MEAN"),
        [
            (
                group.queue,
                group.share_identifier or "-",
                f"{group.job_count:,}",
                f"{group.earlier_count:,}",
                f"{group.later_count:,}",
                _change(group.later_ms_mean),
            )
            for group in found.groups
        ],
    )
    if with_all:
        _show("Every job", found.jobs)
        return
    _show("Who gains most", _most(found.jobs, lambda later_ms: -later_ms))
    _show("Who loses most", _most(found.jobs, lambda later_ms: later_ms))
    lost = [each for each in found.jobs if each.before_ms is not None and each.after_ms is None]
    _show("Who would never start", lost[:_SHOWN_MAX])


def _most(jobs: Sequence[Moved], weight: Callable[[int], int]) -> Sequence[Moved]:
    moved = [
        (weight(each.later_ms), each)
        for each in jobs
        if each.later_ms is not None and weight(each.later_ms) > 0
    ]
    moved.sort(key=lambda pair: -pair[0])
    return [each for _, each in moved[:_SHOWN_MAX]]


def _show(title: str, jobs: Sequence[Moved]) -> None:
    if not jobs:
        return
    click.echo(f"\n{title}")
    print_table(
        ("JOB", "SHARE", "STARTED AFTER", "WOULD START AFTER", "CHANGE"),
        [
            (
                each.id if each.index is None else f"{each.id}:{each.index}",
                each.share_identifier or "-",
                _start(each.before_ms),
                _start(each.after_ms),
                "-" if each.later_ms is None else _change(each.later_ms),
            )
            for each in jobs
        ],
    )


def _start(at_ms: int | None) -> str:
    return "never" if at_ms is None else duration(at_ms)


def _change(later_ms: float) -> str:
    if later_ms == 0:
        return "as before"
    return f"{duration(abs(later_ms))} {'later' if later_ms > 0 else 'earlier'}"
