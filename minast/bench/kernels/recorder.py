"""What a dry run records: every launch and product of a pass, with its bytes and its arithmetic, from shapes alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ...gpu import dry_run, kernel_source

UPDATED = {  # arrays that a kernel reads and writes (unless add = 0); all others that it writes it does not read
    "adam_step": ("w", "m", "v"),
    "column_finish": ("first", "second", "third"),
    "tokens_backward": ("dfirst", "dsecond", "dpos"),
    "attention_mma_lean": ("qkv",),
}
READ = {  # the share of an array that a launch reads, where that is not all of it; a: the arguments by name
    ("residual_norm_forward", "x"): lambda a: a["prefix"] / a["tokens"] if a["tokens"] else 1,
    ("pool_forward", "x"): lambda a: a["P"] / a["tokens"],
}
WRITTEN = {  # the share of an array that a launch writes
    ("attention_mma_lean", "qkv"): lambda a: 0 if a["bias"] is None else 1 / 3,  # the queries, with their bias
    ("attention_mma_dkv", "dqkv"): lambda a: 2 / 3,
    ("attention_mma_dkv", "sums"): lambda a: 2 / 3,
    ("attention_mma_dq", "dqkv"): lambda a: 1 / 3,
    ("attention_mma_dq", "sums"): lambda a: 1 / 3,
}
PRODUCTS = {"attention_mma_lean": 2, "attention_mma_dkv": 4, "attention_mma_dq": 3}  # of tokens x tokens x head width
FEW = {"class_attention_forward": 2, "class_attention_backward": 5}  # of queries x tokens x head width


@dataclass(frozen=True)
class Work:
    """One launch or product.

    kind: "kernel" or "product"; shape: the first array's, or a product's M x K x N; read, written: bytes;
    flops: multiplications and additions.
    """

    phase: str
    kind: str
    name: str
    shape: str
    read: int
    written: int
    flops: int = 0


class Recorder:
    """The recorder of a dry run: `gpu.dry_run` calls it in place of launch and gemm. It lists their Work in `done`."""

    def __init__(self):
        self.phase, self.done = "", []

    def add(self, kind, name, shape, read, written, flops=0):
        """Append one Work of the current phase."""
        self.done.append(Work(self.phase, kind, name, shape, int(read), int(written), int(flops)))

    def launch(self, source, kernel, grid, block, args, shared_bytes=0):
        """A kernel's launch, with the arguments of `minast.launch.launch`."""
        declared, template, _ = kernel_source.load(source).split(kernel)
        name, read, written, arrays = kernel.split("<")[0], 0, 0, []
        parameters = declared.bind(template)
        given = {p.name: value for p, value in zip(parameters, args, strict=True)}
        for p in parameters:
            x = given[p.name]
            if not p.pointer or x is None:
                continue
            if p.const or (p.name in UPDATED.get(name, ()) and given.get("add", True)):
                read += x.nbytes * READ.get((name, p.name), lambda a: 1)(given)
            if not p.const:
                written += x.nbytes * WRITTEN.get((name, p.name), lambda a: 1)(given)
            arrays.append(x)
        self.add("kernel", kernel, dimensions(arrays[0].shape), read, written, _flops(name, arrays))

    def gemm(self, a, b, out, beta=0.0):
        """out (M, N) = a (M, K) @ b (K, N) + beta * out, with the arguments of `cuda.gemm.gemm`."""
        (M, K), N = a.shape, b.shape[1]
        shape = f"{M} x {K} x {N}"
        read = a.size * a.itemsize + b.size * b.itemsize + (out.nbytes if beta else 0)
        into = "float32" if out.dtype == np.float32 else "16 bits"
        name = f"to {into}{', added' if beta else ''}"
        self.add("product", name, shape, read, out.size * out.itemsize, 2 * M * K * N)
        return out


def _flops(name, arrays):
    """Multiplications and additions in the products of a launch; its other arithmetic is not counted."""
    if name in PRODUCTS:
        B, N, width = arrays[0].shape  # qkv
        return 2 * PRODUCTS[name] * B * N * N * width // 3
    if name in FEW:
        (B, P, C), tokens = arrays[0].shape, arrays[1].shape[1]  # q and kv
        return 2 * FEW[name] * B * P * tokens * C
    return 0


def dimensions(shape: tuple[int, ...]) -> str:
    """ "32 x 1214 x 768" """
    return " x ".join(map(str, shape))


@contextmanager
def recording() -> Iterator[Recorder]:
    """-> Recorder. Inside the block no kernel and no product runs, and large arrays stay untouched memory."""
    with dry_run.recording(Recorder()) as r, np.errstate(all="ignore"):
        yield r
