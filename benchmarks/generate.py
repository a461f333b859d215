"""What generation costs: constrained beside unconstrained, batches beside one by one, and the bandwidth limit of a GPU.

    python benchmarks/generate.py --output generate.json --tokenizers FOLDER
    python benchmarks/generate.py --shapes 1.5b 6.7b          on a machine with an NVIDIA GPU

Models have random weights: costs do not depend on what they say. The first two tables are for the tiny shape and run
anywhere. The third one needs a GPU and has never been run by its authors, who had none: it puts the tokens per second
of real shapes at batches of 1, 8 and 32 beside what the GPU's memory allows, weights and cache read once per step. Its
arithmetic, and its code on the tiny shape, are tested on the CPU (tests/test_generate_benchmark.py).
"""

import argparse
import gc
import json
import platform
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from housebrain_core.house import codec, synthetic
from housebrain_core.llm.constrained import safe_limit
from housebrain_core.llm.decoding import Decoding
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.train.tiny import _train_tokenizer

SHAPES = {
    "tiny": {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 4, "num_attention_heads": 4},
    "1.3b": {"hidden_size": 2048, "intermediate_size": 5504, "num_hidden_layers": 24, "num_attention_heads": 16},
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
             "num_key_value_heads": 2, "tie_word_embeddings": True},
    "6.7b": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
}  # fmt: skip
"""DeepSeek-Coder 1.3B and 6.7B, and Qwen2.5-Coder-1.5B, from their config.json."""
WIDTHS = {"tiny": 2048, "1.3b": 32_256, "1.5b": 151_936, "6.7b": 32_256}
"""Width of the logits."""
CLOCK = time.perf_counter if torch.cuda.is_available() else time.process_time
"""Without a GPU the seconds are those of the CPU, so that other jobs on the machine do not count."""
BATCHES = (1, 2, 4, 8, 16, 32)
GPU_BATCHES = (1, 8, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="file for the figures, as JSON")
    parser.add_argument("--tokenizers", type=Path, help="folder of tokenizer folders, for their vocabulary sizes")
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, default=["1.5b"], help="for the table of the GPU")
    parser.add_argument("--designs", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=100, help="tokens per design where batches are compared")
    options = parser.parse_args()
    torch.manual_seed(0)
    samples = list(synthetic.make_samples(options.designs, seed=21))
    briefs = [sample["input"] for sample in samples]
    texts = [text for sample in samples for text in codec.encode(sample)]
    gpu = torch.cuda.is_available()
    figures = {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}",
        "vocabularies": [],
    }
    print(f"{figures['device']}, {figures['machine']}")
    with tempfile.TemporaryDirectory() as folder:
        for name, tokenizer, width in list_tokenizers(texts, options.tokenizers):
            llm = random_model(Path(folder) / name, "tiny", tokenizer, width)
            figures["vocabularies"].append(measure_constraint(name, llm, briefs[:8]))
            if name == "2k":
                figures["batches"] = measure_batches(llm, briefs, options.tokens)
        tokenizer = _train_tokenizer(texts, 2000)
        if gpu:
            bandwidth = measure_bandwidth(torch.device("cuda"))
            print(f"memory bandwidth, measured by copying: {bandwidth / 1e9:.0f} GB/s")
        for shape in options.shapes if gpu else ():
            llm = random_model(Path(folder) / shape, shape, tokenizer, WIDTHS[shape])
            rows = measure_limit(llm, briefs, GPU_BATCHES, options.tokens, bandwidth)
            figures.setdefault("limits", {})[shape] = {"bandwidth": bandwidth, "rows": rows}
            del llm
            gc.collect()
            torch.cuda.empty_cache()
    if not gpu:
        print("no GPU here: the table of the bandwidth limit is left out")
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1) + "\n")


