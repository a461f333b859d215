"""Who trains which split, where and with which settings: all of it checked before anything is read."""

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from housebrain_core.config import FineTuningConfig, SplitConfig
from housebrain_core.errors import ConfigError
from housebrain_core.legs import Leg, TrainingPlan, plan_relay, plan_rounds
from housebrain_core.splits.costs import estimate_tokens
from housebrain_core.splits.notebooks import default_settings, find_rendered, read_rendered
from housebrain_core.splits.parts import SplitPart

PLATFORMS = ("colab", "kaggle")
DIFFERENT = ("dataset_path", "output_dir")
"""Settings of training that differ from split to split, and follow from its name."""
USER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,48}[a-z0-9]")
"""A Kaggle user name as it stands in kaggle.com/NAME."""
EXPECTED = {
    "platform": "a platform for all splits, or for one, such as 4=kaggle",
    "owner": "a split and the Kaggle user who trains it, such as 4=alice",
    "training": "a setting and its value, such as epochs=1",
}
"""What the flags take."""


class Job(NamedTuple):
    """One split, to be trained by one person."""

    split_id: int
    platform: str
    owner: str | None
    """Kaggle user name, where the folders for the kaggle client are wanted."""

    @property
    def name(self) -> str:
        """The split's name, which its files begin with."""
        return f"split_{self.split_id:02d}"

    @property
    def notebook(self) -> str | None:
        """What the notebook is called that trains the split; None where the train notebooks are not built."""
        return f"train_{self.name}.ipynb" if find_rendered(self.platform) else None


class Training(NamedTuple):
    """The settings that all splits are trained with."""

    settings: FineTuningConfig
    chosen: list[str]
    """Names of those that were given; the rest are defaults."""


class Assignment(NamedTuple):
    """Everything about who trains what: a job per split, in order, and how they are trained."""

    jobs: list[Job]
    training: Training
    legs: tuple[Leg, ...] | None = None
    """Of a plan with rounds or a relay; None where each split is trained once and all are merged once."""

    def make_plan(self, dataset: str) -> TrainingPlan | None:
        """Makes the plan of these splits.

        Args:
            dataset: hash of the dataset that is split.

        Returns:
            None where each split is trained once and all are merged once.
        """
        if self.legs is None:
            return None
        settings = self.training.settings
        return TrainingPlan(
            dataset=dataset,
            splits=len(self.jobs),
            legs=self.legs,
            lora_r=settings.lora_r,
            lora_alpha=settings.lora_alpha,
        )


