# %% [markdown]
# # 4. Evaluate
#
# Generates designs for validation briefs and judges them: do they parse, are they designs, which rule checks do
# they keep. The reference's own score stands beside the model's, because real references break many rules.

# %% [markdown]
# ## Settings

# %% tags=["parameters"]
# Written by build_notebooks.py from housebrain_core/parameters/settings.py.

# %% [markdown]
# ## Check
#
# `models` may name several folders: adapters, merged adapters, whole models. `limits` are the numbers of the rule
# checks: "NBC", "IRC", or a JSON file with your own, such as `{"coverage": [0.5, "share of the plot", "our town"]}`.
# Relative paths start in the project's folder, which the next cell names.

# %%
from housebrain_core.parameters import EvaluateSettings, check_settings
from housebrain_core.project import check_inputs, enter_project

config = check_settings(EvaluateSettings, globals()).config()
enter_project()
check_inputs("models", config.models, "Merge with notebook 3 first, or name other models.")
check_inputs("data", config.data, "Run notebook 1 first, or name a dataset.")

# %% [markdown]
# ## Judging
#
# A figure and a page for every model; answers are kept as they come, so that an interrupted run goes on where it was.

# %%
from housebrain_core.display import link, show
from housebrain_core.evaluate import evaluate_models, report_path, show_evaluation

evaluation = evaluate_models(config)

# %% [markdown]
# ## Look
#
# What it comes to, in four sentences, and the figures behind them. The loss is in *nats* per token: minus the natural
# logarithm of the share that a model gives to the right token. 0 is certainty; 0.1 less gives it a tenth more.
# Rules that designs break are coloured, the worst first. The page has all of it, and opens offline.

# %%
show_evaluation(evaluation)
show(link(report_path(config.output), "Every model, rule and design, to read and to forward"))

# %% [markdown]
# One design of the last model, drawn; what a model for other data than houses answers is shown as text.

# %%
from housebrain_core.house import DesignError, floor_plan, read_prompt
from housebrain_core.llm import HouseBrainLLM, read_answer
from housebrain_core.splits import read_validation

llm = HouseBrainLLM(config.models[-1], config.base_model, config.load_in_4bit)
brief = read_prompt(read_validation(config.data, 1)[0].prompt)
try:
    design = read_answer(brief, llm.answer([brief])[0])
    show(floor_plan(design, llm.name) if isinstance(design, dict) else design)
except DesignError as error:
    show(f"the answer is no design ({error.kind}): {error}")

# %% [markdown]
# ## Take home
#
# **Next:** what the last of the four sentences says. To share the result, send `report.html`.
