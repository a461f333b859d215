"""How many tokens a sample takes: the original text, the same as compact JSON, and HouseBrain's codec.

python benchmarks/tokens.py --source housebrain_dataset_v5_350k --tokenizers qwen2 deepseek-coder --samples 2000
python benchmarks/tokens.py --source housebrain_dataset_v5_350k --tokenizers qwen2 deepseek-coder --all

`--all` takes every sample of both parts through the codec and back, holds the JSON texts against each other and every
completion against the schema, and counts the tokens of each; the other two formats are counted on --samples of them.
"""

import argparse
import json
from collections import Counter
from itertools import chain, islice
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from tokenizers import Tokenizer

from housebrain_core.data.processes import map_chunks
from housebrain_core.data.samples import list_items, read_samples
from housebrain_core.errors import HouseBrainError
from housebrain_core.house import codec
from housebrain_core.house.schema import Answer

LENGTHS = (512, 1024, 2048)


def original(sample: dict) -> tuple[str, str]:
    """Indented JSON, as the files have it."""
    return json.dumps(sample["input"], indent=2) + "\n", json.dumps(sample["output"], indent=2)


def compact(sample: dict) -> tuple[str, str]:
    """The same JSON without spaces."""
    return codec.dumps(sample["input"]) + "\n", codec.dumps(sample["output"])


FORMATS = {"indented": original, "compact": compact, "ours": codec.encode}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="any dataset")
    parser.add_argument("--part", choices=("train", "validation"), default="validation")
    parser.add_argument("--tokenizers", type=Path, nargs="+", required=True, help="folders with tokenizer.json")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--all", action="store_true", help="every sample of both parts, there and back")
    options = parser.parse_args()
    samples = list(islice(read_samples(options.source, options.part), options.samples))
    tokenizers = {folder.name: Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in options.tokenizers}
    surviving = " | ".join(f"answer kept at {length}" for length in LENGTHS)
    header = (
        f"| tokenizer | format | samples | mean | median | p99 | max | {surviving} |\n|{'---|' * (7 + len(LENGTHS))}"
    )
    everything = check_all(options.source, tokenizers) if options.all else {}
    print(f"{options.source.name}; tokens of prompt, answer and end mark\n{header}")
    for name, tokenizer in tokenizers.items():
        for form, write in FORMATS.items():
            counts = count(tokenizer, [write(sample) for sample in samples])
            if form == "ours" and name in everything:
                counts = everything[name]
            print(f"| {name} | {form} | {describe(counts)} |", flush=True)


def check_all(source: Path, tokenizers: dict[str, Tokenizer]) -> dict[str, np.ndarray]:
    """Takes every sample through the codec and back, prints how many come back, and counts their tokens.

    Returns:
        Tokens of prompt and answer of each sample by tokenizer, (samples, 2).
    """
    seen: Counter = Counter()
    counts: dict[str, list[np.ndarray]] = {name: [] for name in tokenizers}
    for items, (tally, examples) in map_chunks(check_chunk, list_items(source, ("train", "validation"))):
        seen += tally | Counter(samples=len(items))
        for name, tokenizer in tokenizers.items():
            counts[name].append(count(tokenizer, examples))
        if seen["samples"] // 50_000 > (seen["samples"] - len(items)) // 50_000:
            print(f"checked {seen['samples']:,} samples", flush=True)
    for what in ("briefs equal as JSON text", "designs equal as JSON text", "completions that the schema accepts"):
        print(f"{what}: {seen[what]:,} of {seen['samples']:,}")
    print(f"in the short form: {seen['short']:,}")
    return {name: np.concatenate(some) for name, some in counts.items()}


def check_chunk(items: list) -> tuple[Counter, list[tuple[str, str]]]:
    """(what holds for how many samples, prompts and completions); runs in another process."""
    seen: Counter = Counter()
    examples = []
    for item in items:
        sample = item.read()[1]
        example = codec.encode(sample)
        examples.append(tuple(example))
        brief = codec.read_prompt(example.prompt)
        seen["briefs equal as JSON text"] += json.dumps(brief) == json.dumps(sample["input"])
        try:
            design = codec.decode(sample["input"], example.completion)
            seen["designs equal as JSON text"] += json.dumps(design) == json.dumps(sample["output"])
            Answer.model_validate_json(example.completion)
            seen["completions that the schema accepts"] += 1
        except (HouseBrainError, ValidationError):
            continue
        seen["short"] += not (example.prompt.startswith('{"brief":') or example.completion.startswith('{"design":'))
    return seen, examples


def count(tokenizer: Tokenizer, examples: list) -> np.ndarray:
    """Tokens of each prompt, and of each answer with its end mark, (samples, 2)."""
    texts = list(chain.from_iterable(examples))
    lengths = [len(codes.ids) for codes in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    return np.array(lengths).reshape(-1, 2) + [0, 1]


def describe(counts: np.ndarray) -> str:
    """Table cells: statistics of the total length, and the share of answer tokens within each length."""
    prompts, answers = counts.T
    total = prompts + answers
    cells = [f"{len(total):,}", f"{total.mean():.1f}", f"{np.median(total):.0f}", f"{np.percentile(total, 99):.0f}"]
    cells += [f"{total.max()}"]
    cells += [f"{np.clip(length - prompts, 0, answers).sum() / answers.sum():.1%}" for length in LENGTHS]
    return " | ".join(cells)


if __name__ == "__main__":
    main()
