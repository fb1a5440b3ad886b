"""Checks of notebook 7. Three answers are CUDA source, compiled and run in the emulator; one is a function."""

import numpy as np

from lab import ORDERS, compiled, judged_run, order_of
from minast.gpu.kernel_source import without_comments

from .verdict import Wrong, exercise, expect

NEEDS_EMULATOR = True  # the checks of kernels say "not done" where there is no C++ compiler


def _rng():
    return np.random.default_rng(70)


@exercise
def add_bias(source):
    """Right at four sizes, from one element to 13 x 67, with guarded arrays, in four thread orders."""
    path = compiled(source, "add_bias")
    for rows, columns in ((4, 32), (1, 1), (13, 67), (7, 5)):
        x = _rng().normal(size=(rows, columns)).astype(np.float32)
        b = _rng().normal(size=columns).astype(np.float32) + 10
        want = x + b
        for modes in ORDERS:
            given = f"{rows} x {columns}, {order_of(modes)}"
            y = np.full_like(x, np.nan)
            grid = -(-columns // 32), -(-rows // 4)
            judged_run(path, "add_bias", grid, (32, 4), (x, b, y, rows, columns), given=given, **modes)
            if np.isnan(y).all():
                raise Wrong(f"for {given}, your kernel writes nothing to y.")
            slips = {
                "y got x alone": x,
                "you indexed b by the row: it has one value a column": _by_row(x, b),
            }
            expect(y, want, given=given, slips=slips, what="y")


def _by_row(x, b):
    return x + b[np.minimum(np.arange(len(x)), len(b) - 1)][:, None]


@exercise
def fixed_reverse(source):
    """The same result in eight thread orders, at three lengths. (Two barriers would do: the last is not needed.)"""
    path = compiled(source, "reverse")
    for n in (64, 200, 13):
        x = _rng().normal(size=n).astype(np.float32)
        padded = np.zeros(-(-n // 64) * 64, np.float32)
        padded[:n] = x
        want = 2 * padded.reshape(-1, 64)[:, ::-1].reshape(-1)[:n]
        for modes in (*ORDERS, *({"order": "random", "seed": s} for s in range(3, 7))):
            given, y = f"n={n}, {order_of(modes)}", np.full(n, np.nan, np.float32)
            judged_run(path, "reverse", len(padded) // 64, 64, (x, y, n), given=given, **modes)
            slips = {"nothing is doubled any more": want / 2, "nothing is reversed any more": 2 * x}
            try:
                expect(y, want, given=given, slips=slips, what="y")
            except Wrong as wrong:
                race = " If it is right in some orders only, two accesses still race: who reads box[63 - t] while its"
                raise Wrong(f"{wrong}{race} owner writes the doubled value into it?") from None
    barriers = without_comments(source).count("__syncthreads")
    if barriers > 3:
        raise Wrong(f"the result is right, but with {barriers} barriers: only one was missing. Which do nothing?")


@exercise
def log_sum_exp(source):
    """Right at five sizes, for rows shorter than a warp and for values near 1000, in four thread orders."""
    path = compiled(source, "log_sum_exp")
    cases = (("small values", (5, 64), 1, 0), ("rows shorter than a warp", (6, 13), 1, 0),
             ("rows of 100", (9, 100), 2, 0), ("values near 1000", (3, 40), 5, 1000),
             ("values near -1000", (3, 40), 5, -1000))  # fmt: skip
    for what, shape, spread, middle in cases:
        x = (middle + spread * _rng().normal(size=shape)).astype(np.float32)
        wide = x.astype(np.float64)
        top = wide.max(axis=1)
        rest = np.log(np.exp(wide - top[:, None]).sum(axis=1))
        slips = {"the maximum has to be added back after the logarithm": rest,
                 "this is the maximum alone": top,
                 "this is the sum before the logarithm": np.exp(rest),
                 "only 32 columns of each row were read": _first_columns(wide)}  # fmt: skip
        for modes in ORDERS:
            given, lse = f"{what} ({shape[0]} x {shape[1]}), {order_of(modes)}", np.full(shape[0], np.nan, np.float32)
            judged_run(path, "log_sum_exp", -(-shape[0] // 4), (32, 4), (x, lse, *shape), given=given, **modes)
            if np.isnan(lse).all():
                why = "nothing was written, or -inf minus -inf was computed."
                raise Wrong(f"for {given}, lse is NaN everywhere: {why}")
            if np.isinf(lse).any():
                why = "an exponential overflows, or all of them vanish. Subtract the row's maximum first."
                raise Wrong(f"for {given}, lse is infinite: {why}")
            expect(lse, top + rest, given=given, slips=slips, what="lse", tol=1e-6)


def _first_columns(x):
    return np.log(np.exp(x[:, :32] - x.max(axis=1, keepdims=True)).sum(axis=1)) + x.max(axis=1)


@exercise
def turns(function):
    """Right for strides 1, 2, 3, 32, 33, for one broadcast, for both at once, and for random indices."""
    lane = np.arange(32)
    cases = {f"indices {s} * lane": s * lane for s in (1, 2, 3, 32, 33)}
    cases["all lanes want index 5"] = 0 * lane + 5
    cases["indices lane // 2 * 32"] = lane // 2 * 32
    cases |= {f"random indices, draw {i}": np.random.default_rng(i).integers(0, 200, 32) for i in range(3)}
    for given, indices in cases.items():
        banks = {}
        for index in indices.tolist():
            banks.setdefault(index % 32, set()).add(index)
        slips = {"you counted lanes: those that want the same index are served together":
                 int(np.bincount(indices % 32).max()),
                 "this is the number of banks in use": len(banks),
                 "this is the number of different indices": len(set(indices.tolist()))}  # fmt: skip
        expect(function(indices.copy()), max(map(len, banks.values())), given=given, slips=slips)


_ADD = """
__global__ void add_bias(const float* x, const float* b, float* y, int rows, int columns) {
  int c = blockIdx.x * blockDim.x + threadIdx.x, r = blockIdx.y * blockDim.y + threadIdx.y;
  %s y[r * columns + c] = x[r * columns + c] + b[%s];
}
"""
_REVERSE = """
__global__ void reverse(const float* x, float* y, int n) {
  __shared__ float box[64];
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  box[t] = i < n ? x[i] : 0.0f;
  %s
  float mine = box[63 - t];
  %s
  box[t] = 2.0f * mine;
  __syncthreads();
  if (i < n) y[i] = box[%s];
}
"""
_LSE = """
__global__ void log_sum_exp(const float* x, float* lse, int rows, int columns) {
  int r = blockIdx.x * blockDim.y + threadIdx.y;
  if (r >= rows) return;
  x += r * columns;
  float top = %s, sum = 0.0f;
  for (int c = threadIdx.x; c < columns; c += 32) top = fmaxf(top, x[c]);
  for (int step = 16; step > 0; step /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, step));
  for (int c = threadIdx.x; c < columns; c += %s) sum += expf(x[c] - top);
  for (int step = 16; step > %s; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (threadIdx.x == 0) lse[r] = %s;
}
"""
_B = "__syncthreads();"
WRONG = {
    "add_bias": [
        _ADD % ("", "c"), _ADD % ("if (r < rows)", "c"), _ADD % ("if (r < rows && c < columns)", "r < columns ? r : 0"),
        _ADD % ("if (r < rows - 1 && c < columns)", "c"), "__global__ void other(float* x) {}",
        (_ADD % ("if (r < rows && c < columns)", "c")).replace("b[c];", "b[c]"),
        _ADD.replace("{", "{ return;") % ("if (r < rows && c < columns)", "c"),
    ],
    "fixed_reverse": [
        _REVERSE % (_B, "", "t"), _REVERSE % ("", _B, "t"), _REVERSE % (_B, "if (t < 32) __syncthreads();", "t"),
        _REVERSE % (_B, _B + _B, "t"), _REVERSE % (_B, _B, "63 - t"),
    ],
    "log_sum_exp": [
        _LSE % ("-INFINITY", "32", "0", "logf(sum)"), _LSE % ("-INFINITY", "32", "1", "top + logf(sum)"),
        _LSE % ("0.0f", "32", "0", "top + logf(sum)"), _LSE % ("-INFINITY", "64", "0", "top + logf(sum)"),
        (_LSE % ("-INFINITY", "32", "0", "logf(sum)")).replace("expf(x[c] - top)", "expf(x[c])"),
    ],
    "turns": [
        lambda indices: int(np.bincount(indices % 32).max()), lambda indices: len(np.unique(indices % 32)),
        lambda indices: 1, lambda indices: len(np.unique(indices)), lambda indices: 32 / len(np.unique(indices % 32)),
    ],
}  # fmt: skip
