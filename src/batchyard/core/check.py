"""The invariants of the state, each a named check. Tests run them after every step.

Owns what must always be true. Refuses to repair anything: a broken invariant is our mistake.
"""

from collections import Counter

from batchyard.core.array import CODE_BY_STATUS, DOOMED, REST
from batchyard.core.bookkeeping import held_slots, is_node
from batchyard.core.state import (
    Environment,
    Instance,
    Job,
    Queue,
    QuotaShare,
    State,
    child_status,
    heads_of,
)
from batchyard.core.transitions import InvariantBroken
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import added, count_instances
from batchyard.model.ids import (
    ConsumableArn,
    EnvironmentArn,
    HostId,
    JobId,
    QueueArn,
    TaskId,
    child_id,
    is_part_id,
    split_part_id,
    whole_id_of,
)
from batchyard.model.instances import InstanceId
from batchyard.model.limits import PREEMPTED_ATTEMPTS_KEPT_MAX
from batchyard.model.status import JobStatus


def check(state: State) -> None:
    """Run every check; raises `InvariantBroken` with the name of what does not hold."""
    for each in (
        check_live_jobs_are_not_terminal,
        check_attempts_match_states,
        check_attempt_counts_within_limit,
        check_capacity_is_never_exceeded,
        check_counters_equal_what_they_count,
        check_queues_count_what_they_hold,
        check_instances_are_kept_by_their_room,
        check_lines_hold_exactly_the_runnable,
        check_shares_count_their_jobs,
        check_quota_shares_count_their_jobs,
        check_pending_jobs_wait_for_live_jobs,
        check_timed_attempts_have_deadlines,
        check_arrays_count_their_children,
        check_children_wait_for_what_is_not_met,
        check_nodes_live_in_attempts_of_their_jobs,
        check_consumables_are_conserved,
        check_heads_alone_show_reasons,
    ):
        each(state)


def _demand(is_true: bool, what: str) -> None:
    if not is_true:
        raise InvariantBroken(what)


def check_live_jobs_are_not_terminal(state: State) -> None:
    for job in state.jobs.values():
        _demand(not job.progress.status.is_terminal, f"{job.id} is terminal and still live")
        _demand(job.progress.stopped_ms is None, f"{job.id} is live and has stopped_ms")


def check_attempts_match_states(state: State) -> None:
    seen: dict[TaskId, JobId] = {}
    places: dict[EnvironmentArn, set[TaskId]] = {}
    for job in state.jobs.values():
        attempt = job.progress.attempt
        has_task = job.progress.status.has_task
        _demand((attempt is not None) == has_task, f"{job.id}: {job.progress.status} and attempt")
        if attempt is not None:
            _demand(
                (attempt.started_ms is not None) == (job.progress.status is JobStatus.RUNNING),
                f"{job.id}: started_ms and {job.progress.status}",
            )
            if job.nodes is None:
                seen[attempt.task_id] = job.id
                places.setdefault(attempt.environment_arn, set()).add(attempt.task_id)
    _demand(seen == state.job_by_task, "job_by_task does not hold exactly the live attempts")
    kept = {arn: set(tasks) for arn, tasks in state.tasks_by_environment.items()}
    _demand(places == kept, "tasks_by_environment does not say where each live attempt is")


def check_attempt_counts_within_limit(state: State) -> None:
    for job in state.jobs.values():
        progress = job.progress
        ended = len(progress.attempts)
        live = 1 if progress.attempt is not None else 0
        most = job.attempts_max
        if is_node(job) and job.parent is not None:  # Its own end counts, though its job's may not.
            most += job.parent.progress.preempted_count
        _demand(ended + live <= most, f"{job.id} has too many attempts")
        _check_preempted(job)
        numbers = [attempt.number for attempt in progress.attempts]
        if is_node(job):  # It may not have come to begin in each attempt of its job.
            _demand(numbers == sorted(set(numbers)), f"{job.id} attempts are {numbers}")
        elif not progress.preempted_count:
            _demand(numbers == list(range(1, ended + 1)), f"{job.id} attempts are {numbers}")


