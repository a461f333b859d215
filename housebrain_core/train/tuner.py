"""The fine-tuner: trains one split into one adapter, in this process or in one for each GPU. Needs no torch itself."""

import time
from collections.abc import Callable

from housebrain_core.adapters.run import FILE, Run, read_run
from housebrain_core.display.progress import Watch
from housebrain_core.settings import FineTuningConfig
from housebrain_core.train.checkpoints import check_run_folder
from housebrain_core.train.processes import count_processes, train_in_processes, world_size


class HouseBrainFineTuner:
    """Trains one adapter.

    >>> config = FineTuningConfig(dataset_path="split_04.zip", output_dir="models/hb-kaggle-04")
    >>> HouseBrainFineTuner(config).train()

    Starting it again with the same settings continues from the newest sealed checkpoint; a finished adapter is read
    and returned.

    Args:
        config: what to train on, where to, and how.
        report: gets each line of progress; by default they are printed, and a notebook shows one picture that updates.
    """

    def __init__(self, config: FineTuningConfig, report: Callable[[str], None] | None = None) -> None:
        self.config = config
        self.report = report or Watch(config.output_dir)
        self.started = time.time()

    def train(self) -> Run:
        """Trains, or continues, until all steps are done, nothing more is learned, or the time budget ends.

        Returns:
            What the run did, as run.json in the adapter folder has it.

        Raises:
            DataError: the data cannot be read or no sample fits.
            ConfigError: the base model cannot be found, another process trains into the folder, or a setting or what to
                start from does not belong to the split's plan.
            AdapterError: the adapter to start from is damaged, or finds no place on the base model.
            CheckpointError: the folder belongs to another run, or all checkpoints are damaged.
            MachineError: the run began with more GPUs than there are.
            TrainingError: the loss is not a number, or the GPU's memory is too small.
        """
        check_run_folder(self.config.output_dir)
        count = count_processes(self.config)
        if count > 1 and world_size() == 1:
            train_in_processes(self.config, count, self.report, self.started)
            return read_run(self.config.output_dir / FILE)
        from housebrain_core.train.training import train_here

        return train_here(self.config, self.report, self.started)
