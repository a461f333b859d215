# %% [markdown]
# # 4. Evaluate
#
# Generates designs for validation briefs and judges them: do they parse, are they designs, which rule checks do
# they keep. The reference's own score stands beside the model's, because real references break many rules.

# %% tags=["parameters"]
# Written by build_notebooks.py from housebrain_core/notebook_settings.py.

# %% [markdown]
# `models` may name several folders: adapters, merged adapters, whole models. `limits` are the numbers of the rule
# checks: "NBC", "IRC", or a JSON file with your own, such as `{"coverage": [0.5, "share of the plot", "our town"]}`.

# %%
from housebrain_core.notebook_settings import EvaluateSettings, check_settings

config = check_settings(EvaluateSettings, globals()).config()

# %%
from IPython.display import Markdown, display

from housebrain_core import plots
from housebrain_core.evaluate.evaluate import evaluate_models
from housebrain_core.house import codec, drawing
from housebrain_core.house.codec import DesignError
from housebrain_core.llm import HouseBrainLLM
from housebrain_core.splits.bundle import read_validation

result = evaluate_models(config)

# %% [markdown]
# The same figures as in `report.html`, which lies beside `evaluation.json` and opens offline.

# %%
floors = {model["floor_nats_per_token"] for model in result["models"].values()}
losses = {name: model["loss_nats_per_token"] for name, model in result["models"].items()}
plots.loss_bars(losses, floors.pop() if len(floors) == 1 else None)

# %%
plots.rate_bars({name: model["rates"] for name, model in result["models"].items()})

# %% [markdown]
# Rule checks, passed of applicable, the reference first.

# %%
columns = {"reference": result["reference"], **result["models"]}
lines = ["| rule | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
for rule in result["reference"]["rules"]:
    scores = [column["rules"][rule] for column in columns.values()]
    cells = [f"{score['passed']} of {score['applicable']}" if score["applicable"] else "-" for score in scores]
    lines.append(f"| {rule} | " + " | ".join(cells) + " |")
Markdown("\n".join(lines))

# %% [markdown]
# One design of the last model, drawn.

# %%
llm = HouseBrainLLM(config.models[-1], config.base_model, config.load_in_4bit)
brief = codec.read_prompt(read_validation(config.data, 1)[0].prompt)
try:
    design = llm.generate_design(brief)
    display(drawing.floor_plan(design, llm.name))
except DesignError as error:
    print(f"the answer is no design ({error.kind}): {error}")

# %% [markdown]
# **Next:** a model with a low parse rate needs more training, or constrained decoding.
