"""Places for runs on this computer: one for each GPU, or as many as are wanted without GPUs."""

import os
import queue
from concurrent.futures import Future, ThreadPoolExecutor

from housebrain_core.cloud.notebook_run import Job, Outcome, run_job
from housebrain_core.errors import ConfigError
from housebrain_core.platforms import list_gpus


class LocalSlots:
    """Runs jobs on this computer, each GPU for one of them at a time.

    Args:
        at_once: runs at the same time; one for each GPU, or one without GPUs, when None.

    Raises:
        ConfigError: there are fewer GPUs.
    """

    dies: tuple[type[BaseException], ...] = ()
    """Errors that mean that a place for a run died for good; here it would take this process with it."""

    def __init__(self, at_once: int | None) -> None:
        gpus = visible_gpus()
        if gpus and at_once and at_once > len(gpus):
            raise ConfigError(f"at_once = {at_once}, but this computer has {len(gpus)} GPUs, and a run needs one.")
        self.count = at_once or len(gpus) or 1
        self.free: queue.SimpleQueue[str] = queue.SimpleQueue()
        for place in range(self.count):
            self.free.put(gpus[place] if gpus else "")
        self.pool = ThreadPoolExecutor(self.count)

    def submit(self, job: Job) -> Future[Outcome]:
        """Runs a job as soon as there is a place."""
        return self.pool.submit(self._run, job)

    def _run(self, job: Job) -> Outcome:
        gpu = self.free.get()
        try:
            if gpu:
                return run_job(job, f"GPU {gpu}", {"CUDA_VISIBLE_DEVICES": gpu})
            threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.count)))
            return run_job(job, "CPU", {"OMP_NUM_THREADS": threads})
        finally:
            self.free.put(gpu)

    def close(self) -> None:
        """Waits for runs that have not ended."""
        self.pool.shutdown()


def visible_gpus() -> list[str]:
    """The GPUs of this computer, as CUDA_VISIBLE_DEVICES names them; fewer where that names fewer."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(number) for number in range(len(list_gpus()))]
    if given is None or not names:
        return names
    return [name.strip() for name in given.split(",") if name.strip()]
