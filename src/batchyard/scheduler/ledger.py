"""What is still free while a round gives capacity away.

Owns the books of one round: room on hosts and on instances, what environments may still launch.
Refuses to know queues and their order. Everything here is thrown away with the round; what comes of
it is the plan.

Rules:
- A job goes to the fullest ready instance that it fits, the smallest id first among equals: packing
  leaves others to become idle.
- A launch never takes more than a host has, nor an environment beyond `maxvCpus`, but for one last
  instance where the strategy allows it.
- Where no host has room, instances that are idle and not kept by `minvCpus` are given up, the
  longest idle first, before the launch is refused.
- Where more is launched than `maxvCpus` allows, because it was lowered, jobs may use `maxvCpus`,
  and not what the instances would have room for.
- An instance that is still starting counts as capacity on its way: whoever fits it waits for it,
  and nothing more is launched for him.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import added, are_within
from batchyard.model.ids import EnvironmentArn, HostId
from batchyard.model.instances import InstanceId, InstanceType, instance_id_of
from batchyard.scheduler.allocation import DepthOf, TypeOrder, may_exceed_max
from batchyard.scheduler.plan import Launch, Slot
from batchyard.scheduler.rooms import Rooms
from batchyard.scheduler.view import EnvironmentView, IdleInstance, LaunchTerms, View, WaitingJob


@dataclass(frozen=True, slots=True)
class Taken:
    """Slots that a job has got, or will have once instances have started."""

    slots: tuple[Slot, ...]
    is_coming: bool


@dataclass(frozen=True, slots=True)
class _Held:
    """One slot that was taken, and out of what: None is a host."""

    slot: Slot
    demand: Amount
    rooms: Rooms | None = None


@dataclass(slots=True)
class _Budget:
    """What an environment has left, within this round."""

    view: EnvironmentView
    cpu_milli_used: int
    cpu_milli_launched: int
    launch_count: int
    ready: Rooms
    starting: Rooms
    #: Of a service environment, by type.
    instances_used: Mapping[str, int]


class Ledger:
    """The books of one round."""

    def __init__(self, view: View) -> None:
        self.launches: list[Launch] = []
        self.terminations: list[InstanceId] = []
        self._view = view
        self._host_by_launched: dict[InstanceId, HostId] = {}
        self._budgets: dict[EnvironmentArn, _Budget] = {}
        #: How often room came to be where there was none: whoever found none before may now.
        self.growth_count = 0
        #: Read once somebody needs room; those that were given up are taken out.
        self._idle: dict[InstanceId, IdleInstance] | None = None

    @cached_property
    def _free_by_host(self) -> dict[HostId, Amount]:
        """What hosts have left; made once somebody asks: most rounds only fill instances."""
        return {host.host_id: host.capacity - host.used for host in self._view.hosts}

    @cached_property
    def _view_by_arn(self) -> dict[EnvironmentArn, EnvironmentView]:
        return {each.arn: each for each in self._view.environments}

    # -- placing ------------------------------------------------------------------------------

    def take(
        self, environment: EnvironmentView, job: WaitingJob, *, may_launch: bool = True
    ) -> Taken | None:
        """Reserve a slot for each demand of a job, or for none: None then. May launch instances.

        Where an instance must start first, the slots are held, and the answer says so.
        """
        demands = job.demands
        if environment.launching is not None and _is_above_max(environment, demands):
            return None
        budget = self._budget_of(environment)
        if not _may_use(budget, job) or _would_exceed_lowered_max(budget, demands):
            return None
        held: list[_Held] = []
        for demand in demands:
            one = self._take_one(budget, demand, may_launch=may_launch)
            if one is None:
                for each in held:
                    self._give_back(budget, each)
                return None
            held.append(one)
        if job.instances:
            budget.instances_used = added(budget.instances_used, job.instances)
        is_coming = any(each.rooms is budget.starting for each in held)
        return Taken(slots=tuple(each.slot for each in held), is_coming=is_coming)

    def lacks_only_room(self, environment: EnvironmentView, job: WaitingJob) -> bool:
        """Tell whether a service environment would let a job start if a machine had room for it."""
        return environment.limits is not None and _may_use(self._budget_of(environment), job)

    def could_launch(self, environment: EnvironmentView, demand: Amount) -> InstanceType | None:
        """Give the type that would be launched if there were room, or if it were cheaper."""
        terms = environment.launching
        if terms is None:
            return None
        budget = self._budget_of(environment)
        if _is_full(budget):
            return None
        order = terms.order
        kinds = chain(order.choices(demand, self._depths_of(order, demand)), order.too_dear(demand))
        return next((kind for kind in kinds if self._is_within_max(budget, kind)), None)

    def _take_one(self, budget: _Budget, demand: Amount, *, may_launch: bool) -> _Held | None:
        if not budget.view.has_instances:
            return self._take_slice(budget, demand) if may_launch else None
        for _ in range(2):
            for rooms in (budget.ready, budget.starting):
                instance_id = rooms.take(demand)
                if instance_id is not None:
                    budget.cpu_milli_used += demand.cpu_milli
                    slot = Slot(host_id=self._host_of(instance_id), instance_id=instance_id)
                    return _Held(slot=slot, demand=demand, rooms=rooms)
            if not may_launch or not self._launch_for(budget, demand):
                return None
        return None

    def _take_slice(self, budget: _Budget, demand: Amount) -> _Held | None:
        """Give a slice of a host to the job alone, within `maxvCpus`."""
        is_bounded = budget.view.limits is None
        if is_bounded and budget.cpu_milli_used + demand.cpu_milli > budget.view.cpu_milli_max:
            return None
        host_id = self._host_with_room(demand)
        if host_id is None:
            return None
        self._free_by_host[host_id] -= demand
        budget.cpu_milli_used += demand.cpu_milli
        return _Held(slot=Slot(host_id=host_id), demand=demand)

    def _give_back(self, budget: _Budget, held: _Held) -> None:
        budget.cpu_milli_used -= held.demand.cpu_milli
        slot = held.slot
        if held.rooms is None or slot.instance_id is None:
            self._free_by_host[slot.host_id] += held.demand
        else:
            held.rooms.give_back(slot.instance_id, held.demand)

    def _host_of(self, instance_id: InstanceId) -> HostId:
        launched_on = self._host_by_launched.get(instance_id)
        return self._view.host_by_instance[instance_id] if launched_on is None else launched_on

    # -- looking ahead ------------------------------------------------------------------------

    def copy(self) -> "Ledger":
        """Give books of their own, as they stand, to somebody who looks ahead."""
        copied = Ledger(self._view)
        copied._free_by_host.update(self._free_by_host)
        copied._host_by_launched.update(self._host_by_launched)
        copied._idle = None if self._idle is None else dict(self._idle)
        for arn, budget in self._budgets.items():
            ready, starting = budget.ready.copy(), budget.starting.copy()
            copied._budgets[arn] = replace(budget, ready=ready, starting=starting)
        return copied

    def release(self, environment: EnvironmentView, slot: Slot, amount: Amount) -> None:
        """Count room as free again that a job holds, or held before `take`."""
        self.growth_count += 1
        budget = self._budget_of(environment)
        budget.cpu_milli_used -= amount.cpu_milli
        if slot.instance_id is None:
            self._free_by_host[slot.host_id] += amount
        else:
            is_coming = budget.starting.is_touched(slot.instance_id)
            rooms = budget.starting if is_coming else budget.ready
            rooms.change(slot.instance_id, self._view.free_of, amount)

    def give_back_instances(
        self, environment: EnvironmentView, instances: Mapping[str, int], *, sign: int = 1
    ) -> None:
        """Count instances of a service environment as free again, or with sign -1 as used."""
        if instances:
            self.growth_count += 1
            budget = self._budget_of(environment)
            less = {unit: -sign * count for unit, count in instances.items()}
            budget.instances_used = added(budget.instances_used, less)

    def occupy(self, environment: EnvironmentView, slot: Slot, amount: Amount) -> None:
        """Undo `release`. Room that is not free yet becomes less than none: nobody else has it."""
        self.release(environment, slot, Amount() - amount)

    # -- launching ----------------------------------------------------------------------------

    def keep_least(self, environment: EnvironmentView) -> None:
        """Launch what `minvCpus` or a caller asks for beyond what is there."""
        terms = environment.launching
        if terms is None or not environment.is_valid:
            return
        if environment.arn not in self._budgets and not _lacks_least(terms):
            return
        budget = self._budget_of(environment)
        while budget.cpu_milli_launched < terms.cpu_milli_wanted:
            if not self._launch_for(budget, Amount()):
                return

    def _launch_for(self, budget: _Budget, demand: Amount) -> bool:
        """Launch an instance that the demand fits, if one may be launched and there is room."""
        terms = budget.view.launching
        if terms is None or _is_full(budget):
            return False
        order = terms.order
        if not any(self._may_have_room(each) for each in order.least(demand)):
            return False
        for kind in order.choices(demand, self._depths_of(order, demand)):
            if self._is_within_max(budget, kind):
                host_id = self._host_with_room(kind.capacity)
                if host_id is not None:
                    self._launch(budget, kind, host_id)
                    return True
        return False

    def _launch(self, budget: _Budget, kind: InstanceType, host_id: HostId) -> None:
        terms = budget.view.launching
        assert terms is not None
        budget.launch_count += 1
        budget.cpu_milli_launched += kind.capacity.cpu_milli
        self._free_by_host[host_id] -= kind.capacity
        instance_id = instance_id_of(terms.environment_uuid, budget.launch_count)
        self._host_by_launched[instance_id] = host_id
        self.launches.append(
            Launch(
                instance_id=instance_id,
                environment_arn=budget.view.arn,
                instance_type=kind,
                host_id=host_id,
            )
        )
        rooms = budget.starting if terms.boot_ms else budget.ready
        rooms.add(instance_id, kind.capacity)
        self.growth_count += 1

    def _is_within_max(self, budget: _Budget, kind: InstanceType) -> bool:
        terms = budget.view.launching
        assert terms is not None
        most = budget.view.cpu_milli_max
        if may_exceed_max(terms.strategy, is_spot=terms.is_spot):
            return budget.cpu_milli_launched < most
        return budget.cpu_milli_launched + kind.capacity.cpu_milli <= most

    def _depths_of(self, order: TypeOrder, demand: Amount) -> DepthOf:
        """Tell how to count the instances of a type for a demand that the hosts have room for.

        A host with no room for the least of the types has none for any of them.
        """
        least = order.least(demand)
        roomy = [
            free
            for free in self._free_by_host.values()
            if any(each.times_in(free) for each in least)
        ]
        return lambda kind: sum(kind.capacity.times_in(free) for free in roomy)

    def _may_have_room(self, amount: Amount) -> bool:
        """Tell whether a host has room, or would have it without idle instances."""
        for free in self._free_by_host.values():
            if amount.fits_in(free):
                return True
        return self._room_with_less(amount) is not None

    def _host_with_room(self, amount: Amount) -> HostId | None:
        """Find a host with room; give up idle instances for it if there is none."""
        for host_id, free in self._free_by_host.items():
            if amount.fits_in(free):
                return host_id
        found = self._room_with_less(amount)
        if found is None:
            return None
        host_id, gone = found
        for idle in gone:
            self._give_up(idle)
        return host_id

    def _room_with_less(self, amount: Amount) -> tuple[HostId, list[IdleInstance]] | None:
        """Find a host that has room without some of its idle instances: the longest idle ones."""
        if self._idle is None:
            self._idle = {each.instance_id: each for each in self._view.idle_instances}
        if not self._idle:
            return None
        for host in self._view.hosts:
            if not amount.fits_in(host.capacity):
                continue
            free = self._free_by_host[host.host_id]
            gone: list[IdleInstance] = []
            for idle in self._idle.values():
                if amount.fits_in(free):
                    break
                if idle.host_id == host.host_id and self._may_give_up(idle, gone):
                    gone.append(idle)
                    free += idle.capacity
            if amount.fits_in(free):
                return host.host_id, gone
        return None

    def _may_give_up(self, idle: IdleInstance, gone: Sequence[IdleInstance]) -> bool:
        """Tell whether nobody has taken it in this round, and `minvCpus` does not keep it."""
        budget = self._budget_of(self._view_by_arn[idle.environment_arn])
        if budget.ready.is_touched(idle.instance_id):
            return False
        terms = budget.view.launching
        least = 0 if terms is None else terms.cpu_milli_min
        going = [each for each in gone if each.environment_arn == idle.environment_arn]
        left = budget.cpu_milli_launched - sum(each.capacity.cpu_milli for each in (*going, idle))
        return left >= least

    def _give_up(self, idle: IdleInstance) -> None:
        assert self._idle is not None
        del self._idle[idle.instance_id]
        budget = self._budget_of(self._view_by_arn[idle.environment_arn])
        budget.ready.drop(idle.instance_id)
        budget.cpu_milli_launched -= idle.capacity.cpu_milli
        self._free_by_host[idle.host_id] += idle.capacity
        self.terminations.append(idle.instance_id)

    def _budget_of(self, view: EnvironmentView) -> _Budget:
        budget = self._budgets.get(view.arn)
        if budget is None:
            terms = view.launching
            budget = self._budgets[view.arn] = _Budget(
                view=view,
                cpu_milli_used=view.cpu_milli_used,
                cpu_milli_launched=0 if terms is None else terms.cpu_milli_launched,
                launch_count=0 if terms is None else terms.launch_count,
                ready=Rooms(view.ready),
                starting=Rooms(view.starting),
                instances_used=view.instances_used,
            )
        return budget


def _is_above_max(environment: EnvironmentView, demands: Sequence[Amount]) -> bool:
    """Tell whether a job asks for more than `maxvCpus`, which only an instance may exceed."""
    return sum(each.cpu_milli for each in demands) > environment.cpu_milli_max


def _would_exceed_lowered_max(budget: _Budget, demands: Sequence[Amount]) -> bool:
    """Tell whether a job would use more than `maxvCpus` where the instances are more than that."""
    terms = budget.view.launching
    if terms is None or not terms.is_above_max:
        return False
    asked = sum(each.cpu_milli for each in demands)
    return budget.cpu_milli_used + asked > budget.view.cpu_milli_max


def _may_use(budget: _Budget, job: WaitingJob) -> bool:
    """Tell whether an environment is of the job's kind, and its limits allow the job now."""
    limits = budget.view.limits
    if limits is None:
        return not job.instances
    return bool(job.instances) and are_within(added(budget.instances_used, job.instances), limits)


def _lacks_least(terms: LaunchTerms) -> bool:
    """Tell whether an environment that nobody touched in this round has less than it keeps."""
    return terms.cpu_milli_launched < terms.cpu_milli_wanted


def _is_full(budget: _Budget) -> bool:
    """Tell whether `maxvCpus` is reached: no type may be launched then, however small."""
    return budget.cpu_milli_launched >= budget.view.cpu_milli_max
