# %% [markdown] tags=["local"]
# # 2. Train one split
#
# Trains a LoRA adapter on one split: a small set of weights beside a base model that is loaded in 4 bits.
# It saves as it goes. When it is interrupted, run the notebook again with the same settings: it goes on
# where it was. In a plan of several legs it trains the leg whose turn it is, from `rounds/leg_N.zip`.
#
# Only trying, without a GPU? `base_model = "tiny"`, `learning_rate = 8e-3`, `epochs = 20`: a minute.

# %% [markdown] tags=["kaggle"]
# # HouseBrain: train one split on Kaggle
#
# Six actions to a running notebook:
#
# 1. kaggle.com > Create > New Notebook, then File > Import Notebook: this file.
# 2. Panel on the right, Session options: Accelerator **GPU T4 x2**.
# 3. Below it: Internet **on** (needs a verified phone number).
# 4. Add Input > Upload > New Dataset: your `split_NN.zip`.
# 5. Under Settings: your `split_id`.
# 6. **Run All.** This is the rehearsal: five minutes, in which it trains 20 steps, and stops and resumes on purpose.
#
# After it: **Save Version > Save & Run All** trains for real, without an edit. It goes on with the browser closed,
# saves as it goes, and when its time is over its last lines say how to go on. When you are sent a `leg_N.zip` with its
# notebook, add the file as you added the bundle, import the notebook here as in 1, and Save & Run All again: no setting
# changes. One person, one account.

# %% [markdown] tags=["colab"]
# # HouseBrain: train one split on Colab
#
# Five actions to a running notebook:
#
# 1. colab.research.google.com > Upload: this file.
# 2. Runtime > Change runtime type > **T4 GPU**.
# 3. Folder symbol on the left: drag your `split_NN.zip` into the list.
# 4. Under Settings: your `split_id`.
# 5. **Runtime > Run all**, and say yes when Drive asks. This is the rehearsal: five minutes, in which it trains 20
#    steps, and stops and resumes on purpose.
#
# After it: `rehearsal = False`, and Run all again. Keep the tab open: free Colab ends sessions that nobody
# looks at. Checkpoints are copied to your Drive; when the session ends, Run all goes on from there. When you are sent a
# `leg_N.zip` with its notebook, upload that notebook, drag the file into the list beside the bundle, and Run all: no
# setting changes. One person, one account.

# %% [markdown]
# ## Settings

# %% tags=["parameters"]
# Written by build_notebooks.py from housebrain_core/parameters/settings.py.

# %% [markdown] tags=["kaggle"]
# `time_budget_hours = 0` means 8.5 hours: Kaggle ends a session after 12 at most. `gpus = 1` leaves a second GPU idle.

# %% [markdown] tags=["colab"]
# `time_budget_hours = 0` means 11 hours: Colab ends a session after 12 at most.

# %% [markdown] tags=["kaggle", "colab"]
# ## Check
#
# The code comes with the bundle, `split_NN.zip`, and with every `leg_N.zip`. The next cell, collapsed, looks for it and
# takes it only if it is the code that this notebook was built with: they belong together.

# %% tags=["kaggle"] jupyter={"source_hidden": true} cellView="form" _kg_hide-input=true
# @title 2. Find the bundle and the code in it
import hashlib
import json
import sys
import time
import zipfile
from pathlib import Path

code_sha256 = ""  # its code; developers may change it
BundleError = type("BundleError", (Exception,), {"_render_traceback_": lambda error: [str(error)]})
click = "This notebook's split_NN.zip is not here. Add Input > Datasets > your upload; after a minute, Run all."
place = Path(str(bundle or "../input")).resolve()
for _ in range(30):  # an input may take a minute to appear
    paths = [place, *place.rglob("split_*.zip"), *(path.parent for path in place.rglob("train.parquet"))]
    if bundle or len(paths) > 1:
        break
    time.sleep(2)
home = Path("../input").resolve()
paths += [*home.rglob("leg_*.zip"), *(path.parent for path in home.rglob("init"))]

# %% tags=["colab"] jupyter={"source_hidden": true} cellView="form" _kg_hide-input=true
# @title 2. Find the bundle and the code in it
import contextlib
import hashlib
import json
import sys
import time
import zipfile
from pathlib import Path

code_sha256 = ""  # its code; developers may change it
BundleError = type("BundleError", (Exception,), {"_render_traceback_": lambda error: [str(error)]})
click = "This notebook's split_NN.zip is not here. Folder symbol on the left: drag it into the list, then Run all."
place = Path(str(bundle or ".")).resolve()
if drive_folder and not (place.exists() if bundle else any(place.glob("split_*"))):
    from google.colab import drive, errors

    with contextlib.suppress(errors.Error, OSError, ValueError, NotImplementedError):  # refused
        drive.mount("/content/drive")
paths = [place, *place.glob("split_*"), *Path.cwd().glob("leg_*"), *Path("drive/MyDrive", drive_folder).glob("*_*")]

# %% tags=["continues", "kaggle", "colab"]
candidates = {}
for path in paths:
    try:
        while path.is_file() and not zipfile.is_zipfile(path) and time.time() - path.stat().st_mtime < 60:
            time.sleep(2)  # it is being uploaded
        inside = [top := zipfile.Path(path) if path.is_file() else path, *top.iterdir()]
        inside += [two for one in inside[1:] if path.is_file() and one.is_dir() for two in one.iterdir()]
        manifest = max((one / "manifest.json" for one in inside), key=lambda one: one.is_file())
        files = {name: (manifest.parent / name).open().read(10**6) for name in json.loads(manifest.read_text())["code"]}
        candidates[f"{path}: code {hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()}"] = files
    except Exception as bad:  # it is no bundle, whatever it is
        candidates[f"{path}: no whole bundle of this version; upload it as it was sent ({bad!r})"] = {}
