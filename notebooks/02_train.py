# %% [markdown]
# # 2. Train one split
#
# Trains a LoRA adapter on one split: a small set of weights beside a base model that is loaded in 4 bits.
# It saves as it goes. When it is interrupted, run the notebook again with the same settings: it goes on
# where it was.

# %% tags=["parameters"]
split_id = 1
splits_folder = "housebrain_splits"
models_folder = "models"
base_model = "Qwen/Qwen2.5-Coder-1.5B"
epochs = 2
learning_rate = 0.0002
gradient_accumulation_steps = 16
row_length = 2048
lora_r = 8
max_steps = 0
save_steps = 200
seed = 42
load_in_4bit = True

# %% [markdown]
# The settings are checked before anything is loaded. `base_model = "tiny"` is the demo's own small model.

# %%
from pathlib import Path

from IPython.display import Markdown

from housebrain_core import plots
from housebrain_core.config import FineTuningConfig
from housebrain_core.errors import ConfigError
from housebrain_core.manifests import read_manifest
from housebrain_core.tiny import tiny_base
from housebrain_core.train import HouseBrainFineTuner, describe_adapter

parts = {part["split_id"]: part for part in read_manifest(Path(splits_folder), "splits")["parts"]}
if split_id not in parts:
    raise ConfigError(f"split_id = {split_id}: {splits_folder} has the splits {', '.join(map(str, parts))}.")
part = parts[split_id]
config = FineTuningConfig(
    dataset_path=Path(splits_folder) / part["data"],
    output_dir=Path(models_folder) / part["adapter"],
    base_model=str(tiny_base()) if base_model == "tiny" else base_model,
    epochs=epochs,
    learning_rate=learning_rate,
    gradient_accumulation_steps=gradient_accumulation_steps,
    row_length=row_length,
    lora_r=lora_r,
    max_steps=max_steps or None,
    save_steps=save_steps,
    seed=seed,
    load_in_4bit=load_in_4bit,
)
config

# %% [markdown]
# Training. Each line gives the loss in nats per token, the speed, and the time left.

# %%
result = HouseBrainFineTuner(config).train()

# %% [markdown]
# The loss falls steeply while the model learns the form of a design, then slowly while it learns what is in it.

# %%
plots.loss_curves({part["adapter"]: result.curve})

# %%
Markdown(describe_adapter(result).split("---\n")[-1])

# %% [markdown]
# **Next:** when the adapters of all splits lie in `models_folder`, merge them with notebook 3.
