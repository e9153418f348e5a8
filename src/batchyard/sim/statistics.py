"""Numbers about many values: how they are spread, and their course over time in few points.

Refuses to know what the values are of. Sums are exact as long as the values are integers.
"""

from collections.abc import Iterable, Sequence

from batchyard.sim.report import Spread

#: While a course is taken down it has at most twice as many stretches.
POINTS_MAX = 500


def spread_of(values: Iterable[float]) -> Spread:
    """Say how values are spread. Percentiles are values that occur, by the nearest rank."""
    ordered = sorted(values)
    if not ordered:
        return Spread(count=0, mean=0.0, median=0.0, p90=0.0, p99=0.0, max=0.0)
    return Spread(
        count=len(ordered),
        mean=sum(ordered) / len(ordered),
        median=_ranked(ordered, 50),
        p90=_ranked(ordered, 90),
        p99=_ranked(ordered, 99),
        max=float(ordered[-1]),
    )


def _ranked(ordered: Sequence[float], percent: int) -> float:
    return float(ordered[max(0, -(-len(ordered) * percent // 100) - 1)])


def jain_index(values: Sequence[float]) -> float:
    """Give Jain's index of fairness: 1 if all are equal, 1/n if one has everything."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


class Course:
    """What some values come to over time, summed in stretches of equal width.

    The width doubles whenever there would be too many of them.
    """

    def __init__(self, columns: int) -> None:
        self.width_ms = 1
        self._columns = columns
        self._sums: list[list[int]] = []

    def add(self, from_ms: int, to_ms: int, values: Sequence[int]) -> None:
        """Note values that held for a time; `from_ms` counts from the beginning of the course."""
        while to_ms > self.width_ms * 2 * POINTS_MAX:
            self._widen()
        while from_ms < to_ms:
            index = from_ms // self.width_ms
            end_ms = min(to_ms, (index + 1) * self.width_ms)
            while len(self._sums) <= index:
                self._sums.append([0] * self._columns)
            sums = self._sums[index]
            for column, value in enumerate(values):
                sums[column] += value * (end_ms - from_ms)
            from_ms = end_ms

    def averages(self, end_ms: int) -> list[tuple[int, list[float]]]:
        """Give the beginning of each stretch and the averages over it; the last ends at `end_ms`.

        What was noted after it is left out. At most POINTS_MAX.
        """
        while -(-end_ms // self.width_ms) > POINTS_MAX:
            self._widen()
        width_ms = self.width_ms
        return [
            (
                index * width_ms,
                [each / (min(end_ms, (index + 1) * width_ms) - index * width_ms) for each in sums],
            )
            for index, sums in enumerate(self._sums)
            if index * width_ms < end_ms
        ]

    def _widen(self) -> None:
        self.width_ms *= 2
        sums = self._sums
        if len(sums) % 2:
            sums.append([0] * self._columns)
        self._sums = [
            [a + b for a, b in zip(sums[index], sums[index + 1], strict=True)]
            for index in range(0, len(sums), 2)
        ]