def _check_preempted(job: Job) -> None:
    """Those that do not count are counted, and the last of them kept."""
    progress, kept = job.progress, [each.number for each in job.progress.preempted]
    count = progress.preempted_count
    _demand(len(kept) == min(count, PREEMPTED_ATTEMPTS_KEPT_MAX), f"{job.id} kept {kept}")
    _demand(not kept or job.quota_share is not None, f"{job.id} was preempted outside a share")
    numbers = [each.number for each in progress.attempts] + kept
    _demand(len(set(numbers)) == len(numbers), f"{job.id} has a number twice: {numbers}")
    if progress.attempt is not None and not is_node(job):
        expected = progress.attempt_number_next
        _demand(progress.attempt.number == expected, f"{job.id} is in the wrong attempt")


def check_capacity_is_never_exceeded(state: State) -> None:
    for host in state.hosts.values():
        _demand(host.used.fits_in(host.capacity), f"host {host.id} is over-full: {host.used}")
    for instance_id, instance in state.instances.items():
        capacity = instance.record.capacity
        _demand(instance.used.fits_in(capacity), f"{instance_id} is over-full: {instance.used}")


def check_counters_equal_what_they_count(state: State) -> None:
    on_host: dict[HostId, Amount] = {host_id: Amount() for host_id in state.hosts}
    on_instance: dict[InstanceId, Amount] = {each: Amount() for each in state.instances}
    in_environment: dict[EnvironmentArn, Amount] = {arn: Amount() for arn in state.environments}
    count = dict.fromkeys(state.environments, 0)
    for instance in state.instances.values():
        on_host[instance.record.host_id] += instance.record.capacity
    for job in state.jobs.values():
        attempt = job.progress.attempt
        if attempt is None:
            continue
        for slot, demand in held_slots(job, attempt):
            if slot.instance_id is None:
                on_host[slot.host_id] += demand
            else:
                on_instance[slot.instance_id] += demand
            in_environment[attempt.environment_arn] += demand
        if not is_node(job):
            count[attempt.environment_arn] += 1
    for host in state.hosts.values():
        _demand(host.used == on_host[host.id], f"host {host.id} counts {host.used}")
    for instance_id, instance in state.instances.items():
        used = on_instance[instance_id]
        _demand(instance.used == used, f"{instance_id} counts {instance.used}, not {used}")
    _check_instances_of_service_jobs(state)
    for environment in state.environments.values():
        arn = environment.arn
        _demand(environment.used == in_environment[arn], f"{arn} counts {environment.used}")
        _demand(environment.attempt_count == count[arn], f"{arn} counts its attempts wrongly")


def _check_instances_of_service_jobs(state: State) -> None:
    in_environment: dict[EnvironmentArn, dict[str, int]] = {arn: {} for arn in state.environments}
    in_queue: dict[QueueArn, dict[str, int]] = {arn: {} for arn in state.queues}
    in_share: dict[tuple[QueueArn, str], dict[str, int]] = {}
    for job in state.jobs.values():
        attempt = job.progress.attempt
        if attempt is None or not job.is_service or is_node(job):
            continue
        more, arn = count_instances(job.capacity_use), attempt.environment_arn
        in_environment[arn] = added(in_environment[arn], more)
        _demand(state.environments[arn].limits is not None, f"{job.id} is in the wrong environment")
        in_queue[job.queue_arn] = added(in_queue.get(job.queue_arn, {}), more)
        if job.share_identifier is not None:
            key = (job.queue_arn, job.share_identifier)
            in_share[key] = added(in_share.get(key, {}), more)
    for arn, environment in state.environments.items():
        used = environment.instances_used
        _demand(used == in_environment[arn], f"{arn} counts {used}")
    for queue in state.queues.values():
        _demand(queue.instances == in_queue[queue.arn], f"{queue.arn} counts {queue.instances}")
        for name, share in queue.shares.items():
            held = in_share.get((queue.arn, name), {})
            _demand(share.instances == held, f"{name} of {queue.arn} counts {share.instances}")


