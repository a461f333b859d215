# %% [markdown]
# # 3. Merge the adapters
#
# Makes one adapter of many: the exact mean of their updates, computed straight from the files in seconds,
# without the base model. Then it loads the base model once and measures whether merging was better than the
# best single adapter. Where training is planned in legs, it ends the leg.

# %% [markdown]
# ## Settings

# %% tags=["parameters"]
# Written by build_notebooks.py from housebrain_core/parameters/settings.py.

# %% [markdown]
# ## Check
#
# The settings are checked first. Relative paths start in the project's folder, which the next cell names.

# %%
from housebrain_core.parameters import MergeSettings, check_settings
from housebrain_core.project import check_inputs, enter_project, find_adapters

settings = check_settings(MergeSettings, globals())
enter_project()
models = find_adapters(settings.models_folder)
if settings.run_validation:
    check_inputs("splits_folder", settings.splits_folder, "Run notebook 1 first, or set run_validation = False.")

# %% [markdown]
# ## What came back
#
# The adapters are untrusted input until they are checked: whole, finite, from the same base model, each split once.
# Folders and zips are read alike. Expect a line per adapter with the verdict *ok*, and no missing split;
# with a plan of legs, those of earlier legs are named as such.

# %%
from housebrain_core import InspectConfig
from housebrain_core.adapters import draw_inspection, inspect_adapters

inspection = inspect_adapters(InspectConfig(models=models))

# %% [markdown]
# Updates of alike splits point the same way: expect cosines well above zero off the diagonal. A row that is pale or
# red is a bad run. The spectrum says how many directions the mean needs. An adapter's *rank* is how many it can move a
# layer in: where the spectrum falls steeply, a low rank is enough.

# %%
from pathlib import Path

from housebrain_core.display import show

show(*draw_inspection(inspection).values())

# %% [markdown]
# ## Merging
#
# `rank = "full"` loses nothing; `"auto"` is the smallest rank that keeps 99.9 % of the energy. With validation, the
# base model is loaded once, every split and the other strategies are measured beside the chosen one, and it is said
# whether merging was better than the best split.
#
# Splits that were cut with `rounds` or `relay` have a plan of legs. There this cell ends the leg when all of its
# adapters have come, and writes what everybody trains on next; before that it says who is missing. Run it again
# whenever something comes: what was merged already is left as it is.

# %%
from housebrain_core.merge import merge_adapters
from housebrain_core.rounds import run_round
from housebrain_core.splits import find_plan

if find_plan(settings.splits_folder):
    result = run_round(settings.round_config(models))
    merged = result.model
else:
    result = merge_adapters(settings.config(models))
    merged = settings.output

# %% [markdown]
# ## Look
#
# What it comes to: whether the merge or the best split is better, by how much, whether another way to merge would have
# been better, and what to do now. The loss is in *nats* per token, lower is better: minus the natural logarithm of the
# share that a model gives to the right token. `merged` is what was written; `ab-average` is what averaging A and B
# apart would have given. With a plan, the picture shows every leg so far.

# %%
result

# %% [markdown]
# One house: the first brief of the validation sample, as the base model draws it, as the merged model draws it, and as
# the dataset has it.

# %%
from housebrain_core.evaluate import draw_first_house

if merged and settings.run_validation:
    show(draw_first_house(Path(merged), Path(settings.splits_folder), settings.base_model or None, "merged"))

# %% [markdown]
# ## Take home
#
# **Next:** with a plan, what the last line says. Else judge the merged model with notebook 4. What was merged, and what
# it cost, is in `merge.json`; the state of a plan is in `rounds/rounds.json`.
