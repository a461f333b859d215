# %% [markdown] tags=["local"]
# # 2. Train one split
#
# Trains a LoRA adapter on one split: a small set of weights beside a base model that is loaded in 4 bits.
# It saves as it goes. When it is interrupted, run the notebook again with the same settings: it goes on
# where it was.

# %% [markdown] tags=["kaggle"]
# # HouseBrain: train one split on Kaggle
#
# Six actions to a running notebook:
#
# 1. kaggle.com > Create > New Notebook, then File > Import Notebook: this file.
# 2. Panel on the right, Session options: Accelerator **GPU T4 x2**.
# 3. Below it: Internet **on** (needs a verified phone number).
# 4. Add Input > Upload > New Dataset: your `split_NN.zip`.
# 5. In the next cell: your `split_id`, and `rehearsal = True` the first time.
# 6. **Run All.** The rehearsal takes five minutes.
#
# After the rehearsal: `rehearsal = False`, and **Save Version > Save & Run All**. It goes on with the browser closed,
# saves as it goes, and when its time is over its last lines say how to go on. One person, one account.

# %% [markdown] tags=["colab"]
# # HouseBrain: train one split on Colab
#
# Five actions to a running notebook:
#
# 1. colab.research.google.com > Upload: this file.
# 2. Runtime > Change runtime type > **T4 GPU**.
# 3. Folder symbol on the left: drag your `split_NN.zip` into the list.
# 4. In the next cell: your `split_id`, and `rehearsal = True` the first time.
# 5. **Runtime > Run all**, and say yes when Drive asks. The rehearsal takes five minutes.
#
# After the rehearsal: `rehearsal = False`, and Run all again. Keep the tab open: free Colab ends sessions that nobody
# looks at. Checkpoints are copied to your Drive; when the session ends, Run all goes on from there. One person, one
# account.

# %% tags=["parameters", "local"]
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

# %% tags=["parameters", "kaggle"]
# @title 1. Settings
split_id = 1  # @param {type:"integer"}
rehearsal = False  # @param {type:"boolean"}
bundle = ""  # @param {type:"string"}
base_model = "Qwen/Qwen2.5-Coder-1.5B"  # @param {type:"string"}
epochs = 2  # @param {type:"integer"}
learning_rate = 0.0002  # @param {type:"number"}
gradient_accumulation_steps = 16  # @param {type:"integer"}
row_length = 2048  # @param {type:"integer"}
lora_r = 8  # @param {type:"integer"}
max_steps = 0  # @param {type:"integer"}
save_steps = 200  # @param {type:"integer"}
seed = 42  # @param {type:"integer"}
load_in_4bit = True  # @param {type:"boolean"}
time_budget_hours = 0.0  # @param {type:"number"}
require_gpu = True  # @param {type:"boolean"}

# %% tags=["parameters", "colab"]
# @title 1. Settings
split_id = 1  # @param {type:"integer"}
rehearsal = False  # @param {type:"boolean"}
bundle = ""  # @param {type:"string"}
base_model = "Qwen/Qwen2.5-Coder-1.5B"  # @param {type:"string"}
epochs = 2  # @param {type:"integer"}
learning_rate = 0.0002  # @param {type:"number"}
gradient_accumulation_steps = 16  # @param {type:"integer"}
row_length = 2048  # @param {type:"integer"}
lora_r = 8  # @param {type:"integer"}
max_steps = 0  # @param {type:"integer"}
save_steps = 200  # @param {type:"integer"}
seed = 42  # @param {type:"integer"}
load_in_4bit = True  # @param {type:"boolean"}
time_budget_hours = 0.0  # @param {type:"number"}
drive_folder = "housebrain"  # @param {type:"string"}
require_gpu = True  # @param {type:"boolean"}

# %% [markdown] tags=["kaggle"]
# An empty `bundle` is searched for. `max_steps = 0` trains all epochs. `time_budget_hours = 0` means 8.5 hours: Kaggle
# ends a session after 12 at most. The settings are checked first.

