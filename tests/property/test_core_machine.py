"""The core under random histories.

Goal: whatever callers, backends and time do, with jobs of every kind and with crashes at any step,
every invariant of `core.check` holds after every step; the events alone give the state again, and
so do the records; no job runs beside itself or before its dependencies, or takes of a consumable
resource what is not there; no head of a queue is given up before its time; and once the outside
behaves, every accepted job ends. Method: a hypothesis state machine draws job graphs, commands,
plans and reports, in any order, repeated or late.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchyard.core import inputs as i
from batchyard.core.check import check
from batchyard.model.capacity_use import NUM_INSTANCES
from batchyard.model.ids import HostId, JobId, child_id, node_id
from batchyard.model.instances import AllocationStrategy
from batchyard.model.records import NodeGroup, NodePlan
from batchyard.model.status import JobStatus
from tests.builders import (
    a_consumable,
    a_host,
    a_job,
    a_launching_environment,
    a_policy,
    a_queue,
    a_quota_share,
    a_registration,
    a_service_environment,
    a_service_job,
    an_amount,
    an_environment,
    an_unmanaged_environment,
    consumable_arn,
    environment_arn,
    job_id,
    needs,
    policy_arn,
    queue_arn,
    service_environment_arn,
)
from tests.property.world import World, essence_of, essence_of_quota, essence_of_shares

QUEUES = ("low", "high", "fair", "instances", "quota")
SERVICE_QUEUES = ("training", "fairtraining")
INSTANCE_TYPES = ("ml.one", "ml.other")
QUOTA_SHARES = ("a", "b", "teamA")
SHARES = ("a", "b", "teamA", "teamB")
EXIT_CODES = st.sampled_from([0, 0, 0, 1, 137, None])
OTHER_HOST = HostId("other")
#: Which of them can be used again.
CONSUMABLES = {"license": True, "seat": True, "credit": False}
TIME_LIMITS = {
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE": 60_000,
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT": 100_000,
    "MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE": 80_000,
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY": 120_000,
}
NEEDS = st.dictionaries(st.sampled_from(sorted(CONSUMABLES)), st.integers(1, 2), max_size=2)


class CoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.submitted = 0
        #: The arrays so far, by size.
        self.arrays: dict[int, list[JobId]] = {}

    @initialize()
    def begin(self) -> None:
        self.world.feed(a_host())
        self.world.feed(a_host(host_id=OTHER_HOST, cpu_milli=2000))
        for name in ("ce", "other"):
            self.world.feed(an_environment(name))
        self.world.feed(a_queue("low", seq=1, priority=1, environments=("ce",)))
        self.world.feed(a_launching_environment("ec2", vcpus=3))
        self.world.feed(
            a_queue(
                "high",
                seq=2,
                priority=9,
                environments=("other", "ce"),
                time_limits=TIME_LIMITS,
            )
        )
        fair = a_queue("fair", seq=3, priority=1, environments=("ce",), policy=a_policy(b=2))
        self.world.feed(fair)
        self.world.feed(an_environment("shared", vcpus=6))
        quota = a_queue("quota", seq=5, environments=("shared",), has_quota_shares=True)
        self.world.feed(quota)
        for name in QUOTA_SHARES:
            borrows = {"teamA": None}.get(name, -1)
            self.world.feed(a_quota_share(name, queue="quota", borrows=borrows, VCPU=2))
        self.world.feed(a_service_environment("se", limits={"ml.one": 2, "ml.other": 1}))
        self.world.feed(
            a_queue("training", seq=6, service_environments=("se",), time_limits=TIME_LIMITS)
        )
        self.world.feed(
            a_queue("fairtraining", seq=7, service_environments=("se",), policy=a_policy(b=2))
        )
        self.world.feed(an_unmanaged_environment("own"))
        self.world.feed(a_queue("instances", seq=4, priority=5, environments=("ec2", "own", "ce")))

    @rule(data=st.data(), attempts=st.integers(1, 3), cpu=st.sampled_from([250, 1000, 3000, 9000]))
    def submit(self, data, attempts, cpu) -> None:
        self.submit_some(data, attempts=attempts, cpu_milli=cpu)

    @rule(
        data=st.data(),
        attempts=st.integers(1, 2),
        size=st.sampled_from([2, 3, 4]),
        is_sequential=st.booleans(),
    )
    def submit_array(self, data, attempts, size, is_sequential) -> None:
        partners = self.arrays.setdefault(size, [])
        each = data.draw(st.lists(st.sampled_from(partners), max_size=2)) if partners else []
        array_id = self.submit_some(
            data,
            attempts=attempts,
            cpu_milli=data.draw(st.sampled_from([250, 1000])),
            array_size=size,
            depends_on_each=tuple(each),
            is_sequential=is_sequential,
        )
        partners.append(array_id)

    @rule(data=st.data(), attempts=st.integers(1, 3), count=st.integers(1, 4))
    def submit_multi_node(self, data, attempts, count) -> None:
        main_index = data.draw(st.integers(0, count - 1))
        cpu = data.draw(st.sampled_from([250, 1000, 1500]))
        groups = [NodeGroup(count=1, demand=an_amount(cpu_milli=250))]
        if count > 1:
            groups.append(NodeGroup(count=count - 1, demand=an_amount(cpu_milli=cpu)))
        plan = NodePlan(main_index=main_index, groups=tuple(groups))
        in_all = sum(each.cpu_milli for each in plan.demands())
        memory = sum(each.memory_mib for each in plan.demands())
        self.submit_some(data, attempts=attempts, nodes=plan, cpu_milli=in_all, memory_mib=memory)

    def submit_some(self, data, **job) -> JobId:
        number = self.submitted + 1
        after = []
        if number > 1:
            after = data.draw(st.lists(self.some_dependency(), max_size=3))
        self.submitted = number
        needed = data.draw(st.just({}) | NEEDS)
        command = a_job(
            number,
            queue=data.draw(st.sampled_from(QUEUES)),
            share_identifier=data.draw(st.sampled_from(SHARES)),
            scheduling_priority=data.draw(st.sampled_from([0, 7])),
            preemption_retries_max=data.draw(st.sampled_from([None, None, 0, 1])),
            timeout_ms=data.draw(st.sampled_from([None, 60_000])),
            after=tuple(after),
            needs=needs(**needed),
            **job,
        )
        self.world.submit(command.job)
        return command.job.id

    @rule(data=st.data(), attempts=st.integers(1, 2), count=st.sampled_from([1, 1, 2, 3]))
    def submit_service_job(self, data, attempts, count) -> None:
        self.submitted += 1
        command = a_service_job(
            self.submitted,
            queue=data.draw(st.sampled_from(SERVICE_QUEUES)),
            kind=data.draw(st.sampled_from(INSTANCE_TYPES)),
            count=count,
            attempts=attempts,
            share_identifier=data.draw(st.sampled_from(SHARES)),
            scheduling_priority=data.draw(st.sampled_from([0, 7])),
            timeout_ms=data.draw(st.sampled_from([60_000, 90_000])),
        )
        self.world.submit(command.job)

    @rule(data=st.data(), priority=st.integers(0, 9))
    @precondition(lambda self: self.submitted)
    def prioritize(self, data, priority) -> None:
        self.world.prioritize(job_id(data.draw(st.integers(1, self.submitted))), priority)

    @rule(data=st.data())
    @precondition(lambda self: self.world.live_tasks)
    def report_taken(self, data) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.world.live_tasks)))
        self.world.feed(i.TaskTaken(task_id=task_id))

    @rule(
        limits=st.sampled_from(
            [{NUM_INSTANCES: 3}, {NUM_INSTANCES: 1}, {"ml.one": 1}, {"ml.one": 3, "ml.other": 2}]
        ),
        is_enabled=st.booleans(),
    )
    def change_service_environment(self, limits, is_enabled) -> None:
        if service_environment_arn("se") in self.world.state.environments:
            self.world.feed(a_service_environment("se", is_enabled=is_enabled, limits=limits))

    def some_dependency(self) -> st.SearchStrategy[JobId]:
        whole = st.integers(1, self.submitted).map(job_id)
        children = [
            child_id(array_id, index)
            for size, arrays in self.arrays.items()
            for array_id in arrays
            for index in range(size)
        ]
        return whole | st.sampled_from(children) if children else whole

    @rule()
    def plan(self) -> None:
        self.world.plan()

    @rule(data=st.data())
    @precondition(lambda self: self.world.live_tasks)
    def report_start(self, data) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.world.live_tasks)))
        self.world.feed(i.TaskStarted(task_id=task_id, at_ms=self.world.now_ms, address="10.0.0.1"))

    @rule(
        data=st.data(),
        exit_code=EXIT_CODES,
        is_lost=st.booleans(),
        late_ms=st.sampled_from([0, 0, 0, 10]),
    )
    @precondition(lambda self: self.world.started_tasks)
    def report_end(self, data, exit_code, is_lost, late_ms) -> None:
        task_id = data.draw(st.sampled_from(self.world.started_tasks))
        self.world.live_tasks.pop(task_id, None)
        self.world.feed(
            i.TaskEnded(
                task_id=task_id,
                at_ms=self.world.now_ms - late_ms,
                exit_code=exit_code,
                reason=None,
                is_lost=is_lost and exit_code is None,
            )
        )

    @rule(data=st.data(), is_cancel=st.booleans())
    @precondition(lambda self: self.submitted)
    def wish(self, data, is_cancel) -> None:
        target = data.draw(self.some_dependency() | st.integers(1, 2).map(self.some_node))
        command = i.CancelJob if is_cancel else i.TerminateJob
        self.world.feed(command(job_id=target, reason="because"))

    def some_node(self, number: int) -> JobId:
        return node_id(job_id(number), 0)

    @rule(seconds=st.integers(1, 90))
    def pass_time(self, seconds) -> None:
        self.world.now_ms += seconds * 1000
        self.world.feed(i.Tick())

    @rule(vcpus=st.integers(0, 6), is_enabled=st.booleans(), name=st.sampled_from(["ce", "other"]))
    def change_environment(self, vcpus, is_enabled, name) -> None:
        if environment_arn(name) in self.world.state.environments:
            self.world.feed(an_environment(name, vcpus=vcpus, is_enabled=is_enabled))

    @rule(name=st.sampled_from(sorted(CONSUMABLES)), total=st.integers(0, 4))
    def put_consumable(self, name, total) -> None:
        self.world.feed(a_consumable(name, total, is_replenishable=CONSUMABLES[name]))

    @rule(name=st.sampled_from(sorted(CONSUMABLES)))
    def delete_consumable(self, name) -> None:
        self.world.feed(i.DeleteConsumable(arn=consumable_arn(name), version=1))

    @rule(
        reservation=st.sampled_from([0, 0, 50]),
        weight=st.sampled_from([0.5, 1, 3]),
        of_team=st.sampled_from([0.25, 1]),
    )
    def change_policy(self, reservation, weight, of_team) -> None:
        policy = a_policy(reservation=reservation, b=weight, team_=of_team)
        self.world.feed(i.PutPolicy(arn=policy_arn(), revision=2, policy=policy))

    @rule(
        name=st.sampled_from(QUOTA_SHARES),
        vcpus=st.integers(0, 4),
        sharing=st.sampled_from([(False, None), (True, None), (True, -1), (True, 50)]),
        preempts_within=st.booleans(),
    )
    def put_quota_share(self, name, vcpus, sharing, preempts_within) -> None:
        """Shares come and change; not while they go, which the API refuses."""
        queue = self.world.state.queues.get(queue_arn("quota"))
        share = None if queue is None else (queue.quota_shares or {}).get(name)
        if queue is not None and (share is None or not share.is_draining):
            lends, borrows = sharing
            self.world.feed(
                a_quota_share(
                    name,
                    queue="quota",
                    lends=lends,
                    borrows=borrows,
                    preempts_within=preempts_within,
                    VCPU=vcpus,
                )
            )

    @rule(name=st.sampled_from(QUOTA_SHARES))
    @precondition(lambda self: self.submitted > 6)
    def delete_quota_share(self, name) -> None:
        self.world.feed(i.DeleteQuotaShare(queue_arn=queue_arn("quota"), name=name))

    @rule(
        vcpus=st.integers(0, 5),
        vcpus_min=st.integers(0, 2),
        settings=st.fixed_dictionaries(
            {
                "boot_ms": st.sampled_from([0, 0, 30_000]),
                "strategy": st.sampled_from(list(AllocationStrategy)),
                "infrastructure": st.sampled_from(["", "", "", "other"]),
                "is_enabled": st.booleans(),
            }
        ),
    )
    def change_launching(self, vcpus, vcpus_min, settings) -> None:
        if environment_arn("ec2") in self.world.state.environments:
            vcpus_min = min(vcpus, vcpus_min)
            self.world.feed(
                a_launching_environment("ec2", vcpus=vcpus, vcpus_min=vcpus_min, **settings)
            )

    @rule(data=st.data(), notice_ms=st.sampled_from([0, 0, 120_000]))
    @precondition(lambda self: self.world.state.instances)
    def interrupt(self, data, notice_ms) -> None:
        instance_id = data.draw(st.sampled_from(sorted(self.world.state.instances)))
        self.world.feed(
            i.InterruptInstance(instance_id=instance_id, notice_ms=notice_ms, is_forced=True)
        )

    @rule(count=st.integers(1, 3), cpu=st.sampled_from([500, 1000]))
    def register(self, count, cpu) -> None:
        self.world.feed(a_registration("own", count=count, cpu_milli=cpu))

    @rule(data=st.data(), is_forced=st.booleans())
    @precondition(lambda self: self.world.state.instances)
    def deregister(self, data, is_forced) -> None:
        instance_id = data.draw(st.sampled_from(sorted(self.world.state.instances)))
        self.world.feed(
            i.DeregisterInstance(wish_seq=1, instance_id=instance_id, is_forced=is_forced)
        )

    @rule(name=st.sampled_from(QUEUES + SERVICE_QUEUES))
    @precondition(lambda self: self.submitted > 12)
    def delete_queue(self, name) -> None:
        if queue_arn(name) in self.world.state.queues:
            self.world.feed(i.DeleteQueue(arn=queue_arn(name)))

    @rule()
    def crash(self) -> None:
        """A restart owes the backend nothing that it knows, and loses nothing it does not."""
        self.world.crash()

    @invariant()
    def holds(self) -> None:
        check(self.world.state)

    def teardown(self) -> None:
        if not self.world.resources:
            return
        again = self.world.replay()
        check(again)
        state = self.world.state
        assert again.consumables == state.consumables
        assert sorted(again.jobs) == sorted(state.jobs)
        for each, job in again.jobs.items():
            assert essence_of(job) == essence_of(state.jobs[each]), "events do not give it again"
        for arn, queue in again.queues.items():
            assert essence_of_shares(queue) == essence_of_shares(state.queues[arn])
            assert essence_of_quota(queue) == essence_of_quota(state.queues[arn])
        self.finish_everything()

    def finish_everything(self) -> None:
        """With room for all and a backend that behaves, every job ends."""
        world = self.world
        world.feed(a_host(cpu_milli=20_000, memory_mib=65_536))
        for name in ("ce", "other"):
            if environment_arn(name) in world.state.environments:
                world.feed(an_environment(name, vcpus=100))
        if service_environment_arn("se") in world.state.environments:
            world.feed(a_service_environment("se", limits={NUM_INSTANCES: 100}))
        self.widen_quota_shares()
        for name, is_replenishable in CONSUMABLES.items():
            world.feed(a_consumable(name, 10_000, is_replenishable=is_replenishable))
        world.feed(i.PutPolicy(arn=policy_arn(), revision=3, policy=a_policy()))
        if environment_arn("ec2") in world.state.environments:
            world.feed(a_launching_environment("ec2", vcpus=100, boot_ms=1000))
        for _ in range(20 * self.submitted + 10):
            if not world.state.jobs:
                break
            world.plan()
            world.now_ms += 1000
            world.feed(i.Tick())
            for task_id in list(world.live_tasks):
                del world.live_tasks[task_id]
                world.feed(i.TaskStarted(task_id=task_id, at_ms=world.now_ms))
                world.feed(
                    i.TaskEnded(task_id=task_id, at_ms=world.now_ms, exit_code=0, reason=None)
                )
        assert not world.state.jobs, "a job neither ended nor can end"
        ended = [job_id(number) for number in range(1, self.submitted + 1)]
        assert all(world.memory.final.get(each) is not None for each in ended)
        for each in ended:
            assert world.store.progress(each).status is world.memory.final[each]
            assert isinstance(world.memory.final[each], JobStatus)

    def widen_quota_shares(self) -> None:
        world = self.world
        if environment_arn("shared") in world.state.environments:
            world.feed(an_environment("shared", vcpus=100))
        queue = world.state.queues.get(queue_arn("quota"))
        shares = {} if queue is None else dict(queue.quota_shares or {})
        for name, share in shares.items():
            if not share.is_draining:
                world.feed(a_quota_share(name, queue="quota", VCPU=100))


TestCoreMachine = CoreMachine.TestCase
