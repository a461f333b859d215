"""Places for runs on a Ray cluster: Ray gives each its GPU, and starts it again elsewhere when its worker dies."""

import importlib
import os
import socket
from concurrent.futures import Future
from typing import Any

from housebrain_core.cloud.notebook_run import Job, Outcome, run_job
from housebrain_core.errors import ConfigError, MachineError

KNOCK_SECONDS = 10


class RaySlots:
    """Runs jobs on the cluster that RAY_ADDRESS names, or on one that Ray starts on this computer.

    All machines see the project's folder under the same path, and have this version of HouseBrain.

    Args:
        attempts: how often a job is started whose worker dies.

    Raises:
        ConfigError: Ray is not installed.
        MachineError: there is no cluster at that address.
    """

    def __init__(self, attempts: int) -> None:
        try:
            ray: Any = importlib.import_module("ray")  # an extra, which type checkers need not find
        except ImportError:
            raise ConfigError("--on ray needs Ray. Install it: pip install 'housebrain[cluster]'") from None
        self.ray = ray
        address = os.environ.get("RAY_ADDRESS")
        try:
            _knock(address or "")
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (OSError, ValueError, RuntimeError) as error:
            first = str(error).strip().partition("\n")[0]
            raise MachineError(f"no Ray cluster answers at RAY_ADDRESS = {address} ({first}). Start one.") from None
        self.dies: tuple[type[BaseException], ...] = (ray.exceptions.RayError,)
        """Errors that mean that a job's worker died for good."""
        resources = ray.cluster_resources()
        kind = "GPU" if resources.get("GPU") else "CPU"
        self.count = int(resources.get(kind, 1))
        needs = {"num_gpus": 1, "num_cpus": 0} if kind == "GPU" else {"num_cpus": 1}
        self.remote: Any = ray.remote(run_job).options(max_retries=attempts - 1, **needs)

    def submit(self, job: Job) -> Future[Outcome]:
        """Runs a job as soon as the cluster has a place for it."""
        return self.remote.remote(job).future()

    def close(self) -> None:
        """Leaves the cluster, or ends the one that was started here."""
        self.ray.shutdown()


def _knock(address: str) -> None:
    """Returns if something listens at host:port; Ray itself tries for minutes, and then ends the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()
