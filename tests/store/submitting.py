"""A process that writes until it is killed, and says what was acknowledged. Not a test itself.

Run as `python -m tests.store.submitting URL`: prints the id of each job once `append_job` returned.
"""

import asyncio
import os
import sys

from batchyard.store import Store
from tests.store.builders import a_job

_WRITERS = 20


async def submit(store: Store) -> None:
    while True:
        job = a_job(spec=b"x" * 500)
        await store.append_job(job)
        # Past any buffer of ours: what is in the pipe outlives the process.
        os.write(sys.stdout.fileno(), f"{job.id}\n".encode())


async def main(url: str) -> None:
    store = Store.open(url)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_WRITERS):
            tasks.create_task(submit(store))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