def account_mapping(splits: int) -> dict[int, str]:
    """The guide's mapping: the first half of the splits on Colab, the rest on Kaggle."""
    return {number: "colab" if number <= splits // 2 else "kaggle" for number in range(1, splits + 1)}


def assign(config: SplitConfig) -> Assignment:
    """Reads `platform`, `owner` and `training`.

    Raises:
        ConfigError: one of them cannot be used; one line per problem.
    """
    problems: list[str] = []
    platforms = choose_platforms(config, problems)
    owners = choose_owners(config, platforms, problems)
    training = choose_training(config, problems)
    if problems:
        raise ConfigError("these settings of the split cannot be used:\n  " + "\n  ".join(problems))
    jobs = [Job(number, platform, owners.get(number)) for number, platform in platforms.items()]
    return Assignment(jobs, training, choose_legs(config))


def choose_legs(config: SplitConfig) -> tuple[Leg, ...] | None:
    """The legs that `rounds`, `common_start` and `relay` ask for; None without them."""
    if config.relay:
        return plan_relay(config.splits, config.relay_legs)
    if config.rounds is None:
        return None
    start = 1 / config.splits if config.common_start == "auto" else config.common_start
    return plan_rounds(config.splits, config.rounds, start)


def check_lengths(plan: TrainingPlan, parts: list[SplitPart], settings: FineTuningConfig) -> None:
    """Refuses legs that would take less than an optimizer step, at the most tokens that a split may have.

    Args:
        plan: of all splits.
        parts: the splits.
        settings: of their training.

    Raises:
        ConfigError: naming the shortest leg.
    """
    part = min(parts, key=lambda part: sum(part.characters))
    tokens = estimate_tokens(sum(part.characters)).most
    steps = settings.max_steps or math.ceil(tokens * settings.epochs / (settings.rows_per_step * settings.row_length))
    shortest = steps * min(map(plan.load, plan.legs))
    if shortest < 1:
        raise ConfigError(
            f"{part.name} takes about {steps} optimizer steps in all, which are too few for {len(plan.legs)} legs: the "
            f"shortest would take {shortest:.2f} of a step. Take fewer rounds, or train longer "
            "(--training epochs=4)."
        )


def choose_platforms(config: SplitConfig, problems: list[str]) -> dict[int, str]:
    """Split -> platform: the guide's mapping, then one platform for all, then those of single splits."""
    for_all = [text for text in config.platform if "=" not in text]
    single = read_pairs("platform", [text for text in config.platform if "=" in text], config.splits, problems)
    for text in [*for_all, *single.values()]:
        if text not in PLATFORMS:
            problems.append(f"platform {text!r}: a split is trained on {' or '.join(PLATFORMS)}")
    if len(for_all) > 1:
        problems.append(f"platform {' '.join(for_all)}: give one for all splits, or N=PLATFORM for split N")
    mapping = account_mapping(config.splits)
    return {number: single.get(number, for_all[0] if for_all else mapping[number]) for number in mapping}


def choose_owners(config: SplitConfig, platforms: dict[int, str], problems: list[str]) -> dict[int, str]:
    """Split -> Kaggle user name."""
    owners = read_pairs("owner", config.owner, config.splits, problems)
    for split_id, owner in owners.items():
        if not USER_NAME.fullmatch(owner):
            problems.append(f"owner {split_id}={owner}: {owner!r} is no Kaggle user name, as in kaggle.com/alice")
        if platforms.get(split_id) == "colab":
            problems.append(
                f"owner {split_id}={owner}: split {split_id} is for Colab, which takes no owner; "
                f"with --platform {split_id}=kaggle it would be for Kaggle"
            )
    if owners and not find_rendered("kaggle"):
        problems.append("owner: the train notebook that it needs is not there. Run: python build_notebooks.py")
    return owners


def read_pairs(flag: str, texts: list[str], splits: int, problems: list[str]) -> dict[int, str]:
    """Reads N=VALUE for splits 1 to `splits`; what is wrong with a text goes into `problems`."""
    pairs: dict[int, str] = {}
    for text in texts:
        number, _, value = (part.strip() for part in text.partition("="))
        if not re.fullmatch(r"[0-9]{1,9}", number) or not value:
            problems.append(f"{flag} {text!r}: expected {EXPECTED[flag]}")
        elif not 1 <= int(number) <= splits:
            problems.append(f"{flag} {text}: there is no split {int(number)}; there are 1 to {splits}")
        elif pairs.setdefault(int(number), value) != value:
            problems.append(f"{flag} {text}: split {int(number)} has {pairs[int(number)]} already")
    return pairs


def choose_training(config: SplitConfig, problems: list[str]) -> Training:
    """Reads NAME=VALUE for the settings of training that the train notebook has too, where there is one."""
    names = set(FineTuningConfig.model_fields) - set(DIFFERENT)
    if config.training and find_rendered("kaggle"):
        names &= set(default_settings(read_rendered("kaggle")))
    given, unknown = {}, []
    for text in config.training:
        name, _, value = (part.strip() for part in text.partition("="))
        if not value:
            problems.append(f"training {text!r}: expected {EXPECTED['training']}")
        elif name not in names:
            unknown.append(name)
        else:
            given[name] = value
    if unknown:
        problems.append(f"training: {', '.join(unknown)} cannot be set here; these can: {', '.join(sorted(names))}")
    try:
        return Training(FineTuningConfig(dataset_path=Path(), output_dir=Path(), **given), list(given))
    except ConfigError as error:
        problems += [f"training {line.strip()}" for line in str(error).splitlines()[1:]]
        return Training(FineTuningConfig(dataset_path=Path(), output_dir=Path()), [])


def notebook_parameters(split_id: int, training: Training, defaults: dict[str, Any]) -> dict[str, Any]:
    """What is filled into a notebook: the split, and the chosen settings that differ from its own.

    Args:
        split_id: from 1.
        training: what was chosen.
        defaults: the notebook's own settings; where training has None, they have the zero of their type.
    """
    parameters = {"split_id": split_id}
    for name in training.chosen:
        value, default = getattr(training.settings, name), defaults[name]
        value = type(default)() if value is None else type(default)(value)
        if value != default:
            parameters[name] = value
    return parameters
