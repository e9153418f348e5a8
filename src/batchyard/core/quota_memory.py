"""What rounds found of a queue with quota shares, and may use again.

Part of `remembered`, under its rules. Owns which event of a job lets which of these answers go;
any event that is about no job lets go of the whole, but those of instances on which nothing runs.

- How a share is shown (who waits in it, as far as somebody has read) follows from its jobs: from
  who is RUNNABLE, and what never changes about them. An attempt that is taken, waits for something
  from elsewhere or starts changes none of that, and every other event of a job of the share may.
- What runs in it, and which of it borrows, follows from its jobs that hold capacity, and from where
  they do. Nor does a job that comes in, or shows another reason, change any of that.
- What one of them holds follows from events of that job, or of its nodes.
- What all shares use is counted anew for a share after such an event, before it is asked of.
- Where jobs could ever be follows from no job at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from batchyard.core import events as e
from batchyard.model.ids import JobId
from batchyard.scheduler.quota import Accounts, RunningJob, RunningShare
from batchyard.scheduler.view import Outlook, QuotaShareView

#: Events of jobs after which the same runs where it ran, with the same right.
_RUNS_AS_BEFORE = (e.JobAccepted, e.JobReasonChanged, *e.GETS_GOING)


@dataclass(slots=True)
class QuotaMemory:
    """What is remembered of one queue."""

    #: The units that no share counts.
    uncounted: Sequence[str]
    #: What the shares use, but for those in `changed`.
    accounts: Accounts
    #: Set once a round has been made.
    outlook: Outlook | None = None
    shares: dict[str, QuotaShareView] = field(default_factory=dict)
    running_by_share: dict[str, RunningShare] = field(default_factory=dict)
    running_by_job: dict[JobId, RunningJob] = field(default_factory=dict)
    #: The shares whose use is to be counted anew.
    changed: dict[str, None] = field(default_factory=dict)

    def see(self, event: e.JobEvent, share: str, job_ids: Sequence[JobId]) -> None:
        """Let go of what an event of a job of a share may have changed.

        `job_ids` names the job, and of a node also the job that it is a part of.
        """
        if isinstance(event, e.GETS_GOING):
            return
        self.shares.pop(share, None)
        if isinstance(event, _RUNS_AS_BEFORE):
            return
        self.running_by_share.pop(share, None)
        for job_id in job_ids:
            self.running_by_job.pop(job_id, None)
        self.changed[share] = None