# %% [markdown] tags=["colab"]
# An empty `bundle` is searched for. `max_steps = 0` trains all epochs. `time_budget_hours = 0` means 11 hours: Colab
# ends a session after 12 at most. `drive_folder` lies in My Drive; empty for no copies. The settings are checked first.

# %% tags=["kaggle", "colab"] jupyter={"source_hidden": true} cellView="form" _kg_hide-input=true
# @title 2. Check the settings
import ast
import difflib

from IPython import get_ipython

EXPECTED = {
    "split_id": int, "rehearsal": bool, "bundle": str, "base_model": str, "epochs": int, "learning_rate": float,
    "gradient_accumulation_steps": int, "row_length": int, "lora_r": int, "max_steps": int, "save_steps": int,
    "seed": int, "load_in_4bit": bool, "time_budget_hours": float, "require_gpu": bool,
}  # fmt: skip
EXPECTED |= {"drive_folder": str} if "drive_folder" in globals() else {}  # not on every platform


class SettingsError(Exception):
    """Settings that cannot be used; only its message is shown."""

    def _render_traceback_(self):
        return [str(self)]


problems = []
for name, kind in EXPECTED.items():
    value = globals()[name]
    if type(value) is not kind and not (kind is float and type(value) is int):
        problems.append(f"{name} = {value!r}: this has to be {kind.__name__}, not {type(value).__name__}")
given = [cell for cell in get_ipython().user_ns["In"] if cell.startswith("# Parameters")]  # by papermill
for cell in given[-1:]:
    for line in ast.parse(cell).body:
        name = line.targets[0].id
        if name not in EXPECTED:
            near = difflib.get_close_matches(name, EXPECTED, 1, 0.5) or [", ".join(EXPECTED)]
            problems.append(f"{name}: there is no such setting. Did you mean {near[0]}?")
if problems:
    raise SettingsError("These settings cannot be used; change them and run all again:\n- " + "\n- ".join(problems))

# %% [markdown] tags=["kaggle", "colab"]
# The code, as files of the package `housebrain_core`; it is collapsed, and readable with a click.

# %% tags=["kaggle", "colab"] jupyter={"source_hidden": true} cellView="form" _kg_hide-input=true
# @title 3. A folder for the code
import sys
import tempfile
from pathlib import Path

code_folder = tempfile.mkdtemp(prefix="housebrain_code_")
Path(code_folder, "housebrain_core").mkdir()
sys.path.insert(0, code_folder)

# %% tags=["embed", "kaggle", "colab"]

# %% [markdown] tags=["kaggle", "colab"]
# Can this session train? Nothing has been downloaded yet.

# %% tags=["kaggle", "colab"]
from housebrain_core.cloud.doctor import check_machine

platform = check_machine(base_model, require_gpu)

# %% [markdown] tags=["kaggle", "colab"]
# The libraries, in versions that fit together. torch and numpy stay as the platform has them.

# %% tags=["kaggle", "colab"]
from housebrain_core.cloud.install import install_libraries

install_libraries(platform)

# %% [markdown] tags=["kaggle", "colab"]
# The data: every file is compared with the bundle's manifest. An earlier run is looked for and brought back.

# %% tags=["kaggle", "colab"]
from housebrain_core.cloud import session as cloud
from housebrain_core.platforms import TIME_BUDGET_HOURS, WORKING
from housebrain_core.splits.bundle import read_bundle

cloud.use_token(platform)
drive = cloud.mount_drive(globals().get("drive_folder", ""), platform)
dataset_path = cloud.find_bundle(split_id, bundle, platform, drive)
print(f"{dataset_path}: {read_bundle(dataset_path).manifest['counts']['train']} samples, whole and unchanged")
name = f"hb-{platform}-{split_id:02d}" + ("-rehearsal" if rehearsal else "")
output = WORKING[platform] / name
cloud.bring_back(output, platform, drive)

