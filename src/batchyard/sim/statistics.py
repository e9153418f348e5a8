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
        self._noted_ms = self._end_ms = 0
        #: Of the stretch that the end lies in: what it had come to by then.
        self._sums_at_end = self._none()

    def add(self, from_ms: int, to_ms: int, values: Sequence[int]) -> None:
        """Note values that held for a time; `from_ms` counts from the beginning of the course."""
        while to_ms > self.width_ms * 2 * POINTS_MAX:
            self._widen()
        self._noted_ms = to_ms
        while from_ms < to_ms:
            index = from_ms // self.width_ms
            end_ms = min(to_ms, (index + 1) * self.width_ms)
            while len(self._sums) <= index:
                self._sums.append(self._none())
            sums = self._sums[index]
            for column, value in enumerate(values):
                sums[column] += value * (end_ms - from_ms)
            from_ms = end_ms

    def mark_end(self) -> None:
        """Let it end here, unless it is marked again: what is noted later is left out."""
        self._end_ms = self._noted_ms
        index = self._end_ms // self.width_ms
        self._sums_at_end = list(self._sums[index]) if index < len(self._sums) else self._none()

    def averages(self) -> list[tuple[int, list[float]]]:
        """Give the beginning of each stretch and the averages over it; the last ends at the end.

        At most POINTS_MAX.
        """
        end_ms = self._end_ms
        while -(-end_ms // self.width_ms) > POINTS_MAX:
            self._widen()
        width_ms = self.width_ms
        whole, rest_ms = divmod(end_ms, width_ms)
        points = [
            (index * width_ms, [each / width_ms for each in self._sums[index]])
            for index in range(whole)
        ]
        if rest_ms:
            points.append((whole * width_ms, [each / rest_ms for each in self._sums_at_end]))
        return points

    def _none(self) -> list[int]:
        return [0] * self._columns

    def _widen(self) -> None:
        sums = self._sums
        index = self._end_ms // self.width_ms
        if index % 2:
            before = zip(sums[index - 1], self._sums_at_end, strict=True)
            self._sums_at_end = [a + b for a, b in before]
        self.width_ms *= 2
        if len(sums) % 2:
            sums.append(self._none())
        self._sums = [
            [a + b for a, b in zip(sums[index], sums[index + 1], strict=True)]
            for index in range(0, len(sums), 2)
        ]
