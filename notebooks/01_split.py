# %% [markdown]
# # 1. Split the dataset
#
# Cuts a dataset of house designs into one split per person. Each split becomes a small zip to upload, a
# folder of samples as links to your files, and a page that tells its person what to do.
#
# You need: a folder with `train/*.json` (and `validation/*.json`), or JSONL, CSV or Parquet files.
# You get: `housebrain_splits/`. It takes seconds for thousands of samples, minutes for hundreds of thousands.
#
# No data yet? `make demo` makes 360 houses: `source = "housebrain_demo/dataset"`, `splits = 3`.

# %% [markdown]
# ## Settings

# %% tags=["parameters"]
# Written by build_notebooks.py from housebrain_core/parameters/settings.py.

# %% [markdown]
# ## Check
#
# The settings are checked before anything is read; all problems are reported at once. Relative paths start in the
# project's folder, which the next cell names.

# %%
from housebrain_core.outputs import check_replaceable
from housebrain_core.parameters import SplitSettings, check_settings
from housebrain_core.project import check_inputs, enter_project

config = check_settings(SplitSettings, globals()).config()
enter_project()
check_inputs("source", config.source, "Give the path of your dataset, or of the demo's: housebrain_demo/dataset.")
check_replaceable(config.output, "splits", config.overwrite)

# %% [markdown]
# ## What is in the data
#
# The first sample, drawn: a floor plan, or a card where the design has no rooms; a text is shown as it is.

# %%
from housebrain_core.data import choose_fields, read_samples
from housebrain_core.display import show
from housebrain_core.house import encode, floor_plan

fields = choose_fields(config.input_field, config.output_field)
sample = next(read_samples(config.source, "train", fields=fields))
show(floor_plan(sample["output"], sample["id"]) if isinstance(sample["output"], dict) else sample["output"])

# %% [markdown]
# What a model can learn from all of them, before anyone spends a GPU hour. About a minute for 350,000 samples. *Nats*
# are natural logarithms: a field that takes two values equally often holds 0.69 of them, one of ten values 2.30.

# %%
from housebrain_core import AuditConfig
from housebrain_core.data import audit_dataset, entropy_bars, length_histogram
from housebrain_core.display import link

audit_config = AuditConfig(source=config.source, input_field=config.input_field, output_field=config.output_field)
audit = audit_dataset(audit_config)
show(entropy_bars(audit), length_histogram(audit), link(audit_config.output, "Every field, to read and to forward"))

# %% [markdown]
# The sample above as a model sees it: the brief as a prompt, the design as a completion, without anything that code
# can derive.

# %%
example = encode(sample)
show(example.prompt, example.completion)

# %% [markdown]
# ## The splits
#
# Now the whole dataset. Bad samples are counted and named; above `max_bad` nothing is written.

# %%
from housebrain_core.splits import split_dataset

split_dataset(config)

# %% [markdown]
# How long will training take, and is one merge at the end enough, or do rounds or a relay pay? Hours are a range, until
# a run has measured its own speed; the last table says where each figure comes from. To train in rounds, set `rounds`
# above and split again. `housebrain plan` does the same for other GPUs, base models and numbers of epochs.

# %%
from housebrain_core import PlanConfig
from housebrain_core.rounds import compare_choices

compare_choices(PlanConfig(splits=config.output, gpu="t4"))

# %% [markdown]
# ## Take home
#
# **Next:** send each person `split_NN.zip`, `train_split_NN.ipynb` and their page `handouts/split_NN.md`, or train a
# split on this computer with notebook 2. The command also takes `--owner 4=alice`, for folders that the kaggle
# client uploads. This is the first page:

# %%
from housebrain_core.display import Page

Page((config.output / "handouts" / "split_01.md").read_text(encoding="utf-8"))
