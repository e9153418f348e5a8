"""How alike the run times of jobs are that have something in common: learnt from the past.

Decides what the past says of how jobs go together, and what it says of those to come. Refuses to
know times: it sees normal scores, which are spread like N(0, 1) over the whole past of a kind.

The model: score = level of the group + what the batch has in common + what is the job's own. A
group is of one owner, say; its level moves slowly, a batch is new each time. With `level` and
`batch` for the first two variances the third is 1 - level - batch; from one batch of a group to the
next its level keeps the part `memory` of itself (an autoregressive process, which goes back to the
middle of all). So users whose jobs are alike, definitions nobody has seen before, and run times
that grow are the same thing here.

What the past says about these three numbers is a weight for each point of a grid, by how likely it
makes the past; each run into the future draws a point, so what is not known makes intervals wider.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log

#: Ours: coarse, for the past says little more.
_LEVELS = (0.0, 0.15, 0.35, 0.6, 0.85)
_BATCHES = (0.0, 0.1, 0.3, 0.6, 0.85)
_MEMORIES = (1.0, 0.95, 0.75)
#: Ours: what all jobs of a batch have in common is never all.
_COMMON_MAX = 0.95
#: Ours: before anything is known, less in common is likelier.
_DOUBT = 2.0
#: Ours: the latest batches say enough, and a look at more takes long.
_BATCHES_MAX = 120


@dataclass(frozen=True, slots=True)
class Likeness:
    """Parts of the variance of scores."""

    level: float
    batch: float
    memory: float

    @property
    def own(self) -> float:
        return 1 - self.level - self.batch

    @property
    def fresh(self) -> float:
        """What is new with each batch: its own part, and the move of its group's level."""
        return self.batch + self.level * (1 - self.memory**2)


@dataclass(frozen=True, slots=True)
class Batch:
    """Scores of jobs that came in together, summed up."""

    group: str
    #: How many they are; what has not ended counts for a part.
    count: float
    mean: float
    #: Squares of what lies between them and their mean, summed up.
    within: float = 0.0


NONE = Likeness(0.0, 0.0, 1.0)

_GRID = tuple(
    Likeness(level, batch, memory)
    for level in _LEVELS
    for batch in _BATCHES
    for memory in (_MEMORIES if level else (1.0,))
    if level + batch <= _COMMON_MAX
)


def batch_of(group: str, scores: Sequence[tuple[float, float]]) -> Batch:
    """Sum up scores, each with what it counts for; these are not all 0."""
    count = sum(weight for _, weight in scores)
    mean = sum(score * weight for score, weight in scores) / count
    within = sum(weight * (score - mean) ** 2 for score, weight in scores)
    return Batch(group, count, mean, within)


def weighed(batches: Sequence[Batch]) -> tuple[float, list[tuple[Likeness, float]]]:
    """Weigh how alike jobs may be by batches of the past, the oldest first.

    Gives how likely all of it makes that past, as a logarithm, and weights that sum to 1.
    """
    latest = batches[-_BATCHES_MAX:]
    logs = [_log_weight(each, latest) for each in _GRID]
    most = max(logs)
    weights = [exp(each - most) for each in logs]
    whole = sum(weights)
    shares = [(each, weight / whole) for each, weight in zip(_GRID, weights, strict=True)]
    return most + log(whole), shares


def drawn(weights: Iterable[tuple[Likeness, float]], chance: float) -> Likeness:
    """Draw one by a chance from 0 to 1."""
    found = NONE
    for each, weight in weights:
        found = each
        chance -= weight
        if chance <= 0:
            break
    return found


def level_of(likeness: Likeness, batches: Iterable[Batch]) -> tuple[float, float]:
    """Tell the level to expect of a group after its batches, the oldest first, and its variance.

    What the next batch moves it by is not in the variance: that is new for each (`fresh`).
    """
    mean, variance = 0.0, likeness.level
    for each in batches:
        mean, variance = _moved(likeness, mean, variance)
        noise = likeness.batch + likeness.own / each.count
        gain = variance / (variance + noise) if variance else 0.0
        mean += gain * (each.mean - mean)
        variance *= 1 - gain
    return likeness.memory * mean, likeness.memory**2 * variance


def common_of(likeness: Likeness, level: float, batch: Batch | None) -> tuple[float, float]:
    """Tell what to expect that a batch has in common, and its variance, given its group's level.

    `batch` is what is known of it; None: nothing is.
    """
    fresh = likeness.fresh
    if batch is None or not fresh:
        return level, fresh
    precision = 1 / fresh + batch.count / likeness.own
    return level + (batch.mean - level) * batch.count / likeness.own / precision, 1 / precision


def _moved(likeness: Likeness, mean: float, variance: float) -> tuple[float, float]:
    kept = likeness.memory
    return kept * mean, kept**2 * variance + (1 - kept**2) * likeness.level


def _log_weight(likeness: Likeness, batches: Sequence[Batch]) -> float:
    """Tell how likely batches are, each given those before it."""
    found = -_DOUBT * (likeness.level + likeness.batch)
    own, common = likeness.own, likeness.batch
    log_own = log(own)
    levels: dict[str, tuple[float, float]] = {}
    for each in batches:
        mean, variance = levels.get(each.group) or (0.0, likeness.level)
        mean, variance = _moved(likeness, mean, variance)
        noise = common + own / each.count
        spread = variance + noise
        off = each.mean - mean
        found -= (log(spread) + off * off / spread) / 2
        found -= ((each.count - 1) * log_own + each.within / own) / 2
        levels[each.group] = (mean + variance / spread * off, variance * noise / spread)
    return found
