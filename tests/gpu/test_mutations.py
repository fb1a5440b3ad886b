"""Bugs planted in the real kernels, one at a time: the suite's own checks must notice each in some thread order.

A mutation is one textual edit of one file. Its check is a test of the suite, at one size that could show the bug.
"""

import re
import shutil

import numpy as np
import pytest

from minast import cuda
from minast.cuda import rowwise
from minast.errors import Error
from minast.gpu import kernel_source
from minast.launch import emulation, launch
from tests.emulated import needs_emulator
from tests.gpu import (
    test_emulator,
    test_half,
    test_kernels,
    test_kernels_adam,
    test_kernels_attention,
    test_kernels_class_attention,
    test_kernels_tokens,
)
from tests.kernel_cases import ORDERS, unwritten_is_nan

pytestmark = needs_emulator


def attention(dtype, version, size=(1, 146, 1, 16)):
    """One version of attention and the backward kernels, as test_kernels_attention holds them against the reference."""

    def one_version(put):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(test_kernels_attention.VERSIONS, dtype, (version,))
            test_kernels_attention.test_forward_and_backward(put, dtype, size)

    return one_version


def biased(dtype, version, size=(1, 146, 1, 16)):
    return lambda put: test_kernels_attention.check_bias(put, dtype, size, version)


def attend(dtype, size=(1, 2, 130, 1, 16)):
    return lambda put: test_kernels_class_attention.check_attend(put, dtype, size, True)


def check(test, *args):
    return lambda put: test(put, np.random.default_rng(4), *args)


def removed(text):
    return text, ""


