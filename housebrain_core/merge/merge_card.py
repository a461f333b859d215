"""The README.md of what a merge wrote: an adapter, or a full model."""

from typing import Any

from housebrain_core.house.briefs import SANITY_BRIEF, check_brief
from housebrain_core.house.codec import write_prompt


def describe_merged_adapter(base_model: str, result: dict[str, Any]) -> str:
    """README.md of a merged adapter, from its merge.json."""
    verdict = result.get("validation", {}).get("verdict", "")
    text = (
        f"{_recipe(result)}. Written at rank {result['rank']}, which changed it by {result['relative_error']:.2e} "
        f"(relative Frobenius distance){f'. On validation samples {verdict}' if verdict else '.'}"
    )
    return _card(base_model, "peft", text, result["inputs"])


def describe_full_model(base_model: str, result: dict[str, Any]) -> str:
    """README.md of a base model with a merge in its weights, from its merge.json."""
    view = {"fp16": "the base as it is", "nf4-dequant": "the base as 4-bit training saw it (NF4, dequantised)"}
    text = (
        f"{_recipe(result)}. Added at rank {result['rank']} to {view[result['base']['view']]}, revision "
        f"{result['base']['revision']}, and rounded once to float16: rounding changed at most "
        f"{max(result['rounding'].values()):.1%} of an update. Load it as any other model; no adapter is needed."
    )
    return _card(base_model, "transformers", text, result["inputs"])


def _recipe(result: dict[str, Any]) -> str:
    """What was merged, and how."""
    used, given = sum(entry["weight"] != 0 for entry in result["inputs"]), len(result["inputs"])
    adapters = f"{used} adapter{'s' * (used != 1)}" + (f" of {given}" if used < given else "")
    density = f", density {result['density']:g}" if result["density"] is not None else ""
    away = f", {result['error_of_strategy']:.1%} away from the exact mean of the updates"
    far = away if result["error_of_strategy"] else ""
    return f"{adapters}, strategy {result['strategy']}{density}, scale {result['scale']:g}{far}"


def _card(base_model: str, library: str, text: str, inputs: list[dict[str, Any]]) -> str:
    rows = "\n".join(f"| {entry['name']} | {entry['weight']:.4f} | `{entry['sha256']}` |" for entry in inputs)
    return (
        f"---\nbase_model: {base_model}\nlibrary_name: {library}\npipeline_tag: text-generation\n---\n\n"
        f"# HouseBrain, merged\n\n{text}\n\n| adapter | weight | sha256 |\n|---|---|---|\n{rows}\n\n"
        f"## The prompt\n\n{_PROMPT}```\n{write_prompt(check_brief(SANITY_BRIEF))}```\n"
    )


_PROMPT = """\
`HouseBrainLLM` and `housebrain generate` write it. Any other server has to send the same bytes: the brief in its short
form, one line of JSON with a newline, without a chat template and with the special tokens that the tokenizer adds by
itself. The answer is one JSON object and ends with the end-of-text token.
`housebrain_core.codec.write_prompt(brief)` writes the one, `decode(brief, answer)` makes a whole design of the other.
For the brief of the sanity check, `housebrain_core.house.briefs.SANITY_BRIEF`:

"""
