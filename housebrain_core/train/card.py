"""The README.md of an adapter folder."""

from typing import Any


def describe_adapter(run: dict[str, Any]) -> str:
    """README.md of an adapter folder, from its run.json."""
    rows = {
        "base model": f"{run['base']['name']} at {run['base']['revision']}",
        "split": f"{run['split']}, {run['samples']} samples",
        "trained": f"{run['steps']} of {run['planned_steps']} steps, {run['tokens']:,} tokens",
        "ended because": run["why_it_ended"],
        "validation loss": f"{run['validation_loss']:.4f} nats per token",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    front = f"---\nbase_model: {run['base']['name']}\nlibrary_name: peft\npipeline_tag: text-generation\n---\n"
    return f"{front}\n# HouseBrain adapter\n\n| | |\n|---|---|\n{table}\n"
