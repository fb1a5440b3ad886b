"""How near a forward pass is to what the processor can do: OpenBLAS's fastest product, and multiply-adds alone."""

import ctypes
from collections.abc import Callable, Iterator

import numpy as np

from ... import threads
from ...config import ModelConfig
from ...emulator import build
from ...errors import Error
from ..counted import flops, forward_flop, step_flop
from ..row import Row
from ..table import number
from ..timing import interleaved
from .models import JOBS, setting

# Multiply-adds of registers in float32, enough of them at once that none waits for another's result. Registers are as
# wide as the processor has them. The sum is returned so that the compiler leaves nothing out.
SOURCE = """
#if defined(__AVX512F__)
enum { BYTES = 64, REGISTERS = 24 };
#elif defined(__AVX__)
enum { BYTES = 32, REGISTERS = 12 };  // of 16
#else
enum { BYTES = 16, REGISTERS = 24 };
#endif
typedef float Vector __attribute__((vector_size(BYTES)));

extern "C" __attribute__((visibility("default"))) float multiply_adds(long rounds, float factor) {
    Vector sums[REGISTERS], scale = factor - Vector{}, step = scale;
    #pragma GCC unroll 32
    for (int i = 0; i < REGISTERS; i++) sums[i] = scale * (float)i;
    for (long n = 0; n < rounds; n++) {
        #pragma GCC unroll 32
        for (int i = 0; i < REGISTERS; i++) sums[i] = sums[i] * scale + step;
    }
    float total = 0;
    for (int i = 0; i < REGISTERS; i++)
        for (unsigned j = 0; j < BYTES / sizeof(float); j++) total += sums[i][j];
    return total;
}

extern "C" __attribute__((visibility("default"))) int per_round() { return REGISTERS * (BYTES / sizeof(float)); }
"""
ROUNDS = 5_000_000  # of a thread: some 30 ms
NAME = "base forward, share of the "


def shares(rounds: int) -> Iterator[Row]:
    """Rows of a forward pass's GFLOP/s over those of its largest product alone and of multiply-adds, timed in turn."""
    model, x, _ = setting("base", 1024, 1)
    c, rng = model.config, np.random.default_rng(0)
    tokens, w = rng.standard_normal((c.tokens, c.dim), np.float32), model.w["blocks.0.mlp.fc1.weight"]
    y = np.empty((c.tokens, len(w)), np.float32)

    def products():  # on all threads, each its columns, as `fast.linear_forward` does
        threads.run(lambda o: np.matmul(tokens, w[o].T, out=y[:, o]), threads.spans(len(w), 16))

    calls, without = [lambda: model.forward(x), lambda: [products() for _ in range(10)]], ""
    try:
        multiply_adds, count = on_registers()
        calls.append(multiply_adds)
    except Error as error:
        without = f"; without the float32 peak ({str(error).splitlines()[0]})"
    ours, blas, *registers = interleaved(calls, rounds)
    done, sgemm = flops(c) / ours / 1e9, 10 * 2 * y.size * c.dim / blas / 1e9
    note = f"{np.median(done):.0f} of {np.median(sgemm):.0f} GFLOP/s, {flops(c) / 1e9:.0f} GFLOP in all{without}"
    yield Row(NAME + "SGEMM peak", float(np.median(done / sgemm)), "%", goal="70 %", note=note)
    for seconds in registers:
        peak = 2 * count / seconds / 1e9
        note = (
            f"{np.median(done):.0f} of {np.median(peak):.0f} GFLOP/s, multiply-adds of registers; at that speed the "
            f"products alone would take: {products_alone(float(np.median(peak)))}"
        )
        yield Row(NAME + "float32 peak", float(np.median(done / peak)), "%", note=note)


def on_registers() -> tuple[Callable[[], None], int]:
    """A function that multiplies and adds on all threads, and how many multiply-adds it does. Raises minast.Error."""
    compiled, n = library(), threads.count()

    def call():  # ctypes gives Python's lock back for the duration of a call
        threads.run(lambda _: compiled.multiply_adds(ROUNDS, 0.5), range(n))

    return call, n * ROUNDS * compiled.per_round()


def library() -> ctypes.CDLL:
    """SOURCE, compiled. Raises minast.Error without a compiler."""
    found = ctypes.CDLL(str(build.built(SOURCE, "peak", "-O3")))
    found.multiply_adds.argtypes, found.multiply_adds.restype = (ctypes.c_long, ctypes.c_float), ctypes.c_float
    return found


def products_alone(peak: float) -> str:
    """In words: the time that the products of each of JOBS take at `peak` GFLOP/s."""
    found = []
    for preset, frames, batch, what in JOBS:
        work = forward_flop if what == "forward" else step_flop
        seconds = work(ModelConfig.preset(preset, frames=frames), batch) / peak / 1e9
        found.append(f"{preset} {what} {number(seconds, 's')}")
    return ", ".join(found)