def check_queues_count_what_they_hold(state: State) -> None:
    in_queue: Counter[QueueArn] = Counter()
    for job in state.jobs.values():
        if job.progress.attempt is not None and not is_node(job):
            in_queue[job.queue_arn] += job.demand.cpu_milli
    for queue in state.queues.values():
        _demand(queue.cpu_milli == in_queue[queue.arn], f"{queue.arn} counts {queue.cpu_milli}")


def check_instances_are_kept_by_their_room(state: State) -> None:
    for environment in state.environments.values():
        own = [each for each in state.instances.values() if _is_of(each, environment)]
        launched = sum(each.record.capacity.cpu_milli for each in own)
        _demand(environment.cpu_milli_launched == launched, f"{environment.arn} counts launches")
        _demand(
            sorted(environment.instances) == sorted(each.record.id for each in own),
            f"{environment.arn} does not hold exactly its instances",
        )
        for is_ready, groups in ((True, environment.ready), (False, environment.starting)):
            expected = sorted(
                (each.record.id, each.free.cpu_milli)
                for each in own
                if each.is_open and each.is_ready is is_ready and each.free.cpu_milli > 0
            )
            found = sorted(
                (instance_id, free.cpu_milli)
                for free, group in groups.items()
                for instance_id in group
            )
            _demand(found == expected, f"{environment.arn} has rooms {found}, not {expected}")
            sizes = sorted((e.cpu_milli, e.memory_mib, e.gpu_count) for e in groups)
            _demand(groups.sizes == sizes, f"{environment.arn} has sizes {groups.sizes}")
        idle = sorted(e.record.id for e in own if e.is_ready and not e.attempt_count)
        _demand(sorted(environment.idle_since_ms) == idle, f"{environment.arn}: idle {idle}")


def _is_of(instance: Instance, environment: Environment) -> bool:
    return instance.record.environment_arn == environment.arn


def check_lines_hold_exactly_the_runnable(state: State) -> None:
    for queue in state.queues.values():
        of_queue = [job for job in state.jobs.values() if job.queue_arn == queue.arn]
        runnable = [job.id for job in of_queue if job.progress.status is JobStatus.RUNNABLE]
        arrays = [job for job in of_queue if job.array is not None]
        for job in arrays:
            assert job.array is not None, job.id
            assert job.progress.array is not None, job.id
            if job.progress.array.rest is JobStatus.RUNNABLE:
                runnable += [child_id(job.id, index) for index in job.array.rest_indexes()]
        _check_lines(queue, runnable, {job.id: job for job in of_queue})
        whole = [job.id for job in of_queue if job.parent is None]
        _demand(
            sorted(queue.jobs) == sorted(whole),
            f"{queue.arn} does not hold exactly its live jobs",
        )


def _check_lines(queue: Queue, runnable: list[JobId], job_by_id: dict[JobId, Job]) -> None:
    """Each stands in the line of its share, or all in one; higher priorities stand before lower."""
    _demand(queue.policy is not None or not queue.shares, f"{queue.arn} has shares without policy")
    found = list(queue.line)
    has_shares = queue.policy is not None or queue.quota_shares is not None
    _demand(not has_shares or not found, f"{queue.arn} has a line beside its shares")
    lines = [(name, each.line) for name, each in queue.shares.items()]
    lines += [(name, each.line) for name, each in (queue.quota_shares or {}).items()]
    for identifier, line in lines:
        in_line = list(line)
        jobs = [job_by_id.get(each) or job_by_id[whole_id_of(each)] for each in in_line]
        _demand(
            all(identifier in (job.share_identifier, job.quota_share) for job in jobs),
            f"the line of {identifier} in {queue.arn} has strangers",
        )
        priorities = [job.priority for job in jobs]
        _demand(
            priorities == sorted(priorities, reverse=True),
            f"the line of {identifier} in {queue.arn} is not in order",
        )
        found += in_line
    _demand(sorted(found) == sorted(runnable), f"the line of {queue.arn} is wrong")


