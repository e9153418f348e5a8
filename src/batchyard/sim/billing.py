"""What capacity costs: instances from launch to end, Fargate and training by the attempt.

Decides by AWS's way to bill Linux: by the second, rounded up, at least a minute each. Prices are
those that the environments choose by (`engine.catalogue`), or the configuration's for Fargate.
Refuses to know storage, traffic and anything else that AWS bills.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from batchyard.core import inputs as i
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import UnitQuantity
from batchyard.model.ids import EnvironmentArn, name_in_arn
from batchyard.model.instances import InstanceId
from batchyard.model.records import InstanceRecord
from batchyard.model.status import EnvironmentKind
from batchyard.sim.config import FargatePrices
from batchyard.sim.report import CostLine

_HOUR_MS = 3_600_000
_SECOND_MS = 1000
_LEAST_MS = 60_000
_MICRO = 1_000_000
_MIB_PER_GB = 1024
_FARGATE = "vCPU and GB"


@dataclass(slots=True)
class _Line:
    environment: i.PutEnvironment
    instance_type: str
    price_micro: int | None
    count: int = 0
    ms: int = 0
    #: Of Fargate: times amounts.
    cpu_milli_ms: int = 0
    memory_mib_ms: int = 0


class Billing:
    """The bill of one run."""

    def __init__(self, environments: Iterable[i.PutEnvironment], prices: FargatePrices) -> None:
        self._environments = {each.arn: each for each in environments}
        self._prices = prices
        self._lines: dict[tuple[EnvironmentArn, str], _Line] = {}
        self._live: dict[InstanceId, InstanceRecord] = {}

    def launch(self, record: InstanceRecord) -> None:
        self._live[record.id] = record
        self._line(record.environment_arn, record.instance_type).count += 1

    def capacity_of(self, instance_id: InstanceId) -> Amount:
        """Tell what an instance that is there gives to jobs."""
        return self._live[instance_id].capacity

    def terminate(self, instance_id: InstanceId, now_ms: int) -> None:
        record = self._live.pop(instance_id)
        line = self._line(record.environment_arn, record.instance_type)
        line.ms += _billed_ms(now_ms - record.launched_ms)

    def run_alone(
        self, arn: EnvironmentArn, demand: Amount, use: Iterable[UnitQuantity], ms: int
    ) -> None:
        """Bill an attempt that is over: on Fargate, or on instances of its own, as training is."""
        billed_ms = _billed_ms(ms)
        if self._environments[arn].kind.is_service:
            for each in use:
                line = self._line(arn, each.unit)
                line.count += each.quantity
                line.ms += billed_ms * each.quantity
            return
        line = self._line(arn, _FARGATE)
        line.count += 1
        line.cpu_milli_ms += billed_ms * demand.cpu_milli
        line.memory_mib_ms += billed_ms * demand.memory_mib

    def lines(self, now_ms: int) -> tuple[CostLine, ...]:
        """Give the bill, by environment and type; what is still there is billed until now."""
        for instance_id in list(self._live):
            self.terminate(instance_id, now_ms)
        return tuple(self._shown(line) for _, line in sorted(self._lines.items()))

    def _line(self, arn: EnvironmentArn, instance_type: str) -> _Line:
        line = self._lines.get((arn, instance_type))
        if line is None:
            environment = self._environments[arn]
            types = () if environment.launching is None else environment.launching.types
            price = next((each.price_micro for each in types if each.name == instance_type), None)
            line = self._lines[arn, instance_type] = _Line(environment, instance_type, price)
        return line

    def _shown(self, line: _Line) -> CostLine:
        kind = line.environment.kind
        if kind.is_fargate:
            hours = line.cpu_milli_ms / 1000 / _HOUR_MS
            gb_hours = line.memory_mib_ms / _MIB_PER_GB / _HOUR_MS
            usd = hours * self._prices.vcpu_micro + gb_hours * self._prices.gb_micro
            if kind is EnvironmentKind.FARGATE_SPOT:
                usd *= self._prices.spot_percent / 100
            cost: float | None = usd / _MICRO
        else:
            hours = line.ms / _HOUR_MS
            cost = None if line.price_micro is None else hours * line.price_micro / _MICRO
        return CostLine(
            compute_environment=name_in_arn(line.environment.arn),
            purchase=_purchase_of(line.environment),
            instance_type=line.instance_type,
            count=line.count,
            hours=hours,
            usd=cost,
        )


def _billed_ms(ms: int) -> int:
    return max(_LEAST_MS, -(-ms // _SECOND_MS) * _SECOND_MS)


def _purchase_of(environment: i.PutEnvironment) -> str:
    """Tell how it is paid: managed instances may be either."""
    if environment.kind is EnvironmentKind.MANAGED_INSTANCES:
        assert environment.launching is not None, environment.arn
        return f"{environment.kind} ({'SPOT' if environment.launching.is_spot else 'ON_DEMAND'})"
    return environment.kind.value