code = next((files for name, files in candidates.items() if name.endswith(f": code {code_sha256}")), {})
if not code:
    raise BundleError("\n".join([f"{click} Here is:", *candidates, *map(str, place.glob("*"))]))
folder = Path.home() / f".housebrain_{code_sha256[:12]}_{time.time_ns()}"
for name, text in code.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
for name in [name for name in sys.modules if name.partition(".")[0] == "housebrain_core"]:
    del sys.modules[name]
sys.path.insert(0, str(folder))

# %% [markdown] tags=["local"]
# ## Check
#
# The settings are checked before anything is loaded. Relative paths start in the project's folder, which the next cell
# names.

# %% tags=["local"]
from housebrain_core.parameters import LocalTrainSettings, check_settings
from housebrain_core.project import check_inputs, enter_project

settings = check_settings(LocalTrainSettings, globals())
enter_project()
check_inputs("splits_folder", settings.splits_folder, "Run notebook 1 first.")

# %% tags=["kaggle"]
# @title 3. Check the settings
from housebrain_core.cloud import choose_inputs
from housebrain_core.parameters import KaggleTrainSettings, check_settings

settings = check_settings(KaggleTrainSettings, globals())
inputs = choose_inputs(settings.split_id, paths, settings.bundle, settings.leg)

# %% tags=["colab"]
# @title 3. Check the settings
from housebrain_core.cloud import choose_inputs
from housebrain_core.parameters import ColabTrainSettings, check_settings

settings = check_settings(ColabTrainSettings, globals())
inputs = choose_inputs(settings.split_id, paths, settings.bundle, settings.leg)

# %% [markdown] tags=["kaggle", "colab"]
# Can this session train? Nothing has been downloaded yet.

# %% tags=["kaggle", "colab"]
from housebrain_core.cloud import check_machine

platform = check_machine(settings.base_model, settings.require_gpu)

# %% [markdown] tags=["kaggle", "colab"]
# ## Install
#
# The libraries, in versions that fit together. torch and numpy stay as the platform has them.

# %% tags=["kaggle", "colab"]
from housebrain_core.cloud import install_libraries

install_libraries(platform)

# %% [markdown] tags=["kaggle", "colab"]
# ## Data
#
# An earlier run is looked for and brought back.

# %% tags=["kaggle", "colab"]
from housebrain_core.cloud import bring_back, mount_drive, use_token

use_token(platform)
drive = mount_drive(settings.drive, platform)
output = bring_back(settings.adapter_name(inputs.place), platform, drive)

# %% [markdown] tags=["local"]
# ## Data
#
# The split, and where its adapter comes to lie.

# %% tags=["local"]
from pathlib import Path

from housebrain_core.splits import adapter_in_leg, find_inputs, read_split

part = read_split(Path(settings.splits_folder), settings.split_id)
inputs = find_inputs(Path(settings.splits_folder, part.bundle), Path("rounds").glob("leg_*.zip"))
config = settings.config(inputs, Path(settings.models_folder, adapter_in_leg(part.adapter, inputs.place)))

# %% [markdown] tags=["local"]
# ## Train
#
# The picture updates a few times a minute: how far it is, the loss in nats per token, what is saved.

# %% tags=["local"]
from housebrain_core.train import HouseBrainFineTuner

result = HouseBrainFineTuner(config).train()

# %% [markdown] tags=["kaggle", "colab"]
# ## Train
#
# The picture updates a few times a minute. All GPUs are used. A rehearsal is
# stopped after its first checkpoint and goes on from there, as a real run would after an interruption.

# %% tags=["kaggle", "colab"]
from housebrain_core.cloud import DriveCopies, interrupt_at_checkpoint
from housebrain_core.train import HouseBrainFineTuner

config = settings.config(inputs, output)
with DriveCopies(output, drive):
    if settings.rehearses:
        HouseBrainFineTuner(config, interrupt_at_checkpoint()).train()
    result = HouseBrainFineTuner(config).train()

# %% [markdown]
# ## Look
#
# The loss falls steeply while the model learns the form of a design, then slowly while it learns what is in it. A nat
# is the unit of loss: 0.7 nats per token are one guess between two equally likely tokens.

# %%
from housebrain_core.display import draw_training

draw_training(config.output_dir)

# %% [markdown]
# One house: the first brief of the validation sample, which everybody has, as the base model draws it, as this
# adapter draws it, and as the dataset has it. What is wrong with a drawing is red.

# %%
from housebrain_core.evaluate import draw_first_house

draw_first_house(config.output_dir, config.dataset_path, config.base_model)

# %%
from housebrain_core.adapters import describe_run
from housebrain_core.display import Page

Page(describe_run(result))

# %% [markdown] tags=["kaggle", "colab"]
# ## Take home
#
# The adapter to take home, or how to go on.

# %% tags=["kaggle", "colab"]
from housebrain_core.cloud import what_next, zip_adapter

archive = zip_adapter(output) if result.finished else None
after = result.why_it_ended
Page(what_next(settings.split_id, archive, platform, drive, settings.rehearses, result.why_it_ended, inputs.place))

# %% [markdown] tags=["local"]
# ## Take home
#
# **Next:** when the adapters of all splits lie in `models_folder`, merge them with notebook 3. In a plan of several
# legs, the last line above says what comes next.