MUTATIONS = {
    # a barrier or a wait that is not there
    "keys are replaced while slower warps still use them": (
        "attention.cu", removed("__syncthreads();  // all threads are done with the last keys"),
        attention("float32", 1)),
    "keys are replaced while slower warps still use them, in register tiles": (
        "attention.cu", removed("__syncthreads();  // all warps are done with the last keys and values"),
        attention("float32", 2)),
    "probabilities are read before the other lanes have written them": (
        "attention.cu", removed("__syncwarp();  // a row's probabilities are written and read by one warp"),
        attention("float32", 2)),
    "the next copy starts before all have left the buffer": (
        "attention.cu",
        ("cp_async_wait<0>();\n    __syncthreads();  // this tile has arrived for all", "cp_async_wait<0>();  //"),
        attention("float16", 5)),
    "the copy under way is used": (
        "attention.cu",
        (r"cp_async_wait<0>(?=\(\);\n    __syncthreads\(\);  // the tile)", "cp_async_wait<1>"),
        attention("float16", 6)),
    "the copy goes into the buffer in use": (
        "attention.cu", ("fetch(buffers + (now ^ 1) * BUFFER, left", "fetch(buffers + now * BUFFER, left"),
        attention("float16", 6)),
    "a warp's columns are summed over the sums of the last array": (
        "attention_mma.cuh", removed("__syncthreads();  // they have been read: the room may be used again"),
        attention("float16", 6)),
    "column sums are made before all warps have left theirs": (
        "attention_mma.cuh", removed("__syncthreads();  // all four warps have left their sums"),
        attention("float16", 6)),
    "column sums take rows that are not there": (
        "attention_mma.cuh", ("row + 16 * m < rows ? acc", "row >= 0 ? acc"), attention("float16", 6)),
    "the sums of a warp are left out": (
        "attention_mma.cuh", ("room[3 * D + threadIdx.x]", "0.0f"), attention("bfloat16", 6)),
    "a walk takes the same tile again": (
        "attention_mma.cuh", removed("from += STEP * stride;"), attention("bfloat16", 6)),
    "ds replaces p while other warps still read p": (
        "attention_backward.cu", removed("__syncthreads();  // p has been read: ds takes its place"),
        attention("float32", 2)),
    "the tree of a block's sum runs ahead": (
        "common.cuh", ("    __syncthreads();\n    if (threadIdx.x < half)", "    if (threadIdx.x < half)"),
        check(test_kernels.test_bce, "float32", False, 300, 2)),
    "a block's second sum starts while the first is read": (
        "common.cuh", removed("__syncthreads();  // all have read it: the next call may write"),
        check(test_emulator.two_sums_of_a_block)),
    "the strip is read while it is written": (
        "unfold.cu", removed("__syncthreads();  // the strip is complete"),
        check(test_kernels.test_unfold, 1, "float32", (2, 37, 29), (10, 10))),
    "warps of a layer norm add at once": (
        "layernorm.cu", ("    }\n    __syncthreads();\n  }", "    }\n  }"),
        check(test_kernels.test_layernorm, "float32", (7, 13))),
    "warps of a residual's norm add at once": (
        "residual.cu", removed("__syncthreads();  // the next warp adds to what this one left"),
        check(test_half.check_residual_norm, "bfloat16", (7, 13))),
    "sums of a bias are collected too early": (
        "gelu.cu", removed("__syncthreads();  // all eight rows of threads have left their sums"),
        check(test_kernels.test_gelu, "erf", "bfloat16", (19, 130))),
    "a few queries' sums are collected too early": (
        "class_attention.cu", removed("__syncthreads();  // all warps have left their sums"), attend("float32")),
    "parts of a query's gradient are collected too early": (
        "class_attention.cu", removed("__syncthreads();  // all warps have left their parts of dq"),
        attend("bfloat16")),
    "sums over clips are collected too early": (
        "tokens.cu", removed("__syncthreads();  // all eight tokens' sums are here"),
        check(test_kernels_tokens.check_tokens, "float32", 2, 3, 7, 13)),
    # an end of an array, missed by one
    "a clip too many": (
        "tokens.cu", ("if (first + a < clips) load4_tail", "if (first + a <= clips) load4_tail"),
        check(test_kernels_tokens.check_tokens, "float32", 1, 3, 7, 13)),
    "the prefix adds to the patches' bias": (
        "tokens.cu", ("t < P ? 0.0f : sum[k]", "sum[k]"),
        check(test_kernels_tokens.check_tokens, "bfloat16", 1, 3, 7, 13)),
    "tokens behind the prefix are left unwritten": (
        "tokens.cu", ("const long long b = blockIdx.z;\n", "const long long b = blockIdx.z;\n  if (t >= P) return;\n"),
        check(test_kernels_tokens.check_pool, "float32", 2, 2, 130, 20)),
    "a patch's gradient goes to the one above it": (
        "tokens.cu", ("if (keep[middle] < patch)", "if (keep[middle] <= patch)"),
        check(test_kernels_tokens.check_patchout, 1, 3, 7, 3, 13)),
    "patches left out keep what was in memory": (
        "tokens.cu", ("  store4_tail(dy + row", "  if (t < P || stayed) store4_tail(dy + row"),
        check(test_kernels_tokens.check_patchout, 1, 3, 7, 3, 13)),
    "a query too many gets its bias": (
        "attention_mma.cuh", ("if (r >= rows) break;", "if (r > rows) break;"), biased("float16", 4)),
    "keys that are not there weigh in a few queries' gradient": (
        "class_attention.cu", ("j < N ? exp2f(score", "j >= 0 ? exp2f(score"),
        lambda put: test_kernels_class_attention.test_huge_scores_that_grow(put, "float16", -1)),
    "a group without keys has a maximum": (
        "class_attention.cu", ("top[i] == -INFINITY ? 0.0f : exp2f", "exp2f"), attend("float32", (1, 1, 1, 1, 16))),
    "a key too many": (
        "attention.cu", ("n * 8 + pair + e % 2 >= valid", "n * 8 + pair + e % 2 > valid"), attention("float16", 4)),
    "a row too many is loaded": (
        "attention_tiles.cuh", ("if (r < rows) four", "if (r <= rows) four"), attention("float32", 2, (1, 50, 1, 16))),
    "a value too many at the end of a row": (
        "common.cuh", ("x[k] = i + k < n ? to_float", "x[k] = i + k <= n ? to_float"),
        check(test_kernels_tokens.check_pool, "float32", 2, 3, 2, 13)),
    "the last value of a row is not written": (
        "common.cuh", ("if (i + k < n) p[i + k] = from_float", "if (i + k + 1 < n) p[i + k] = from_float"),
        check(test_kernels.test_softmax, "float32", 7, 13)),
    "the gradient of the values is not written": (
        "attention_backward.cu", removed("store_columns<COLS, GN>(out + 2 * width, dv[r], 1.0f, tx);"),
        attention("float32", 2, (1, 50, 1, 16))),
    "a statistic of the loss is not written": (
        "loss.cu", removed("stats[r * 3 + 1] = log_sum;"),
        check(test_kernels.test_cross_entropy, "float32", False, False, 5, 527)),
    "one weight too many": (
        "adamw.cu", (r"if \(at >= n\) return;\n  if \(fade\)", "if (at > n) return;\n  if (fade)"),
        lambda put: test_kernels_adam.test_adam(put, 0, True, True, 13)),
    "the bias runs on": (
        "gelu.cu", ("columns % N == 0 && aligned(bias)", "aligned(bias)"),
        check(test_kernels.test_gelu, "erf", "bfloat16", (7, 13))),
    "a row's last elements, read one by one": (
        "common.cuh", ("if (k < left) raw.word", "if (k + 1 < left) raw.word"),
        check(test_kernels.test_layernorm, "float32", (7, 13))),
    "a row's chunks, read beyond its end": (
        "common.cuh", ("if (left > 0) raw =", "if (left >= 0) raw ="),
        check(test_kernels.test_layernorm, "float32", (1, 96))),
    "the column after the last": (
        "gelu.cu", ("c = c + 1 == columns ? 0 : c + 1", "c = c == columns ? 0 : c + 1"),
        check(test_kernels.test_gelu, "erf", "float32", (7, 13))),
    # the wrong lane, row or width
    "a maximum over two lanes instead of four": (
        "attention.cu", ("warp_max<4>(above[m][half])", "warp_max<2>(above[m][half])"),
        lambda put: test_kernels_attention.test_scores_that_grow_from_key_to_key(put, "float16")),
    "fragments are loaded from the wrong lanes' rows": (
        "attention_mma.cuh",
        ("(row + lane % 16) * PITCH16<D> + k + lane / 16", "(row + lane % 8) * PITCH16<D> + k + lane / 16"),
        attention("float16", 4, (1, 50, 1, 16))),
    "a shuffle skips its last step": (
        "common.cuh", ("step > 0; step /= 2) x += __shfl", "step > 1; step /= 2) x += __shfl"),
        check(test_kernels.test_softmax, "float32", 5, 128)),
    "two warps have no turn": (
        "layernorm.cu", ("if (threadIdx.y == turn)", "if (threadIdx.y == turn % 2)"),
        check(test_kernels.test_layernorm, "float32", (7, 13))),
    "patches of the adjoint begin one late": (
        "unfold.cu", ("(m - PATCH) / stride + 1", "(m - PATCH) / stride + 2"),
        check(test_kernels.test_unfold_backward_is_the_adjoint, "float32", (2, 37, 29), (10, 10))),
    "a row too many is copied at the end of a walk": (
        "attention_mma.cuh", ("row + r < rows);", "row + r <= rows);"), attention("bfloat16", 6)),
    # a wrong number
    "a maximum that lags is taken for the new one": (
        "attention.cu", ("const float shift = rows.top[m][half] * unit;", "const float shift = above[m][half] * unit;"),
        lambda put: test_kernels_attention.test_scores_that_grow_a_little_from_tile_to_tile(put, "float16")),
    "a maximum is never raised": (
        "attention.cu", ("rows.top[m][half]) * unit > SLACK", "rows.top[m][half]) * unit > 1e9f"),
        lambda put: test_kernels_attention.test_scores_that_grow_from_key_to_key(put, "float16")),
    "queries are not written back with their bias": (
        "attention_mma.cuh", removed("store4(source + r * stride + c + k, x);"), biased("float16", 5)),
    "the bias of the first head is all heads'": (
        "attention.cu", ("bias ? bias + 2 * width + h * D : nullptr", "bias ? bias + 2 * width : nullptr"),
        biased("bfloat16", 5, (1, 50, 2, 16))),
    "the values' bias is left in delta, of all queries": (
        "attention_backward.cu", ("x[k] -= shift[i][k];", ";"), biased("float16", 5)),
    "the values' bias is left in delta": (
        "class_attention.cu", ("sums[i][e] -= bias[2 * width", "sums[i][e] -= 0.0f * bias[2 * width"),
        attend("float16")),
    "what was summed does not fade": (
        "class_attention.cu", ("sums[i][e] = sums[i][e] * fade + p", "sums[i][e] = sums[i][e] + p"), attend("float32")),
    "the norm's gradient alone, without what comes along the stream": (
        "residual.cu", ("z[i][k] = past[i][k] + scale *", "z[i][k] = scale *"),
        check(test_half.check_residual_norm, "float16", (7, 13))),
    "the stream passes by the bias": (
        "residual.cu", ("row[i][k] += more[k] + raw_bias[i][k];", "row[i][k] += more[k];"),
        check(test_half.check_residual_norm, "float16", (7, 13))),
    "the bias's sum gets the norm's place": (
        "residual.cu", ("partial[(s * gridDim.x + blockIdx.x) * columns + c]",
                        "partial[(s % 2 * gridDim.x + blockIdx.x) * columns + c]"),
        check(test_half.check_residual_norm, "bfloat16", (7, 13))),
    "a prefix is taken from the wrong clip": (
        "residual.cu", ("r / prefix * tokens + r % prefix", "r / tokens * tokens + r % prefix"),
        check(test_half.check_residual_norm_of_a_prefix, "float32", 3, 7, 2, 96)),
    "a token behind the prefix gets its gradient": (
        "residual.cu", ("r % tokens >= prefix", "r % tokens > prefix"),
        check(test_half.check_residual_norm_of_a_prefix, "float16", 3, 7, 2, 96)),
    "an overflow is stepped on": (
        "adamw.cu", removed("if (norm && !isfinite(norm[0])) return;  // the same for all threads"),
        lambda put: test_kernels_adam.test_a_step_with_an_overflow_does_not_happen(put, 1, np.inf)),
    "a scaled gradient is clipped by its scaled length": (
        "adamw.cu", ("norm ? norm[0] * scale :", "norm ? norm[0] :"),
        lambda put: test_kernels_adam.test_a_scaled_gradient_is_the_same_step(put, 1, 0.5)),
    "a new maximum does not scale the sum": (
        "attention.cu", removed("rows.sum[m][half] *= fade;"),
        lambda put: test_kernels_attention.test_scores_that_grow_from_key_to_key(put, "float16")),
    "a new maximum does not scale the row": (
        "attention.cu", removed("for (int c = 0; c < COLS; ++c) o[r][c] *= fade;"),
        lambda put: test_kernels_attention.test_scores_that_grow_from_key_to_key(put, "float32")),
    "the log-sum of exp lacks its maximum": (
        "attention.cu", (r"top\[r\] \+ log2f\(sum\[r\]\)", "log2f(sum[r])"), attention("float32", 2)),
    "dq is not scaled": (
        "attention_backward.cu", (r"h \* D, dq\[r\], scale, tx\)", "h * D, dq[r], 1.0f, tx)"),
        attention("float32", 2, (1, 50, 1, 16))),
    "out is overwritten instead of added to": (
        "columns.cu", (r"\]\[threadIdx.x\];\n  out\[c\] = add \? out\[c\] \+ sum : sum",
                        "][threadIdx.x];\n  out[c] = sum"),
        check(test_kernels.test_column_sums_are_added, 1, "float32", 7, 13)),
    "out is added to instead of overwritten": (
        "columns.cu", (r"\]\[threadIdx.x\];\n  out\[c\] = add \? out\[c\] \+ sum : sum",
                        "][threadIdx.x];\n  out[c] += sum"),
        check(test_kernels.test_column_sums_are_added, 1, "float32", 7, 13)),
    "a position's gradient is overwritten": (
        "tokens.cu", (r"add \? place \+ sum\[k\] : sum\[k\]", "sum[k]"),
        check(test_kernels_tokens.check_tokens, "float32", 1, 3, 7, 13)),
    "a prefix token's gradient is added to instead of overwritten": (
        "tokens.cu", (r"add \? token \+ sum\[k\] : sum\[k\]", "token + sum[k]"),
        check(test_kernels_tokens.check_tokens, "float32", 1, 3, 7, 13)),
}  # fmt: skip

