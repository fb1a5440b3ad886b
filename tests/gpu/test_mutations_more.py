"""Bugs planted in the log-mel and the TF32 kernels: their own checks must notice each in some thread order."""

import numpy as np
import pytest

from minast.gpu import kernel_source
from tests.emulated import needs_emulator
from tests.gpu import test_kernels_log_mel, test_kernels_tf32
from tests.gpu.test_mutations import edited, noticed, removed
from tests.kernel_cases import ORDERS

pytestmark = needs_emulator

LOG_MEL, TF32 = "log_mel.cu", "attention_tf32.cu"


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
