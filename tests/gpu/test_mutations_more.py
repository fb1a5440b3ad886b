"""Bugs planted in the log-mel and the TF32 kernels, and in what loads several values before it uses the first.

Their own checks must notice each in some thread order.
"""

import numpy as np
import pytest

from minast.gpu import kernel_source
from tests.emulated import needs_emulator
from tests.gpu import (
    test_kernels,
    test_kernels_adam,
    test_kernels_class_attention,
    test_kernels_log_mel,
    test_kernels_tf32,
    test_kernels_tokens,
)
from tests.gpu.test_mutations import attention as fused
from tests.gpu.test_mutations import biased, edited, noticed, removed
from tests.kernel_cases import ORDERS

pytestmark = needs_emulator

LOG_MEL, TF32, COMMON = "log_mel.cu", "attention_tf32.cu", "common.cuh"


def mel(put, rate=16000, version=2, bins=128):
    test_kernels_log_mel.check_log_mel(put, np.random.default_rng(3), rate, version, bins)


def radix2(put):
    mel(put, version=1)


def dft(put):
    mel(put, rate=4000, version=0)


def twice_a_power_of_four(put):  # 128 pairs
    mel(put, rate=8000)


def attention(put):
    test_kernels_tf32.check_attention(put, (1, 146, 2, 16), 1)


def wide(put):
    test_kernels_tf32.check_attention(put, (2, 130, 1, 48), 2)


def seeded(check, *args):
    """A check of the other files, with this name and its own random numbers."""

    def checked(put):
        check(put, np.random.default_rng(4), *args)

    checked.__name__ = check.__name__
    return checked


def softmax(dtype, R, C):
    return seeded(test_kernels.test_softmax, dtype, R, C)


def columns(R, C):
    return seeded(test_kernels.test_column_sums_are_added, 1, "bfloat16", R, C)


def gelu(R, C):
    return seeded(test_kernels.test_gelu, "erf", "float16", (R, C))


def pool(put):
    test_kernels_tokens.check_pool(put, np.random.default_rng(4), "bfloat16", 3, 2, 9, 130)


def unfold(shape):
    return seeded(test_kernels.test_unfold, 1, "float32", shape, (10, 10))


def gather(strides):
    return seeded(test_kernels.test_unfold_backward_is_the_adjoint, "float16", (1, 70, 45), strides)


def bce(put):
    test_kernels.test_bce(put, np.random.default_rng(4), "float32", False, 5, 527)


def norm(put):
    test_kernels_adam.test_gradient_norm(put, 2_162_684)


def few_queries(put):
    test_kernels_class_attention.check_attend(put, "bfloat16", (1, 2, 7, 1, 64), True)


delta, delta_biased = fused("float32", 2, (1, 50, 1, 32)), biased("float16", 5, (1, 50, 1, 32))

huge, growing, unbiased, one = (
    test_kernels_tf32.check_huge_scores,
    test_kernels_tf32.check_growing_scores,
    test_kernels_tf32.check_unbiased,
    test_kernels_tf32.check_one_token,
)

