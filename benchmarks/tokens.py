"""How many tokens a sample takes: the original text, the same as compact JSON, and HouseBrain's codec.

python benchmarks/tokens.py --source housebrain_dataset_v5_350k --tokenizers qwen2 deepseek-coder --samples 2000
"""

import argparse
import json
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from housebrain_core import codec
from housebrain_core.data import read_samples

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
    options = parser.parse_args()
    samples = list(islice(read_samples(options.source, options.part), options.samples))
    surviving = " | ".join(f"answer kept at {length}" for length in LENGTHS)
    print(f"{len(samples):,} samples of {options.source.name}; tokens of prompt, answer and end mark")
    print(f"| tokenizer | format | mean | median | p99 | max | {surviving} |\n|{'---|' * (6 + len(LENGTHS))}")
    for folder in options.tokenizers:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        for name, write in FORMATS.items():
            print(f"| {folder.name} | {name} | {describe(tokenizer, [write(sample) for sample in samples])} |")


def describe(tokenizer: Tokenizer, examples: list) -> str:
    """Table cells: statistics of the total length, and the share of answer tokens within each length."""
    counts = [
        [
            len(codes.ids)
            for codes in tokenizer.encode_batch([example[side] for example in examples], add_special_tokens=False)
        ]
        for side in (0, 1)
    ]
    prompts, answers = np.array(counts[0]), np.array(counts[1]) + 1
    total = prompts + answers
    cells = [f"{total.mean():.0f}", f"{np.median(total):.0f}", f"{np.percentile(total, 99):.0f}", f"{total.max()}"]
    cells += [f"{np.clip(length - prompts, 0, answers).sum() / answers.sum():.1%}" for length in LENGTHS]
    return " | ".join(cells)


if __name__ == "__main__":
    main()
