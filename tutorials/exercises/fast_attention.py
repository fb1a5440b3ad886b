"""Checks of notebook 8. Two answers are CUDA source, compiled and run in the emulator; two are functions."""

import numpy as np

from lab import ORDERS, compiled, judged_run, order_of
from minast.gpu.kernel_source import without_comments

from .verdict import Wrong, exercise, expect

NEEDS_EMULATOR = True  # the checks of kernels say "not done" where there is no C++ compiler


@exercise
def traffic(function):
    """Counted block by block, at five sizes, with blocks that do and do not divide the queries."""
    for N, D, rows, size in ((64, 64, 64, 4), (1214, 64, 64, 4), (1214, 64, 128, 2), (50, 16, 64, 2), (129, 32, 64, 4)):
        blocks = len(range(0, N, rows))
        total = once = 0
        for first in range(0, N, rows):
            own = min(rows, N - first)
            total += 2 * own * D + 2 * N * D  # q and o of its rows, all keys and values
            once += 4 * own * D
        total, once = total * size, once * size
        slips = {
            "you read k and v once in all: each block reads them": once,
            "you left out the last block: partly empty, it reads all keys as well": 2 * N * D * size * (1 + N // rows),
            "you took a fraction of a block: their number is whole": 2 * N * D * size * (1 + N / rows),
            "you left out q and o": total - 2 * N * D * size,
            "you counted one of k and v: both are read": total - blocks * N * D * size,
            "you counted numbers: each has `size` bytes": total // size,
        }
        expect(function(N, D, rows, size), total, given=f"N={N}, D={D}, rows={rows}, size={size}", slips=slips)


@exercise
def owner(function):
    """All 128 elements lie where the hardware puts them."""
    for lane in range(32):
        for register in range(4):
            row, column = lane // 4 + register // 2 * 8, lane % 4 * 2 + register % 2
            slips = {
                "you used registers 0 and 1 alone: 2 and 3 belong to the row 8 below": (lane, register % 2),
                "you gave a lane every fourth column: it holds two neighbours": (row % 8 * 4 + column % 4, register),
                "you exchanged lane and register": (register, lane),
                "you gave rows 8 to 15 lanes of their own: they share 0 to 7's": (
                    row * 4 + column // 2,
                    register,
                ),
                "you exchanged rows and columns": (column * 4 + row % 8 // 2, row // 8 * 2 + row % 2),
            }
            given = f"row={row}, column={column}"
            got = function(row, column)
            expect(got, (lane, register), given=given, slips=slips)


@exercise
def fixed_walk(source):
    """One, two, three and seven tiles gave the sums in eight thread orders, copies made early, late and by a coin."""
    path = compiled(source, "walk")
    for tiles in (1, 2, 3, 7):
        x = np.random.default_rng(tiles).normal(size=(tiles, 32, 4)).astype(np.float32)
        want = x.sum(axis=(0, 2))[::-1]
        for modes in (*ORDERS, *({"order": "random", "seed": s} for s in range(3, 7))):
            given, y = f"{tiles} tiles, {order_of(modes)}", np.full(32, np.nan, np.float32)
            judged_run(path, "walk", 1, 32, (x, y, tiles), given=given, **modes)
            slips = {"nothing is mirrored any more": want[::-1]}
            try:
                expect(y, want, given=given, slips=slips, what="y", tol=1e-5)
            except Wrong as wrong:
                raise wrong if "Likely slip" in str(wrong) else Wrong(f"{wrong} {_advice(y)}") from None
    if "cp_async16" not in source:
        raise Wrong("the sums are right, but the copies are no longer asynchronous.")
    if source.replace(" ", "").count("[2][128]") != 1:
        raise Wrong("the sums are right, but the kernel is to keep its two buffers of 128.")
    if _waits_at_once(without_comments(source)):
        why = (
            "cp_async_wait<0> behind the next tile's copy waits for that one too, and nothing is under way while a tile"
        )
        raise Wrong(f"the sums are right, but {why} is added up. Wait for all copies before the next one starts.")


def _waits_at_once(source):
    """Is the next tile waited for before this one is summed? Only what cannot be read otherwise counts."""
    compact = "".join(source.split())
    waits = [compact.find(f"cp_async_wait<{n}>") for n in (0, 1)]
    return compact.count("cp_async16(") == 2 and waits[1] < 0 and waits[0] > compact.rfind("cp_async16(")


def _advice(y):
    if np.isnan(y).any():
        return "NaN is memory that no copy has reached: whose copies may still be under way after the wait?"
    return "The numbers come from another tile: who may still be reading a buffer when the next copy into it starts?"


def _qkv(N, kind):
    rng = np.random.default_rng(N)
    q, k, v = (rng.normal(size=(N, 8)).astype(np.float32) for _ in range(3))
    if kind == "scores that grow from key to key":
        q[:], k[:] = np.abs(q), np.linspace(0, 3, N)[:, None]
    if kind == "scores of several hundred":
        q *= 30
        k *= 30
    return q, k, v


@exercise
def fused_attention(source):
    """Compared for 1, 40, 70 and 133 tokens, with growing and with huge scores, in four thread orders."""
    path = compiled(source, "fused")
    cases = (1, "ordinary scores"), (40, "ordinary scores"), (133, "scores that grow from key to key"), (
        70, "scores of several hundred")  # fmt: skip
    for N, kind in cases:
        q, k, v = _qkv(N, kind)
        scale = 8**-0.5
        want = _attention(q, k, v, scale)
        sums = _attention(q, k, v, scale, divided=False)
        slips = {
            "the scores are not scaled": _attention(q, k, v, 1.0),
            "the results are not divided by the sum": sums,
            "a new maximum has to scale down what was summed before": lambda a=(q, k, v, scale): _unfaded(*a),
            "this is the mean of all values": np.broadcast_to(v.astype(float).mean(axis=0), v.shape),
        }
        for modes in ORDERS:
            given, out = f"N={N}, {kind}, {order_of(modes)}", np.full((N, 8), np.nan, np.float32)
            judged_run(path, "fused", -(-N // 32), 32, (q, k, v, out, N, scale), given=given, **modes)
            if np.isnan(out).all():
                why = "nothing was written, or infinity over infinity: subtract the largest score seen so far."
                raise Wrong(f"for {given}, out is NaN everywhere: {why}")
            expect(out, want, given=given, slips=slips, what="out", tol=1e-4)


def _attention(q, k, v, scale, divided=True):
    s = q.astype(float) @ k.T.astype(float) * scale
    p = np.exp(s - s.max(axis=1, keepdims=True))
    return p @ v / (p.sum(axis=1, keepdims=True) if divided else 1)


def _unfaded(q, k, v, scale):
    s = q.astype(float) @ k.T.astype(float) * scale
    p = np.exp(s - np.maximum.accumulate(s, axis=1))
    return p @ v / p.sum(axis=1, keepdims=True)


_WALK = """
#include "ptx.cuh"
__global__ void walk(const float* x, float* y, int tiles) {
  __shared__ __align__(16) float buffer[2][128];
  int t = threadIdx.x;
  float sum = 0.0f;
  cp_async16(&buffer[0][4 * t], x + 4 * t);
  cp_async_commit();
  for (int k = 0; k < tiles; k++) {
    cp_async_wait<%s>();
    %s
    if (k + 1 < tiles) {
      cp_async16(&buffer[(k + 1) %% 2][4 * t], x + 128 * (k + 1) + 4 * t);
      cp_async_commit();
    }
    for (int i = 0; i < 4; i++) sum += buffer[k %% 2][4 * %s + i];
  }
  y[t] = sum;
}
"""
_SERIAL = """
#include "ptx.cuh"
__global__ void walk(const float* x, float* y, int tiles) {
  __shared__ __align__(16) float buffer[2][128];
  int t = threadIdx.x;
  float sum = 0.0f;
  cp_async16(&buffer[0][4 * t], x + 4 * t);
  cp_async_commit();
  for (int k = 0; k < tiles; k++) {
    if (k + 1 < tiles) {
      cp_async16(&buffer[(k + 1) % 2][4 * t], x + 128 * (k + 1) + 4 * t);
      cp_async_commit();
    }
    cp_async_wait<0>();  // waits for the next tile as well
    __syncthreads();
    for (int i = 0; i < 4; i++) sum += buffer[k % 2][4 * (31 - t) + i];
    __syncthreads();
  }
  y[t] = sum;
}
"""
_FUSED = """
__global__ void fused(const float* q, const float* k, const float* v, float* out, int N, float scale) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= N) return;
  float o[8] = {}, top = %s, sum = 0.0f;
  for (int j = 0; j < N; j++) {
    float s = 0.0f;
    for (int d = 0; d < 8; d++) s += q[i * 8 + d] * k[j * 8 + d];
    s *= %s;
    float above = fmaxf(top, s), fade = %s, p = expf(s - above);
    sum = sum * fade + p;
    for (int d = 0; d < 8; d++) o[d] = o[d] * fade + p * v[j * 8 + d];
    top = above;
  }
  for (int d = 0; d < 8; d++) out[i * 8 + d] = o[d] / %s;
}
"""
_B, _FADE = "__syncthreads();", "expf(top - above)"
WRONG = {
    "traffic": [
        lambda N, D, rows, size: 4 * N * D * size,
        lambda N, D, rows, size: 2 * N * D * size * (1 + N // rows),
        lambda N, D, rows, size: 2 * N * D * (1 + -(-N // rows)),
        lambda N, D, rows, size: 2 * N * D * size * (1 + N / rows),
        lambda N, D, rows, size: 2 * -(-N // rows) * N * D * size,
    ],
    "owner": [
        lambda row, column: (row % 8 * 4 + column // 2, column % 2),
        lambda row, column: (row * 4 + column // 2, row // 8 * 2 + column % 2),
        lambda row, column: (row // 8 * 2 + column % 2, row % 8 * 4 + column // 2),
        lambda row, column: (row % 8 * 4 + column % 4, row // 8 * 2 + column // 4),
        lambda row, column: row % 8 * 4 + column // 2,
    ],
    "fixed_walk": [
        _WALK % ("1", _B, "(31 - t)"), _WALK % ("0", "", "(31 - t)"), _WALK % ("0", _B, "t"),
        (_WALK % ("0", _B, "(31 - t)")).replace("buffer[(k + 1) % 2]", "buffer[k % 2]"),
        (_WALK % ("0", _B, "(31 - t)")).replace("y[t] = sum", "y[t + 1] = sum"), _SERIAL,
    ],
    "fused_attention": [
        _FUSED % ("-INFINITY", "1.0f", _FADE, "sum"), _FUSED % ("-INFINITY", "scale", _FADE, "1.0f"),
        _FUSED % ("-INFINITY", "scale", "1.0f", "sum"),
        (_FUSED % ("-INFINITY", "scale", "1.0f", "sum")).replace("expf(s - above)", "expf(s)"),
        (_FUSED % ("-INFINITY", "scale", _FADE, "sum")).replace("if (i >= N) return;", ""),
        (_FUSED % ("-INFINITY", "scale", _FADE, "sum")).replace("j < N", "j <= N"),
    ],
}  # fmt: skip
