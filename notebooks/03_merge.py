# %% [markdown]
# # 3. Merge the adapters
#
# Makes one adapter of many: the exact mean of their updates, computed straight from the files in seconds,
# without the base model. Then it loads the base model once and measures whether merging was better than the
# best single adapter.

# %% tags=["parameters"]
models_folder = "models"
output = "models/housebrain-merged"
strategy = "average"
rank = "auto"
splits_folder = "housebrain_splits"
base_model = ""
run_validation = True
overwrite = False

# %% [markdown]
# The adapters are untrusted input until they are checked: whole, finite, from the same base model, each split once.

# %%
from pathlib import Path

from IPython.display import Markdown

from housebrain_core import plots
from housebrain_core.adapters import read_adapter
from housebrain_core.config import MergeConfig
from housebrain_core.merge import merge_adapters

folders = sorted(path.parent for path in Path(models_folder).glob("hb-*/adapter_config.json"))
config = MergeConfig(
    models=folders,
    output=output,
    strategy=strategy,
    rank=rank,
    run_validation=run_validation,
    data=splits_folder,
    base_model=base_model or None,
    overwrite=overwrite,
)
adapters = [read_adapter(folder) for folder in folders]
rows = [f"| {a.name} | {a.run['samples']:,} | {a.run['tokens']:,} | {a.run['validation_loss']:.4f} |" for a in adapters]
Markdown("\n".join(["| adapter | samples | tokens | validation loss |", "|---|---|---|---|", *rows]))

# %%
plots.loss_curves({adapter.name: adapter.run["curve"] for adapter in adapters})

# %% [markdown]
# Merging. `rank = "full"` loses nothing; `"auto"` is the smallest rank that keeps 99.9 % of the energy.

# %%
result = merge_adapters(config)

# %%
plots.loss_bars(result["validation"]["losses"]) if run_validation else None

# %% [markdown]
# **Next:** judge the merged model with notebook 4. What was merged, and what it cost, is in `merge.json`.
