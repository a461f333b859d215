"""Chooses samples for a second round, says how many each condition leaves, and writes them as a dataset."""

from collections.abc import Callable

from housebrain_core.outputs import check_replaceable
from housebrain_core.select.choice import Choice
from housebrain_core.select.dataset import Ids, write_selection
from housebrain_core.select.reading import answers_path
from housebrain_core.select.selection import Selection, tabulate
from housebrain_core.select.selection_page import PAGE
from housebrain_core.select.settings import SelectConfig
from housebrain_core.splits.encode import SELECTION
from housebrain_core.texts import say


def select_samples(config: SelectConfig, report: Callable[[str], None] = say) -> Selection:
    """Chooses training samples, mixes ordinary ones in, and writes them with the source's validation part as a dataset.

    Args:
        config: the dataset, the conditions, and where to write.
        report: gets lines of progress, and how many samples each condition leaves before anything is written.

    Returns:
        What was chosen and why.

    Raises:
        DataError: the dataset or the evaluation cannot be read, or fewer samples are left than are wanted; the message
            has the counts by condition, and nothing is written.
        ConfigError: the output exists, or a condition would do nothing or choose by chance.
        AdapterError: the model cannot be read.
    """
    if not config.dry_run:
        check_replaceable(config.output, SELECTION, config.overwrite)
    choice = Choice(config, report)
    choice.choose()
    ordinary = choice.draw_ordinary()
    selection = choice.describe(len(ordinary))
    for line in (str(tabulate(selection.steps)), selection.verdict(), *(f"NOTE: {note}" for note in selection.notes)):
        report(line)
    if config.dry_run:
        report("Nothing was written: this was a dry run.")
        return selection
    ids = Ids({row.id for row in choice.rows}, {row.id for row in ordinary})
    selection = write_selection(config, selection, ids, choice.pool, choice.fields)
    answers_path(config.output).unlink(missing_ok=True)
    report(
        f"Dataset in {config.output}; {config.output / PAGE} shows what was chosen and why.\n"
        f"Next: housebrain split --source {config.output} --output housebrain_second "
        "--init-adapter models/housebrain-merged --training learning_rate=3e-5\n"
        "That is about a sixth of the default of a first round; half of a first round's rate cost up to 4 % more loss "
        "elsewhere, on generated houses with a tiny base."
    )
    return selection