# Edits that change no result, each with the reason why no test can notice.
HARMLESS = {
    "a row too many of a block's own, or of keys that are left out": (
        "attention_mma.cuh", ("c : 0), r < rows);", "c : 0), r <= rows);"),
        attention("bfloat16", 5)),  # what comes of the former is not stored, and the probabilities of the latter are 0
    "a block with no weights left goes on": (
        "adamw.cu", (r"if \(at >= n\) return;\n  const bool vector", "if (at > n) return;\n  const bool vector"),
        lambda put: test_kernels_adam.test_adam(put, 1, True, True, 13)),  # load4_tail and store4_tail look at n again
    "a warp's turn is another's": (
        "layernorm.cu", ("if (threadIdx.y == turn)", "if (threadIdx.y == (turn ^ 1))"),
        check(test_kernels.test_layernorm, "float32", (7, 13))),  # another order of additions, within the rounding
}  # fmt: skip


def edited(folder, file, edit):
    """A copy of kernels/ with one edit, which must fit one place (a regular expression if it has a backslash)."""
    shutil.copytree(kernel_source.folder(), folder, ignore=shutil.ignore_patterns("emulator"))
    pattern, new = edit if "\\" in edit[0] else (re.escape(edit[0]), edit[1])
    for path in folder.glob("*.cu*"):
        text = path.read_text()
        if path.name == file:
            found = len(re.findall(pattern, text))
            assert found == 1, f"{found} places in {file} fit {edit[0]!r}: adapt the mutation to the kernel"
            text = re.sub(pattern, lambda _: new, text)
        # Without its list each kernel is compiled alone: a mutation needs only a few of them.
        path.write_text(re.sub(r"^// instantiate:", "//", text, flags=re.M))
    return folder


