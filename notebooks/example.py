# %% [markdown]
# # HouseBrain, from a dataset to one merged model
#
# This page was executed on a computer without a GPU: generated house designs, a base model of half a million
# parameters, three splits. The steps and the code are those of a real run, 4-bit training included; there, three
# people train a model of billions of parameters, each in a notebook of their own.

# %% tags=["parameters"]
samples = 300
splits = 3
designs = 16
epochs = 3
learning_rate = 0.006

# %%
from pathlib import Path

from IPython.display import Markdown, display
from matplotlib_inline.backend_inline import set_matplotlib_formats

from housebrain_core import plots
from housebrain_core.data.samples import read_samples
from housebrain_core.house import codec, drawing
from housebrain_core.house.synthetic import write_dataset

set_matplotlib_formats("png")
write_dataset(Path("dataset"), samples, 96)
sample = next(read_samples(Path("dataset"), "train"))
example = codec.encode(sample)
print(example.prompt, example.completion, sep="\n")

# %% [markdown]
# That is one sample as a model sees it: a brief, and the design as compact JSON without what code can derive. Drawn:

# %%
drawing.floor_plan(sample["output"], "a reference design")

# %% [markdown]
# ## Split
#
# One bundle per person, a few kilobytes each here; the validation sample is the same in all.

# %%
from housebrain_core.config import SplitConfig
from housebrain_core.splits.split import split_dataset

summary = split_dataset(SplitConfig(source="dataset", output="housebrain_splits", splits=splits, validation_samples=96))

# %% [markdown]
# ## Train
#
# One LoRA adapter per split, on a base model in 4 bits. In a real project each of these is a notebook on Kaggle or
# Colab.

# %%
from housebrain_core.config import FineTuningConfig
from housebrain_core.train import HouseBrainFineTuner
from housebrain_core.train.tiny import tiny_base

base = tiny_base(report=lambda line: None)
results = {}
for part in summary["parts"]:
    config = FineTuningConfig(
        dataset_path=Path("housebrain_splits") / part["bundle"],
        output_dir=Path("models") / part["adapter"],
        base_model=str(base),
        epochs=epochs,
        learning_rate=learning_rate,
        gradient_accumulation_steps=1,
        row_length=512,
    )
    result = HouseBrainFineTuner(config, report=lambda line: None).train()
    results[part["adapter"]] = result
    print(f"{part['adapter']}: {result.steps} steps, {result.tokens:,} tokens, {result.why_it_ended}")

# %% [markdown]
# The loss falls steeply while a model learns the form of a design, then slowly while it learns what is in it.

# %%
plots.loss_curves({name: result.curve for name, result in results.items()})

# %% [markdown]
# ## Inspect
#
# What comes back from people is untrusted until it was checked. Adapters of alike splits point the same way: the
# cosines off the diagonal are far above zero. A pale row would be a bad run.

# %%
from housebrain_core.adapters.inspection import inspect_adapters
from housebrain_core.config import InspectConfig

adapters = [Path("models") / name for name in results]
inspection = inspect_adapters(InspectConfig(models=adapters))
for figure in inspection.figures().values():
    display(figure)

# %% [markdown]
# ## Merge
#
# The exact mean of the updates, computed from the files, without the base model.

# %%
from housebrain_core.config import MergeConfig
from housebrain_core.merge.merge import merge_adapters

merged = merge_adapters(MergeConfig(models=adapters, output="models/housebrain-merged"))

# %% [markdown]
# ## Evaluate
#
# The same briefs for every model. The reference's own score stands beside them, because references break rules too.

# %%
from housebrain_core.config import EvaluateConfig
from housebrain_core.evaluate.evaluate import evaluate_models

models = [base, *adapters, Path("models/housebrain-merged")]
evaluation = evaluate_models(
    EvaluateConfig(models=models, data="housebrain_splits", base_model=str(base), load_in_4bit=True, samples=designs),
    report=lambda line: None,
)
lines = ["| model | loss, nats per token | designs parse | rule checks passed |", "|---|---|---|---|"]
lines.append(f"| reference designs | | | {evaluation['reference']['rule_score']:.1%} |")
for name, row in evaluation["models"].items():
    score = "-" if row["rule_score"] is None else f"{row['rule_score']:.1%}"
    shown = "base model" if name == base.name else name
    lines.append(f"| {shown} | {row['loss_nats_per_token']:.4f} | {row['rates']['strict_parse']:.0%} | {score} |")
Markdown("\n".join(lines))

# %%
names = {base.name: "base model"}
losses = {names.get(name, name): row["loss_nats_per_token"] for name, row in evaluation["models"].items()}
plots.loss_bars(losses)

# %%
plots.rate_bars({names.get(name, name): row["rates"] for name, row in evaluation["models"].items()})

# %% [markdown]
# ## A design of the merged model
#
# The first validation brief whose answer parses, drawn from the model's own words.

# %%
from housebrain_core.house.codec import DesignError
from housebrain_core.llm import HouseBrainLLM
from housebrain_core.splits.bundle import read_validation

llm = HouseBrainLLM("models/housebrain-merged", str(base), load_in_4bit=True)
for validation in read_validation(Path("housebrain_splits"), designs):
    try:
        design = llm.generate_design(codec.read_prompt(validation.prompt))
    except DesignError as error:
        print(f"this answer is no design ({error.kind}); the next brief")
    else:
        display(drawing.floor_plan(design, "generated by the merged model"))
        break

# %% [markdown]
# **Next:** `make demo` does this on your computer, and compares with a model trained on everything at once; for your
# own data start with notebook 1.
