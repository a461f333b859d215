"""The tensors of a pickle written as safetensors; run as a process of its own, with limits, by convert.py."""

import sys


def main(source: str, target: str, memory: int) -> None:
    """Reads a pickle without running its code.

    Args:
        source: adapter_model.bin.
        target: the file to write.
        memory: bytes of address space that this process may use, where the system can limit it.
    """
    import torch
    from safetensors.torch import save_file

    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    tensors = torch.load(source, map_location="cpu", weights_only=True)
    if not isinstance(tensors, dict) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        sys.exit("it is not a table of tensors")
    copies = {str(name): value.contiguous().clone() for name, value in tensors.items()}
    save_file(copies, target, metadata={"format": "pt"})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