# %% [markdown] tags=["local"]
# The settings are checked before anything is loaded. `base_model = "tiny"` is the demo's own small model.

# %% tags=["local"]
from pathlib import Path

from IPython.display import Markdown

from housebrain_core import plots
from housebrain_core.config import FineTuningConfig
from housebrain_core.errors import ConfigError
from housebrain_core.splits.parts import read_splits
from housebrain_core.train import HouseBrainFineTuner
from housebrain_core.train.run import describe_run
from housebrain_core.train.tiny import tiny_base

parts = {part.split_id: part for part in read_splits(Path(splits_folder))}
if split_id not in parts:
    raise ConfigError(f"split_id = {split_id}: {splits_folder} has the splits {', '.join(map(str, parts))}.")
part = parts[split_id]
config = FineTuningConfig(
    dataset_path=Path(splits_folder) / part.bundle,
    output_dir=Path(models_folder) / part.adapter,
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

# %% [markdown] tags=["local"]
# Training. Each line gives the loss in nats per token, the speed, and the time left.

# %% tags=["local"]
result = HouseBrainFineTuner(config).train()

# %% [markdown] tags=["local"]
# The loss falls steeply while the model learns the form of a design, then slowly while it learns what is in it.

# %% tags=["local"]
plots.loss_curves({part.adapter: result.curve})

# %% [markdown] tags=["kaggle", "colab"]
# Training. Each line gives the loss in nats per token, the speed, and the time left. All GPUs are
# used. A rehearsal is stopped after its first checkpoint and goes on from there,
# as a real run would after an interruption.

# %% tags=["kaggle", "colab"]
from housebrain_core.settings import FineTuningConfig
from housebrain_core.train import HouseBrainFineTuner
from housebrain_core.train.run import describe_run

config = FineTuningConfig(
    dataset_path=dataset_path,
    output_dir=output,
    base_model=base_model,
    epochs=epochs,
    learning_rate=learning_rate,
    gradient_accumulation_steps=gradient_accumulation_steps,
    row_length=row_length,
    lora_r=lora_r,
    max_steps=20 if rehearsal else max_steps or None,
    save_steps=10 if rehearsal else save_steps,
    seed=seed,
    load_in_4bit=load_in_4bit,
    time_budget_hours=time_budget_hours or TIME_BUDGET_HOURS[platform],
)
with cloud.DriveCopies(output, drive):
    result = HouseBrainFineTuner(config, cloud.interrupt_at_checkpoint if rehearsal else print).train()
    if rehearsal and not result.finished:
        result = HouseBrainFineTuner(config).train()

# %% [markdown] tags=["kaggle", "colab"]
# The loss falls steeply while the model learns the form of a design, then slowly while it learns what is in it.

# %% tags=["kaggle", "colab"]
from IPython.display import Markdown
from matplotlib import pyplot

steps, losses = zip(*result.curve, strict=True)
pyplot.figure(figsize=(7, 4))
pyplot.plot(steps, losses)
pyplot.axhline(
    result.validation_loss, linestyle="--", label=f"validation loss at the end: {result.validation_loss:.3f}"
)
pyplot.xlabel("step")
pyplot.ylabel("training loss (nats per token)")
pyplot.legend()
pyplot.show()

# %%
Markdown(describe_run(result))

# %% tags=["kaggle", "colab"]
from housebrain_core.cloud import next_steps

archive = None
if result.finished:
    archive, sha256 = next_steps.pack(output, WORKING[platform])
    print(f"{archive.name}: {archive.stat().st_size / 1e6:.1f} MB, sha256 {sha256}")
Markdown(next_steps.what_next(split_id, archive, platform, drive, rehearsal))

# %% [markdown] tags=["local"]
# **Next:** when the adapters of all splits lie in `models_folder`, merge them with notebook 3.
