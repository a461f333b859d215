# %% [markdown]
# # 3. Merge the adapters
#
# Makes one adapter of many: the exact mean of their updates, computed straight from the files in seconds,
# without the base model. Then it loads the base model once and measures whether merging was better than the
# best single adapter.

# %% tags=["parameters"]
# Written by build_notebooks.py from housebrain_core/notebook_settings.py.

# %%
from housebrain_core.notebook_settings import MergeSettings, check_settings

settings = check_settings(MergeSettings, globals())

# %% [markdown]
# ## What came back
#
# The adapters are untrusted input until they are checked: whole, finite, from the same base model, each split once.
# Folders and zips are read alike. Expect a line per adapter with the verdict *ok*, and no missing split.

# %%
from pathlib import Path

from IPython.display import display
from matplotlib_inline.backend_inline import set_matplotlib_formats

from housebrain_core import plots
from housebrain_core.adapters.inspection import inspect_adapters
from housebrain_core.config import InspectConfig
from housebrain_core.merge.merge import merge_adapters

set_matplotlib_formats("png")  # figures are made without pyplot, so the notebook has to be told how to show them
folders = sorted(path.parent for path in Path(settings.models_folder).glob("hb-*/adapter_config.json"))
folders += sorted(Path(settings.models_folder).glob("hb-*.zip"))
inspection = inspect_adapters(InspectConfig(models=folders))
print(inspection)

# %% [markdown]
# Updates of alike splits point the same way: expect cosines well above zero off the diagonal. A row that is pale or
# red is a bad run. The spectrum says how many directions the mean needs; where it falls steeply, a low rank is enough.

# %%
for figure in inspection.figures().values():
    display(figure)

# %% [markdown]
# ## Merging
#
# `rank = "full"` loses nothing; `"auto"` is the smallest rank that keeps 99.9 % of the energy. With validation, the
# base model is loaded once, every split and the other strategies are measured beside the chosen one, and the last
# line says whether merging was better than the best split.

# %%
result = merge_adapters(settings.config(folders))

# %%
plots.spectrum({"merged": result.spectrum}, rank=result.rank)

# %%
plots.loss_bars(result.validation.losses) if result.validation else None

# %% [markdown]
# `merged` is the chosen strategy as it was written; `ab-average` is what averaging A and B apart would have given.
#
# **Next:** judge the merged model with notebook 4. What was merged, and what it cost, is in `merge.json`.
