"""What each person gets besides data: a platform, settings, and a page that says what to do."""

from pathlib import Path

from housebrain_core.config import FineTuningConfig


def account_mapping(splits: int) -> dict[int, str]:
    """The guide's mapping: the first half of the splits on Colab, the rest on Kaggle."""
    return {number: "colab" if number <= splits // 2 else "kaggle" for number in range(1, splits + 1)}


def training_configs(entries: list[dict]) -> list[dict]:
    """The settings for each split, as `FineTuningConfig` takes them."""
    defaults = FineTuningConfig(dataset_path=Path("."), output_dir=Path("."))
    names = ("base_model", "batch_size", "gradient_accumulation_steps", "max_length", "epochs", "lora_r", "save_steps")
    return [
        {
            "split_id": entry["split_id"],
            "platform": entry["platform"],
            "dataset_path": entry["data"],
            "output_dir": f"models/{entry['adapter']}",
            **{name: getattr(defaults, name) for name in names},
        }
        for entry in entries
    ]


def write_handout(entry: dict, splits: int) -> str:
    """The page for the person who trains one split."""
    platform = entry["platform"].capitalize()
    unpack = "" if entry["data"] == entry["bundle"] else " Unpack it there; Kaggle does that by itself."
    return f"""# {entry["name"]}: yours to train on {platform}

You train one of {splits} splits of a house-design dataset, by hand, on your own single account.
Please do not open further accounts for more GPU time: Kaggle allows one per person, and Colab forbids it.

| | |
|---|---|
| bundle | `{entry["bundle"]}`, {entry["bundle_bytes"] / 1e6:.1f} MB, {entry["train"]:,} samples |
| its sha256 | `{entry["bundle_sha256"]}` |
| you send back | the folder `models/{entry["adapter"]}` |

1. Upload `{entry["bundle"]}` to {platform}.{unpack}
2. Train: `housebrain train --split {entry["data"]} --output models/{entry["adapter"]}`
3. When the session ends early, start it again with the same settings: it goes on where it was.
4. Send back the folder `models/{entry["adapter"]}`, all of it but the checkpoints.
"""