def noticed(checked, place):
    """What the check says in one thread order, or None."""
    try:
        with emulation(**ORDERS[place]), unwritten_is_nan():
            checked(np.array)
    except (AssertionError, IndexError, Error) as e:
        if "does not compile" in str(e):
            raise  # a planted bug must be one that runs
        return e
    return None


@pytest.mark.parametrize("name", MUTATIONS)
def test_planted_bugs_are_noticed(name, tmp_path):
    file, edit, checked = MUTATIONS[name]
    with kernel_source.using_folder(edited(tmp_path / "kernels", file, edit)):
        assert any(noticed(checked, place) for place in ORDERS), "in no thread order"


@pytest.mark.parametrize("name", MUTATIONS)
def test_without_the_bug_the_same_check_passes(name):
    """Else it would notice anything."""
    assert noticed(MUTATIONS[name][2], "forward" if "forward" in ORDERS else next(iter(ORDERS))) is None


@pytest.mark.parametrize("name", HARMLESS)
def test_what_changes_nothing_is_let_pass(name, tmp_path):
    file, edit, checked = HARMLESS[name]
    with kernel_source.using_folder(edited(tmp_path / "kernels", file, edit)):
        for place in ORDERS:
            assert noticed(checked, place) is None


def test_an_int64_for_an_int_is_noticed(monkeypatch):
    x, p = np.ones((3, 5), np.float32), np.zeros((3, 5), np.float32)
    with pytest.raises(Error, match=r"argument 2 \(rows\) is int, 4 bytes: got int64, 8 bytes"):
        launch("softmax.cu", "softmax_forward<float>", 1, (32, 4), (x, p, np.int64(3), np.int32(5)))
    monkeypatch.setattr(rowwise, "rows_of", lambda x: (np.int64(x.size // x.shape[-1]), np.int64(x.shape[-1])))
    with pytest.raises(Error, match="got int64"):
        cuda.softmax_forward(x)
