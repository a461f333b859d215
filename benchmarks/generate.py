"""What generation costs: constrained beside unconstrained, batches beside one by one, and the bandwidth limit on a GPU.

    python benchmarks/generate.py --output generate.json --tokenizers ../shared/tokenizers

Models have random weights: costs do not depend on what they say. On a GPU `--shape 1.5b` takes the shape of
Qwen2.5-Coder-1.5B and compares tokens per second with memory bandwidth / bytes of the weights.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from housebrain_core import codec, synthetic
from housebrain_core.constrained import safe_limit
from housebrain_core.decoding import Decoding
from housebrain_core.llm import HouseBrainLLM
from housebrain_core.tiny import _train_tokenizer

SHAPES = {
    "tiny": {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 4, "num_attention_heads": 4},
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
             "num_key_value_heads": 2},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="file for the figures, as JSON")
    parser.add_argument("--tokenizers", type=Path, help="folder of tokenizer folders, for their vocabulary sizes")
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--designs", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=100, help="tokens per design where batches are compared")
    parser.add_argument("--bandwidth", type=float, help="of the GPU's memory, in GB/s: adds the limit to the table")
    options = parser.parse_args()
    torch.manual_seed(0)
    samples = list(synthetic.make_samples(options.designs, seed=21))
    briefs = [sample["input"] for sample in samples]
    with tempfile.TemporaryDirectory() as folder:
        models = load_models(Path(folder), samples, options)
        figures = {
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "threads": torch.get_num_threads(),
            "constrained": [measure_constraint(name, llm, briefs[:8]) for name, llm in models.items()],
            "batches": measure_batches(models["2k"], briefs, options),
        }
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1) + "\n")


def load_models(folder: Path, samples: list[dict], options: argparse.Namespace) -> dict[str, HouseBrainLLM]:
    """Random weights behind a tokenizer of 2,000 tokens and each one given: name -> model."""
    texts = [text for sample in samples for text in codec.encode(sample)]
    tokenizers = {"2k": (_train_tokenizer(texts, 2000), 2048)}
    for path in sorted(options.tokenizers.iterdir()) if options.tokenizers else ():
        tokenizer = AutoTokenizer.from_pretrained(path)
        tokenizers[path.name] = tokenizer, -(-len(tokenizer) // 256) * 256
    models = {}
    for name, (tokenizer, width) in tokenizers.items():
        ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
        config = LlamaConfig(vocab_size=width, max_position_embeddings=4096, **SHAPES[options.shape], **ends)
        LlamaForCausalLM(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        models[name] = HouseBrainLLM(folder / name)
    return models


def measure(llm: HouseBrainLLM, briefs: list[dict], decoding: Decoding) -> tuple[int, float]:
    """Tokens that were computed, those of rows that had ended before their batch included, and the seconds."""
    started = time.perf_counter()
    batches = [batch.answers for batch in llm.answer_batches(briefs, decoding)]
    tokens = sum(len(answers) * max(answer.tokens for answer in answers) for answers in batches)
    return tokens, time.perf_counter() - started


def measure_constraint(name: str, llm: HouseBrainLLM, briefs: list[dict]) -> dict:
    """Milliseconds per token with and without the grammar, in a batch of all briefs; draws at temperature 1."""
    free = Decoding(len(briefs), safe_limit(), temperature=1.0)
    bound = free._replace(constrained=True)
    started = time.perf_counter()
    measure(llm, briefs[:1], bound)  # loads the grammar
    first = time.perf_counter() - started
    tokens, seconds = measure(llm, briefs, bound)
    steps = tokens // len(briefs)
    unbound_tokens, unbound_seconds = measure(llm, briefs, free._replace(max_new_tokens=max(steps, 1)))
    row = {
        "vocabulary": llm.model.config.vocab_size,
        "constrained_ms_per_token": 1000 * seconds / tokens,
        "free_ms_per_token": 1000 * unbound_seconds / unbound_tokens,
        "first_call_seconds": first,
    }
    print(f"{name:16} vocabulary {row['vocabulary']:7,}  free {row['free_ms_per_token']:.3f} ms per token, constrained "
          f"{row['constrained_ms_per_token']:.3f}, first call {first:.1f} s", flush=True)  # fmt: skip
    return {"name": name, **row}


def measure_batches(llm: HouseBrainLLM, briefs: list[dict], options: argparse.Namespace) -> list[dict]:
    """Tokens per second over batch sizes, all greedy and of equal length."""
    llm.tokenizer.eos_token = llm.tokenizer.convert_ids_to_tokens(llm.model.config.vocab_size - 49)  # never ends early
    limit = None
    if options.bandwidth:
        size = sum(weight.numel() * weight.element_size() for weight in llm.model.parameters())
        limit = options.bandwidth * 1e9 / size
    measure(llm, briefs[:1], Decoding(1, 8))
    rows = []
    for size in (1, 2, 4, 8, 16, 32):
        if size > len(briefs):
            break
        tokens, seconds = measure(llm, briefs, Decoding(size, options.tokens))
        rows.append({"batch_size": size, "tokens_per_second": tokens / seconds})
        speed = rows[-1]["tokens_per_second"] / rows[0]["tokens_per_second"]
        share = f", {tokens / seconds / limit / size:.0%} of the bandwidth limit" if limit else ""
        print(f"batch of {size:3}  {tokens / seconds:8.0f} tokens per second, {speed:.2f}x{share}", flush=True)
    return rows


if __name__ == "__main__":
    main()