def list_tokenizers(texts: list[str], folder: Path | None) -> list[tuple]:
    """A tokenizer of 2,000 tokens and each one of a folder: name, tokenizer, width of the logits."""
    found = [("2k", _train_tokenizer(texts, 2000), WIDTHS["tiny"])]
    for path in sorted(folder.iterdir()) if folder else ():
        tokenizer = AutoTokenizer.from_pretrained(path)
        found.append((path.name, tokenizer, -(-len(tokenizer) // 256) * 256))
    return found


def random_model(folder: Path, shape: str, tokenizer, width: int) -> HouseBrainLLM:
    """Random weights of a shape, made where they are used, in half precision on a GPU."""
    device, dtype = ("cuda", torch.float16) if torch.cuda.is_available() else ("cpu", torch.float32)
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    config = LlamaConfig(vocab_size=width, max_position_embeddings=4096, dtype=dtype, **SHAPES[shape], **ends)
    with torch.device(device):
        LlamaForCausalLM._from_config(config, dtype=dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return HouseBrainLLM(folder)


def measure(llm: HouseBrainLLM, briefs: list[dict], decoding: Decoding) -> tuple[int, float]:
    """Tokens that were computed, those of rows that had ended before their batch included, and the seconds."""
    started = CLOCK()
    batches = [batch.answers for batch in llm.answer_batches(briefs, decoding)]
    tokens = sum(len(answers) * max(answer.tokens for answer in answers) for answers in batches)
    return tokens, CLOCK() - started


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


def never_end(llm: HouseBrainLLM) -> None:
    """Makes answers equally long: their end is a token that greedy decoding of these weights does not choose."""
    llm.tokenizer.eos_token = llm.tokenizer.convert_ids_to_tokens(1999)


def measure_batches(llm: HouseBrainLLM, briefs: list[dict], length: int) -> list[dict]:
    """Tokens per second over batch sizes, all greedy and of equal length."""
    never_end(llm)
    measure(llm, briefs[:1], Decoding(1, 8))
    rows = []
    for size in (size for size in BATCHES if size <= len(briefs)):
        tokens, seconds = measure(llm, briefs, Decoding(size, length))
        rows.append({"batch_size": size, "tokens_per_second": tokens / seconds})
        speed = rows[-1]["tokens_per_second"] / rows[0]["tokens_per_second"]
        print(f"batch of {size:3}  {tokens / seconds:8.0f} tokens per second, {speed:.2f}x", flush=True)
    return rows


# --- the bandwidth limit


def measure_limit(llm: HouseBrainLLM, briefs: list[dict], sizes: tuple, length: int, bandwidth: float) -> list[dict]:
    """Decoding beside what the memory allows; the time of the first token, the prompt's, is taken off.

    Args:
        llm: random weights.
        briefs: at least as many as the largest batch.
        sizes: of the batches.
        length: tokens per design.
        bandwidth: of the memory, in bytes per second.
    """
    never_end(llm)
    prompt = len(llm.tokenizer(codec.write_prompt(briefs[0])).input_ids)
    rows = []
    for size in sizes:
        batch = (briefs * -(-size // len(briefs)))[:size]
        measure(llm, batch, Decoding(size, 4))
        _, first = measure(llm, batch, Decoding(size, 1))
        tokens, seconds = measure(llm, batch, Decoding(size, length))
        speed = (tokens - size) / (seconds - first)
        limit = tokens_per_second_limit(
            size, weight_bytes(llm.model), cache_bytes_per_token(llm.model.config, llm.model.dtype),
            prompt + length // 2, bandwidth,
        )  # fmt: skip
        rows.append({"batch_size": size, "tokens_per_second": speed, "limit": limit, "share": speed / limit})
        print(f"batch of {size:3}  {speed:8.0f} tokens per second, {speed / limit:.0%} of {limit:.0f}", flush=True)
    return rows


def tokens_per_second_limit(batch: int, weights: int, cache_per_token: int, context: int, bandwidth: float) -> float:
    """Tokens per second when a step reads all weights once and each row's cache once, and does nothing else.

    Args:
        batch: rows.
        weights: bytes of the weights that a step reads.
        cache_per_token: bytes of keys and values per token of a row.
        context: tokens that a row has behind it, on average.
        bandwidth: bytes per second.
    """
    return batch * bandwidth / (weights + batch * context * cache_per_token)


def weight_bytes(model: torch.nn.Module) -> int:
    """Bytes of the weights that each step reads: all but the embedding's other rows, unless it is the output too."""
    skipped = set() if model.config.tie_word_embeddings else {id(model.get_input_embeddings().weight)}
    weights = {id(weight): weight for weight in model.parameters()}
    return sum(weight.numel() * weight.element_size() for key, weight in weights.items() if key not in skipped)


def cache_bytes_per_token(config, dtype: torch.dtype) -> int:
    """Bytes of keys and values per token: two vectors per layer and key-value head."""
    size = config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * config.num_key_value_heads * size * dtype.itemsize


def measure_bandwidth(device: torch.device, size: int = 2**30) -> float:
    """Bytes per second of a device's memory: the best of five copies, each of which reads and writes all of it."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target, best = torch.empty_like(source), float("inf")
    for _ in range(5):
        started = time.perf_counter()
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * size / best


if __name__ == "__main__":
    main()