MUTATIONS = {
    # log-mel: a barrier that is not there
    "warps take the mean before all have left their sums": (
        LOG_MEL, removed("__syncthreads();  // all warps have left their sums"), mel),
    "the transform starts before the frame is there": (
        LOG_MEL, removed("__syncthreads();  // the frame is complete"), dft),
    "a pass of two starts before the last is complete": (
        LOG_MEL, removed("__syncthreads();  // this pass is complete"), radix2),
    "a pass of four starts before the last is complete": (
        LOG_MEL, removed("__syncthreads();  // this pass of four is complete"), mel),
    "filters read powers that are not there yet": (
        LOG_MEL, removed("__syncthreads();  // all powers are there"), mel),
    "filters read sums that are not there yet": (
        LOG_MEL, removed("__syncthreads();  // all powers of the sums are there"), dft),
    # the front end
    "the mean stays": (LOG_MEL, ("sum_of_block<THREADS>(sum) / frame", "0.0f * sum_of_block<THREADS>(sum)"), mel),
    "no pre-emphasis": (LOG_MEL, ("- 0.97f * before", "- 0.0f * before"), mel),
    "the sample before the first is zero": (LOG_MEL, ("x[i ? i - 1 : 0] - mean", "(i ? x[i - 1] - mean : 0.0f)"), mel),
    "a sample too many": (LOG_MEL, ("if (i >= frame) return", "if (i > frame) return"), mel),
    # the transform
    "b and d turn the other way": (LOG_MEL, ("{-a.im, a.re}", "{a.im, -a.re}"), mel),
    "the second of four is not turned": (LOG_MEL, ("(odd - turned) * turns[turn]", "(odd - turned)"), mel),
    "the fourth of four has the third's turn": (LOG_MEL, ("turns[3 * turn]", "turns[2 * turn]"), mel),
    "turns do not follow the sequence": (LOG_MEL, ("turn = 2 * (i - q)", "turn = 2 * i"), mel),
    "interleaved sequences are mixed up": (LOG_MEL, ("to = 4 * i - 3 * q", "to = 4 * i"), mel),
    "the last pass of two is left out": (LOG_MEL, ("if (s < N / 2) {", "if (false) {"), twice_a_power_of_four),
    "places collide": (LOG_MEL, ("i ^ (i / 16 % 4 * 5)", "i & ~(i / 16 % 4 * 5)"), mel),
    "odd samples are not turned": (LOG_MEL, ("e + o * turns[k]", "e + o"), mel),
    "the mirrored number is the wrong one": (LOG_MEL, ("k ? N / 2 - k : 0", "N / 2 - 1 - k"), mel),
    # filters
    "a filter lacks its last bin": (LOG_MEL, ("j < end; ++j", "j < end - 1; ++j"), mel),
    "a filter starts a bin late": (LOG_MEL, ("powers + firsts[m] - begin", "powers + firsts[m] + 1 - begin"), mel),
    "no floor": (LOG_MEL, ("fmaxf(sum, floor)", "sum"), mel),
    "filters beyond the number of threads are left out": (
        LOG_MEL, ("m < F; m += FFT_THREADS<N>", "m < F; m += F"), mel),
    # TF32: barriers
    "queries are taken before they are there": (
        TF32, (r"__syncthreads\(\);  // the queries are here\n#pragma", "#pragma"), attention),
    "keys replace what other warps still read": (
        TF32, removed("__syncthreads();  // all warps have read the queries, or the last keys and values"), attention),
    "keys are read before they are there": (
        TF32, (r"__syncthreads\(\);  // keys and values are here\n    float s", "float s"), attention),
    "do is read before it is there, in dkv": (
        TF32, removed("__syncthreads();  // queries and do are here"), attention),
    "queries replace what other warps still read, in dkv": (
        TF32, removed("__syncthreads();  // the values, or the last queries and do, have been read"), attention),
    "values replace the keys too early, in dkv": (
        TF32, removed("__syncthreads();  // all have read their keys"), attention),
    "do replaces the queries too early, in dq": (
        TF32, removed("__syncthreads();  // all have read their queries"), attention),
    "keys replace what other warps still read, in dq": (
        TF32, removed("__syncthreads();  // do, or the last keys and values, have been read"), attention),
    # rounding
    "tiles are truncated": (TF32, ("four[k] = to_tf32(four[k])", "four[k] = four[k]"), one),
    "probabilities are truncated": (TF32, ("a[m][i] = to_tf32(w", "a[m][i] = (w"), unbiased),
    # fragments
    "rows and columns of a left operand are exchanged": (
        TF32, ("i % 2 * 8 * PITCH<D> + k * 8 + i / 2 * 4", "i / 2 * 8 * PITCH<D> + k * 8 + i % 2 * 4"), attention),
    "a result's columns are not renamed": (TF32, ("w[m][k][i % 2 * 2 + i / 2]", "w[m][k][i]"), attention),
    "rows of the right operand are not renamed": (
        TF32, (r"threadIdx.x % 4 \* 2 \* PITCH<D> \+ threadIdx.x % WARP / 4;",
               "threadIdx.x % 4 * PITCH<D> + threadIdx.x % WARP / 4;"), attention),
    "the second fragment is the first": (TF32, ("load_left<D>(q[m], shared, (warp * M + m) * 16)",
                                                "load_left<D>(q[m], shared, warp * M * 16)"), wide),
    # softmax and ends
    "a key too many": (TF32, ("x = first + n * 8 + pair + e < N ?", "x = first + n * 8 + pair + e <= N ?"), attention),
    "a row too many is loaded": (TF32, ("if (r < rows) load4", "if (r <= rows) load4"), attention),
    "a new maximum does not scale the sum": (TF32, removed("sum[m][half] *= fade;"), growing),
    "a new maximum does not scale the row": (
        TF32, ("o[m][n][2 * half] *= fade, o[m][n][2 * half + 1] *= fade;", ";"), growing),
    "keys beyond the end weigh in dq": (TF32, ("there ? exp2_approx", "true ? exp2_approx"), huge),
    "the second half of a fragment has the first's delta": (
        TF32, ("row_delta[e / 2]", "row_delta[0]"), attention),
    "dk is not scaled": (TF32, ("dk[0], j, N, scale, scale", "dk[0], j, N, 1.0f, 1.0f"), attention),
    "the last row is not stored": (TF32, ("if (row < rows)", "if (row < rows - 1)"), attention),
    # several loads in flight: what is kept raw
    "halves of a word are exchanged": (
        COMMON, (">> k * sizeof(T) % 4 * 8", ">> (1 - k) * sizeof(T) % 4 * 8"), softmax("bfloat16", 5, 128)),
    "single elements fall on each other": (
        COMMON, ("<< k * sizeof(T) % 4 * 8", "<< 0"), softmax("bfloat16", 7, 13)),
    # a round too few, a place twice, an end missed
    "every other stretch of a row is skipped": (
        "softmax.cu", (r"STRETCH = AHEAD \* WARP \* 4", "STRETCH = 2 * AHEAD * WARP * 4"), softmax("float16", 3, 1214)),
    "a stretch has the length of its row": (
        "softmax.cu", (r"columns - at, lane, raw\);(?=\n.*\n.*\n      const int c)", "columns, lane, raw);"),
        softmax("float32", 4, 516)),
    "a row beyond the last": (
        COMMON, ("r < rows ? columns - c : 0", "r <= rows ? columns - c : 0"), columns(16, 8)),
    "a row ahead is taken twice": (
        COMMON, ("r = first + a * step;", "r = first + a / 2 * step;"), columns(2500, 96)),
    "rows are skipped": ("columns.cu", ("r += AHEAD * step", "r += 2 * AHEAD * step"), columns(8500, 7)),
    "a row beyond the last has a gradient": (
        "gelu.cu", ("if (r >= rows) break;", "if (r > rows) break;"), gelu(16, 13)),
    "rows with GELU's gradient are skipped": (
        "gelu.cu", ("first += AHEAD * step", "first += 2 * AHEAD * step"), gelu(4300, 4)),
    "a third token is left out": ("tokens.cu", ("t < P; t += 2", "t < 2; t += 2"), pool),
    "single elements beyond the last": (
        COMMON, ("p[min(at + a * step, n - 1)]", "p[at + a * step]"), unfold((2, 37, 29))),
    "a strip's frames run into each other": ("unfold.cu", removed("if (m >= bins) m -= bins;"), unfold((2, 37, 29))),
    "a frame is passed over": ("unfold.cu", (" + (m >= bins);", ";"), unfold((2, 37, 29))),
    "the end of a strip stays as it was": (
        "unfold.cu", ("at += AHEAD * step", "at += 2 * AHEAD * step"), unfold((1, 17, 145))),
    "a patch that is not there": ("unfold.cu", (" && at + e <= t.last;", ";"), gather((10, 10))),
    "the last patch above is left out": ("unfold.cu", ("most >= 0", "most > 0"), gather((10, 10))),
    "patches are skipped": ("unfold.cu", ("at += EACH", "at += 2 * EACH"), gather((16, 1))),
    "the tile is read while it is written": ("unfold.cu", removed("__syncthreads();  // the tile is complete"),
                                             gather((10, 10))),
    "the last class counts for those that are not there": (
        "loss.cu", ("if (first + a * WARP < classes) sum", "sum"), bce),
    "gradients beyond the last": (
        "adamw.cu", ("at + (AHEAD - 1) * stride + 4 <= n", "at + (AHEAD - 1) * stride <= n"), norm),
    "a gradient is taken twice": ("adamw.cu", ("g + at + a * stride", "g + at + a / 2 * stride"), norm),
    "a key beyond the last": ("class_attention.cu", ("mine && j < N", "mine && j <= N + 24"), few_queries),
    "delta of rows that are not there": ("attention_backward.cu", ("r < rows ? 4 : 0", "4"), delta),
    "delta has the first of its fours twice": (
        "attention_backward.cu", ("load_raw<true>(dout + r * D + at + 16 * i", "load_raw<true>(dout + r * D + at"),
        delta),
    "delta has the bias of the first four": (
        "attention_backward.cu", (r"h\) \* D \+ at \+ 16 \* i", "h) * D + at"), delta_biased),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_planted_bugs_are_noticed(name, tmp_path):
    file, edit, checked = MUTATIONS[name]
    with kernel_source.using_folder(edited(tmp_path / "kernels", file, edit)):
        assert any(noticed(checked, place) for place in ORDERS), "in no thread order"


@pytest.mark.parametrize("checked", dict.fromkeys(m[2] for m in MUTATIONS.values()), ids=lambda c: c.__name__)
def test_without_the_bug_the_same_checks_pass(checked):
    for place in ORDERS:
        assert noticed(checked, place) is None