def check_shares_count_their_jobs(state: State) -> None:
    for queue in state.queues.values():
        live: Counter[str] = Counter()
        held: Counter[str] = Counter()
        for job in state.jobs.values():
            if job.queue_arn != queue.arn:
                continue
            has_share = job.share_identifier is not None
            _demand(has_share == (queue.policy is not None), f"{job.id} and the policy differ")
            if job.share_identifier is None or is_node(job):
                continue
            live[job.share_identifier] += 1 if job.parent is None else 0
            if job.progress.attempt is not None:
                held[job.share_identifier] += job.demand.cpu_milli
        for identifier in live:
            _demand(identifier in queue.shares, f"{queue.arn} does not know {identifier}")
        for identifier, share in queue.shares.items():
            what = f"{identifier} of {queue.arn}"
            _demand(share.live_count == live[identifier], f"{what} counts {share.live_count} jobs")
            _demand(share.cpu_milli == held[identifier], f"{what} counts {share.cpu_milli}")
            _demand(share.usage >= 0, f"{what} has used {share.usage}")


def check_quota_shares_count_their_jobs(state: State) -> None:
    for queue in state.queues.values():
        of_queue = [job for job in state.jobs.values() if job.queue_arn == queue.arn]
        for job in of_queue:
            has_share = job.quota_share is not None
            _demand(has_share == (queue.quota_shares is not None), f"{job.id} and its queue differ")
            is_known = job.quota_share in (queue.quota_shares or {})
            _demand(is_known == has_share, f"{job.id} is in no share that there is")
        for name, share in (queue.quota_shares or {}).items():
            jobs = [job for job in of_queue if job.quota_share == name and not is_node(job)]
            _check_quota_share(share, f"{name} of {queue.arn}", jobs)


def _check_quota_share(share: QuotaShare, what: str, jobs: list[Job]) -> None:
    whole = sorted(job.id for job in jobs if job.parent is None)
    _demand(sorted(share.jobs) == whole, f"{what} does not hold exactly its live jobs")
    running = [job for job in jobs if job.progress.attempt is not None]
    _demand(sorted(share.running) == sorted(job.id for job in running), f"{what}: who runs")
    used: Counter[str] = Counter()
    for job in running:
        used.update(job.use)
    _demand(share.used == dict(used), f"{what} counts {share.used}, not {used}")


def check_pending_jobs_wait_for_live_jobs(state: State) -> None:
    for job in state.jobs.values():
        if job.parent is not None:
            _demand(not job.unmet, f"{job.id} waits as only whole jobs do")
            continue
        is_waiting = job.progress.status is JobStatus.PENDING
        if job.progress.array is not None:
            is_waiting = job.progress.array.rest is None
        _demand(bool(job.unmet) == is_waiting, f"{job.id}: {job.progress.status}, {job.unmet}")
        for dependency_id in job.unmet:
            _demand(_is_live(state, dependency_id), f"{job.id} waits for {dependency_id}, not live")
            _demand(
                job.id in state.dependents.get(dependency_id, []),
                f"{dependency_id} does not know its dependant {job.id}",
            )


def _is_live(state: State, dependency_id: JobId) -> bool:
    if not is_part_id(dependency_id):
        return dependency_id in state.jobs
    parent_id, index = split_part_id(dependency_id)
    parent = state.jobs.get(parent_id)
    if parent is None:
        return False
    status = child_status(parent, index)
    return status is None or not status.is_terminal


def check_timed_attempts_have_deadlines(state: State) -> None:
    timed = [
        attempt.started_ms + job.timeout_ms
        for job in state.jobs.values()
        if (attempt := job.progress.attempt) is not None
        and attempt.started_ms is not None
        and attempt.stop_cause is None
        and attempt.stopped_ms is None
        and job.timeout_ms is not None
        and (job.nodes is None or not job.is_service)  # Its nodes are watched, each for itself.
    ]
    if timed:
        next_ms = state.next_deadline_ms()
        _demand(next_ms is not None and next_ms <= min(timed), "a deadline is missing")


