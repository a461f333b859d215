# %% [markdown]
# # 6. Deploy
#
# Makes a folder of the model that other programs load, and verifies it before it calls it done: the program loads the
# folder by the lines of its card and answers eight briefs as the model does, token by token. At the end the exported
# model answers a brief, and its house is drawn.

# %% [markdown]
# ## Settings

# %% tags=["parameters"]
# Written by build_notebooks.py from housebrain_core/parameters/settings.py.

# %% [markdown]
# ## Check
#
# | format | for whom | needs |
# |---|---|---|
# | `adapter` | PEFT, or vLLM beside its base model; small | nothing more |
# | `full` | transformers | the base model, and as much room on the disk again |
# | `vllm` | vLLM: the same, with the command that serves it | the same |
# | `gguf` | llama.cpp, LM Studio | the extra `gguf`, and the Internet once |
# | `ollama` | Ollama: the same, with a Modelfile | the same |
#
# Relative paths start in the project's folder, which the next cell names.

# %%
from housebrain_core.parameters import DeploySettings, check_settings
from housebrain_core.project import check_inputs, enter_project

config = check_settings(DeploySettings, globals()).config()
enter_project()
check_inputs("model", [config.model], "Merge with notebook 3 first, or name another model.")

# %% [markdown]
# ## Export
#
# Expect a line for each thing that was verified; the folder is written only if its answers are the model's.

# %%
from housebrain_core.export import export_model

exported = export_model(config)

# %% [markdown]
# ## Look
#
# What was verified, what could not be on this computer, and the files.

# %%
exported

# %% [markdown]
# Its card, `README.md` in the folder: how it is used, the prompt, and what base model and dataset allow.

# %%
from housebrain_core.display import Page, show

show(Page((exported.folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2]))

# %% [markdown]
# A question to the exported model, a brief in its short form, and the answer, drawn.

# %%
from housebrain_core.export import ask_export, choose_prompts
from housebrain_core.house import DesignError, floor_plan, read_prompt

prompt = choose_prompts(config)[0][0]
show(f"the question: {prompt}")
brief = read_prompt(prompt)
try:
    design = ask_export(exported.folder, brief, config.base_model)
    show(floor_plan(design, exported.folder.name) if isinstance(design, dict) else design)
except DesignError as error:
    show(f"the answer is no design ({error.kind}): {error}")

# %% [markdown]
# ## Take home
#
# **Next:** send the folder to who serves it, or upload it to the Hugging Face Hub, private unless you say otherwise:
# `housebrain export --model models/housebrain-merged-full --push YOUR_NAME/housebrain`.
