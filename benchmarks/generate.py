"""What generation costs: constrained beside unconstrained, and batches beside one by one.

    python benchmarks/generate.py --output generate.json --tokenizers FOLDER

A tiny model with random weights: what the grammar costs does not depend on what it says.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from housebrain_core.house import codec, synthetic
from housebrain_core.llm.constrained import safe_limit
from housebrain_core.llm.decoding import Decoding
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.train.tiny import train_tokenizer

SHAPE = {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 4, "num_attention_heads": 4}
BATCHES = (1, 2, 4, 8, 16, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="file for the figures, as JSON")
    parser.add_argument("--tokenizers", type=Path, help="folder of tokenizer folders, for their vocabulary sizes")
    parser.add_argument("--designs", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=100, help="tokens per design where batches are compared")
    options = parser.parse_args()
    torch.manual_seed(0)
    samples = list(synthetic.make_samples(options.designs, seed=21))
    briefs = [sample["input"] for sample in samples]
    texts = [text for sample in samples for text in codec.encode(sample)]
    figures = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}",
        "vocabularies": [],
    }
    print(figures["machine"])
    with tempfile.TemporaryDirectory() as folder:
        for name, tokenizer, width in list_tokenizers(texts, options.tokenizers):
            llm = random_model(Path(folder) / name, tokenizer, width)
            figures["vocabularies"].append(measure_constraint(name, llm, briefs[:8]))
            if name == "2k":
                figures["batches"] = measure_batches(llm, briefs, options.tokens)
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1) + "\n")


def list_tokenizers(texts: list[str], folder: Path | None) -> list[tuple]:
    """A tokenizer of 2,000 tokens and each one of a folder: name, tokenizer, width of the logits."""
    found = [("2k", train_tokenizer(texts, 2000), 2048)]
    for path in sorted(folder.iterdir()) if folder else ():
        tokenizer = AutoTokenizer.from_pretrained(path)
        found.append((path.name, tokenizer, -(-len(tokenizer) // 256) * 256))
    return found


def random_model(folder: Path, tokenizer, width: int) -> HouseBrainLLM:
    """A model of `SHAPE` with random weights and so many logits."""
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    config = LlamaConfig(vocab_size=width, max_position_embeddings=4096, **SHAPE, **ends)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return HouseBrainLLM(folder)


def measure(llm: HouseBrainLLM, briefs: list[dict], decoding: Decoding) -> tuple[int, float]:
    """Tokens that were computed, those of rows that had ended before their batch included, and the seconds."""
    started = time.process_time()
    batches = [batch.answers for batch in llm.answer_batches(briefs, decoding)]
    tokens = sum(len(answers) * max(answer.tokens for answer in answers) for answers in batches)
    return tokens, time.process_time() - started


def measure_constraint(name: str, llm: HouseBrainLLM, briefs: list[dict]) -> dict:
    """Milliseconds per token with and without the grammar, in a batch of all briefs; draws at temperature 1.

    Both are measured twice, in turns, for equally many steps; the better time counts.
    """
    free = Decoding(len(briefs), safe_limit(), temperature=1.0)
    bound = free._replace(constrained=True)
    _, first = measure(llm, briefs[:1], bound)  # loads the grammar
    costs: dict[str, list[float]] = {"constrained": [], "free": []}
    for _ in range(2):
        tokens, seconds = measure(llm, briefs, bound)
        costs["constrained"].append(1000 * seconds / tokens)
        tokens, seconds = measure(llm, briefs, free._replace(max_new_tokens=tokens // len(briefs)))
        costs["free"].append(1000 * seconds / tokens)
    row = {"vocabulary": llm.model.config.vocab_size, "first_call_seconds": first}
    row |= {f"{kind}_ms_per_token": min(times) for kind, times in costs.items()}
    print(f"{name:16} vocabulary {row['vocabulary']:7,}  free {row['free_ms_per_token']:.3f} ms per token, constrained "
          f"{row['constrained_ms_per_token']:.3f}, first call {first:.1f} s", flush=True)  # fmt: skip
    return {"name": name, **row}


def measure_batches(llm: HouseBrainLLM, briefs: list[dict], length: int) -> list[dict]:
    """Tokens per second over batch sizes, all greedy and of equal length."""
    llm.tokenizer.eos_token = llm.tokenizer.convert_ids_to_tokens(1999)  # greedy decoding never chooses this one
    measure(llm, briefs[:1], Decoding(1, 8))
    rows = []
    for size in (size for size in BATCHES if size <= len(briefs)):
        tokens, seconds = measure(llm, briefs, Decoding(size, length))
        rows.append({"batch_size": size, "tokens_per_second": tokens / seconds})
        speed = rows[-1]["tokens_per_second"] / rows[0]["tokens_per_second"]
        print(f"batch of {size:3}  {tokens / seconds:8.0f} tokens per second, {speed:.2f}x", flush=True)
    return rows


if __name__ == "__main__":
    main()
