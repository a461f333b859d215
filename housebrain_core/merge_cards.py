"""The README.md of what a merge wrote: an adapter, or a full model."""

from typing import Any

from housebrain_core.briefs import SANITY_BRIEF, check_brief
from housebrain_core.codec import write_prompt


def describe_merged_adapter(base_model: str, result: dict[str, Any]) -> str:
    """README.md of a merged adapter, from its merge.json."""
    verdict = result.get("validation", {}).get("verdict", "")
    text = (
        f"{len(result['inputs'])} adapters merged with strategy {result['strategy']}, at rank {result['rank']} "
        f"(relative error {result['relative_error']:.2e}). {verdict}"
    )
    return _card(base_model, "peft", text, result["inputs"])


def describe_full_model(base_model: str, result: dict[str, Any]) -> str:
    """README.md of a base model with a merge in its weights, from its merge.json."""
    view = {"fp16": "the base as it is", "nf4-dequant": "the base as 4-bit training saw it (NF4, dequantised)"}
    update = "One adapter" if len(result["inputs"]) == 1 else f"{len(result['inputs'])} adapters"
    text = (
        f"{update}, strategy {result['strategy']}, scale {result['scale']:g}, added at rank {result['rank']} to "
        f"{view[result['base']['view']]}, revision {result['base']['revision']}, and rounded once to float16: "
        f"rounding changed at most {max(result['rounding'].values()):.1%} of an update. Load it as any other model; "
        "no adapter is needed."
    )
    return _card(base_model, "transformers", text, result["inputs"])


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
For the brief of the sanity check, `housebrain_core.briefs.SANITY_BRIEF`:

"""