def check_arrays_count_their_children(state: State) -> None:
    for job in state.jobs.values():
        _demand((job.array is None) == (job.progress.array is None), f"{job.id} is half an array")
        if job.array is None or job.progress.array is None:
            continue
        progress, codes = job.progress.array, Counter(job.array.codes)
        _demand(progress.size == job.array.size, f"{job.id} has two sizes")
        _demand(progress.rest_count == codes.pop(REST, 0), f"{job.id} counts its rest wrongly")
        own = {CODE_BY_STATUS[s]: n for s, n in progress.own_count_by_status.items() if n}
        _demand(own == dict(codes), f"{job.id} counts its children wrongly: {own}, {codes}")
        for index, code in enumerate(job.array.codes):
            child = state.jobs.get(child_id(job.id, index))
            status = child_status(job, index)
            is_own = code != REST and status is not None and not status.is_terminal
            _demand((child is not None) == is_own, f"{job.id}:{index} {status}, {child}")
            if child is not None:
                _demand(child.progress.status is status, f"{child.id} is not {status}")
                _demand(child.parent is job, f"{child.id} has a strange parent")
        is_over = not any(
            count for status, count in progress.count_by_status().items() if not status.is_terminal
        )
        _demand(progress.rest is None or not is_over, f"{job.id} is over and still live")


def check_children_wait_for_what_is_not_met(state: State) -> None:
    for job in state.jobs.values():
        if job.array is None:
            continue
        for index in range(job.array.size):
            if child_status(job, index) is JobStatus.PENDING:
                wait = job.array.waits[index] if job.array.waits is not None else 0
                _demand(0 < wait < DOOMED, f"{job.id}:{index} waits for {wait}")


def check_nodes_live_in_attempts_of_their_jobs(state: State) -> None:
    live: dict[JobId, set[int]] = {job.id: set() for job in state.jobs.values() if job.nodes}
    for job in state.jobs.values():
        if job.parent is None or job.parent.nodes is None:
            continue
        live[job.parent.id].add(job.index)
        of_node, of_job = job.progress.attempt, job.parent.progress.attempt
        assert of_node is not None, job.id
        _demand(of_job is not None, f"{job.id} lives outside an attempt")
        if of_job is not None:
            _demand(of_node.number == of_job.number, f"{job.id} is in attempt {of_node.number}")
    for job_id, indexes in live.items():
        nodes = state.jobs[job_id].nodes
        assert nodes is not None, job_id
        _demand(set(nodes.live) == indexes, f"{job_id} does not hold exactly its live nodes")
        if not state.jobs[job_id].progress.status.has_task:
            _demand(not indexes and not nodes.waiting, f"{job_id} has nodes and no attempt")


def check_consumables_are_conserved(state: State) -> None:
    held: Counter[ConsumableArn] = Counter()
    for job in state.jobs.values():
        if job.progress.attempt is not None:
            held.update({need.arn: need.quantity for need in job.needs})
    for arn, consumable in state.consumables.items():
        _demand(consumable.held == held.pop(arn, 0), f"{arn} counts {consumable.held} as held")
        _demand(consumable.is_there or consumable.held > 0, f"{arn} is neither there nor held")
        _demand(consumable.used_up >= 0 and consumable.available >= 0, f"{arn} is below nothing")
    _demand(not held, f"attempts hold what is not known: {held}")


def check_heads_alone_show_reasons(state: State) -> None:
    shown: dict[tuple[QueueArn, str | None], JobId] = {}
    for job in state.jobs.values():
        if job.progress.blocked_ms is not None:
            _demand(job.progress.status is JobStatus.RUNNABLE, f"{job.id} is blocked and not there")
            _demand(job.progress.status_reason is not None, f"{job.id} is blocked for nothing")
            key = (job.queue_arn, job.quota_share)
            _demand(key not in shown, f"{key} has two blocked heads")
            shown[key] = job.id
    for queue in state.queues.values():
        for head in heads_of(queue):
            key = (queue.arn, head.terms.name if isinstance(head, QuotaShare) else None)
            _demand(head.blocked_id == shown.get(key), f"{key} has a strange head")
