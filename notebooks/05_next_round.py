# %% [markdown]
# # 5. The next round
#
# A merged model goes on learning from samples that are chosen for what it lacks: an evaluation says what that is, a
# selection takes samples that teach it, with ordinary ones against forgetting, and a split makes the bundles.

# %% [markdown]
# ## Settings

# %% tags=["parameters"]
# Written by build_notebooks.py from housebrain_core/parameters/settings.py.

# %% [markdown]
# ## Check
#
# `source` is the dataset that notebook 1 split, `evaluation` what notebook 4 wrote. Relative paths start in the
# project's folder, which the next cell names.

# %%
from housebrain_core.parameters import NextRoundSettings, check_settings
from housebrain_core.project import check_inputs, enter_project

settings = check_settings(NextRoundSettings, globals())
enter_project()
check_inputs("source", settings.source, "Name your dataset, the one that notebook 1 split.")
check_inputs("evaluation", settings.evaluation, "Evaluate the merged model with notebook 4 first.")
check_inputs("init_adapter", settings.init_adapter, "Merge with notebook 3 first, or name the adapter to go on from.")

# %% [markdown]
# ## What the model lacks
#
# Rule by rule, how often the references keep it, and how often the answers of the last model of the evaluation do. A
# model learns its references: where they break a rule, so does it. A rule that many references break, and some keep, is
# one that a selection can teach; one that none keeps, it cannot.

# %%
from housebrain_core.select import find_lacks

find_lacks(settings.evaluation)

# %% [markdown]
# ## What each condition would leave
#
# Nothing is written here. Change `clean_rules`, `where`, `difficulty` and `failed` above until enough is left: a few
# hundred samples for a short second round. With `failed`, such as `["rules"]`, the training samples that are nearest to
# the briefs on which the model failed are taken; the evaluated samples themselves stay in the validation.

# %%
from housebrain_core.select import select_samples

select_samples(settings.select_config().model_copy(update={"dry_run": True}), report=lambda line: None)

# %% [markdown]
# ## The selection
#
# An ordinary dataset, with the validation part of the source, so that both rounds are measured on the same samples. The
# figures show how many samples each condition left, and how often references keep each rule now.

# %%
selection = select_samples(settings.select_config(), report=lambda line: None)
selection

# %% [markdown]
# One of the chosen samples. `selection.html` in the folder of the selection shows three, with the reasons.

# %%
from housebrain_core.data import read_samples
from housebrain_core.house import floor_plan

sample = next(read_samples(settings.output, "train"))
floor_plan(sample["output"], sample["id"]) if isinstance(sample["output"], dict) else sample["output"]

# %% [markdown]
# ## The bundles of the second round
#
# Every bundle carries the merged adapter, which training goes on from.

# %%
from housebrain_core.splits import split_dataset

split_dataset(settings.split_config())

# %% [markdown]
# ## Take home
#
# **Next:** send each person the bundle, the notebook and the page of their split, as in the first round, or train here
# with notebook 2: set its `splits_folder`. In every notebook that trains, set `learning_rate` to about a sixth of the
# first round's, 3e-5 where that was the default: so the model keeps what it knows (measured on generated houses with a
# tiny base only). Merge with notebook 3 into a new folder, and judge both merged models side by side with notebook 4:
# the second one should keep more of the rules that were chosen for, parse as often, and lose little elsewhere. If it
# does not, the first one is still there. The first page:

# %%
from pathlib import Path

from housebrain_core.display import Page

Page((Path(settings.splits_output) / "handouts" / "split_01.md").read_text(encoding="utf-8"))
