"""Bugs planted in version 7 of attention and in its instructions, as in test_mutations.py: each must be noticed."""

import pytest

from minast.gpu import kernel_source
from tests.emulated import needs_emulator
from tests.gpu import test_kernels_hopper
from tests.gpu.test_kernels_attention import check_bias
from tests.gpu.test_kernels_hopper import check, check_backward, check_growth
from tests.gpu.test_mutations import edited, noticed, removed
from tests.kernel_cases import ORDERS

pytestmark = needs_emulator
FILE, SHARED, BACK = "attention_hopper.cu", "attention_wgmma.cuh", "attention_hopper_backward.cu"


def forward(put):
    """Five tiles of keys, so that every stage is used twice; two blocks of two warpgroups."""
    check(put, "float16", (1, 540, 1, 16, 2))


def wide(put):
    """Heads of 64: four slices of keys, and a swizzle of 128 bytes."""
    check(put, "bfloat16", (1, 140, 1, 64, 1))


def biased(put):
    check_bias(put, "float16", (1, 130, 2, 16), version=7, warpgroups=2)


def gradients(put):
    check_backward(put, "float16", (1, 270, 1, 16, 2), biased=False)


def wide_gradients(put):
    check_backward(put, "bfloat16", (1, 130, 1, 64, 1))


def huge_gradients(put):
    test_kernels_hopper.test_gradients_where_scores_are_huge(put, "float16")


MUTATIONS = {
    # the order of registers and products
    "no fence before a tile's products": (FILE, removed("    wgmma_fence(s, p, o);\n"), forward),
    "the fence leaves out the probabilities": (FILE, ("wgmma_fence(s, p, o)", "wgmma_fence(s, o)"), forward),
    "no fence before the last products": (FILE, removed("  wgmma_fence(p, o);\n"), forward),
    "a group is not awaited": (FILE, ("    wgmma_wait<0>(o);\n    release_stage", "    release_stage"), forward),
    "the last group is not awaited": (FILE, (r"wgmma_wait<0>\(o\);\n\}", "}"), forward),
    "scores are used while they are being computed": (FILE, ("wgmma_wait<1>(s)", "wgmma_wait<2>(s)"), forward),
    "a group is not closed": (
        FILE, ("advanced(keys, now.stage * 4 * TILE));\n    wgmma_commit();", "advanced(keys, now.stage * 4 * TILE));"),
        forward),
    "probabilities are replaced while products read them": (
        FILE, ("wgmma_wait<1>(s);", "wgmma_wait<1>(s); to_operands<T>(p, s);"), forward),
    "sums are rescaled while products add to them": (
        FILE, ("wgmma_wait<0>(o);\n    release_stage(empty + before.stage);\n    softmax.rescale(o);",
               "softmax.rescale(o);\n    wgmma_wait<0>(o);\n    release_stage(empty + before.stage);"), forward),
    # stages and their phases
    "a stage is free before its products have read it": (
        FILE, ("wgmma_wait<0>(o);\n    release_stage(empty + before.stage);",
               "release_stage(empty + before.stage);\n    wgmma_wait<0>(o);"), forward),
    "a stage is never free": (FILE, removed("    release_stage(empty + before.stage);\n"), forward),
    "whoever is first frees a stage": (SHARED, ("(empty + stage, 4 * W)", "(empty + stage, 1)"), forward),
    "phases do not alternate": (SHARED, ("stage = 0, parity ^= 1", "stage = 0"), forward),
    "copies wait for the wrong phase": (SHARED, ("turn.stage, turn.parity ^ 1", "turn.stage, turn.parity"), forward),
    "copies do not wait": (SHARED, removed("mbarrier_wait(empty + turn.stage, turn.parity ^ 1);"), forward),
    "a tile is announced before it is there": (SHARED, ("cp_async_wait<1>", "cp_async_wait<2>"), forward),
    "the last tile is announced before it is there": (SHARED, removed("  cp_async_wait<0>();\n"), forward),
    "nobody waits for the first tile": (
        FILE, (r"mbarrier_wait\(full \+ now.stage, now.parity\);\n  wgmma_fence\(s\)", "wgmma_fence(s)"), forward),
    "one thread's copies are a tile": (SHARED, ("mbarrier_init(full + stage, GROUP)", "mbarrier_init(full + stage, 1)"),
                                       forward),
    "products read the tile before": (
        FILE, ("advanced(keys, now.stage * 4 * TILE));", "advanced(keys, before.stage * 4 * TILE));"), forward),
    "values are taken from the next tile": (
        FILE, ("before.stage * 4 * TILE + 2 * TILE", "now.stage * 4 * TILE + 2 * TILE"), forward),
    # proxies
    "tiles are not fenced": (SHARED, removed("      fence_proxy_async();\n"), forward),
    "the last tile is not fenced": (
        SHARED, ("  cp_async_wait<0>();\n  fence_proxy_async();", "  cp_async_wait<0>();"), forward),
    "queries are not fenced": (FILE, ("  fence_proxy_async();\n  named_barrier", "  named_barrier"), forward),
    "queries are used before all have stored theirs": (
        FILE, removed("named_barrier<GROUP>(1 + group);  // all four warps have stored their queries"), forward),
    "all warpgroups meet at one barrier": (FILE, ("named_barrier<GROUP>(1 + group)", "named_barrier<2 * GROUP>(1)"),
                                           lambda put: check(put, "float16", (1, 50, 1, 16, 1))),
    # layouts
    "tiles are not swizzled": (
        SHARED, ("swizzled<2 * D>(row * 2 * D + piece * 16) / 2", "(row * 2 * D + piece * 16) / 2"), wide),
    "queries are not swizzled": (SHARED, ("swizzled<2 * D>(r * 2 * D + c * 2) / 2", "(r * 2 * D + c * 2) / 2"), wide),
    "the pattern of half the width": ("wgmma.cuh", ("& (ROW / 16 - 1)", "& (ROW / 32 - 1)"), wide),
    "the pattern is taken from the wrong bits": ("wgmma.cuh", ("offset >> 7", "offset >> 8"), wide),
    "descriptors name another swizzle": ("wgmma.cuh", ("ROW == 128 ? 1 :", "ROW == 128 ? 2 :"), wide),
    "descriptors name no swizzle": ("wgmma.cuh", ("| MODE << 62", "| MODE * 0"), wide),
    "eight rows are nearer than they are": ("wgmma.cuh", ("STRIDE = 8 * ROW", "STRIDE = 4 * ROW"), wide),
    "the stride is not in units of 16 bytes": ("wgmma.cuh", ("STRIDE >> 4 << 32", "STRIDE << 32"), wide),
    "slices of keys overlap": (SHARED, ("advanced(y, k * 32)", "advanced(y, k * 16)"), wide),
    "all slices of queries are the first": (SHARED, ("advanced(x, k * 32)", "x"), wide),
    "slices of values overlap": (SHARED, ("k * 16 * 2 * D", "k * 8 * 2 * D"), wide),
    "values are taken transposed": (SHARED, ("wgmma_rs<T, D, MN_MAJOR, true>", "wgmma_rs<T, D, K_MAJOR, true>"), wide),
    "tiles are not aligned": (
        SHARED, ("memory + (SWIZZLE_ALIGNMENT - address % SWIZZLE_ALIGNMENT) % SWIZZLE_ALIGNMENT", "memory"), wide),
    "the first slice adds to what was there": (
        SHARED, ("wgmma_ss<T, N, K_MAJOR, K_MAJOR, false>", "wgmma_ss<T, N, K_MAJOR, K_MAJOR, true>"), forward),
    "values replace what was summed": (
        SHARED, ("wgmma_rs<T, D, MN_MAJOR, true>", "wgmma_rs<T, D, MN_MAJOR, false>"), forward),
    # softmax, ends, bias
    "a key too many": (FILE, ("n * 8 + pair + e % 2 >= valid", "n * 8 + pair + e % 2 > valid"), forward),
    "a key too many is copied": (SHARED, ("const bool valid = row + r < left;", "const bool valid = row + r <= left;"),
                                 forward),
    "a query too many is loaded": (SHARED, ("if (r < rows) eight", "if (r <= rows) eight"), forward),
    "a new maximum does not scale the row": (FILE, removed("    softmax.rescale(o);\n"),
                                             lambda put: check_growth(put, "float16")),
    "a new maximum does not scale the sum": (FILE, removed("sum[half] *= fade[half];"),
                                             lambda put: check_growth(put, "float16")),
    "rows of a fragment exchange their scales": (
        FILE, ("o[n][2] *= fade[1]", "o[n][2] *= fade[0]"), lambda put: check(put, "float16", (1, 300, 1, 16, 1))),
    "queries are not written back": (SHARED, removed("store4(from + k, x);"), biased),
    "the bias of the first head is all heads'": (FILE, ("bias ? bias + h * D : nullptr", "bias"), biased),
    # gradients
    "the products into dv are not awaited": (BACK, ("wgmma_wait<0>(dk, dv);", "wgmma_wait<1>(dk, dv);"), gradients),
    "a stage is free before dk's products have read it": (
        BACK, ("wgmma_wait<0>(dk, dv);\n    release_stage(empty + now.stage);",
               "release_stage(empty + now.stage);\n    wgmma_wait<0>(dk, dv);"), gradients),
    "no fence before the products into dk": (BACK, removed("    wgmma_fence(ds_left, dk);\n"), gradients),
    "no fence before the products into dq": (BACK, removed("    wgmma_fence(left_ds, dq);\n"), gradients),
    "a stage is free before dq's products have read it": (
        BACK, ("if (before >= 0) release_stage(empty + before);", "release_stage(empty + now.stage);"), gradients),
    "the last products into dq are not awaited": (BACK, removed("  wgmma_wait<0>(dq);\n"), gradients),
    "statistics of the wrong stage": (BACK, ("statistics + now.stage * 2 * WALK +", "statistics +"), gradients),
    "deltas are taken for lse": (BACK, ("row[WALK + n * 8", "row[n * 8"), gradients),
    "a key too many weighs in dq": (BACK, ("pair + e % 2 < left ?", "pair + e % 2 <= left ?"),
                                    huge_gradients),
    "column sums are made before all warps have left theirs": (
        BACK, removed("named_barrier<GROUP>(id);  // all four warps have left their sums"), gradients),
    "sums of the second array overwrite the first's": (
        BACK, removed("named_barrier<GROUP>(id);  // the room is free"), gradients),
    "column sums take rows that are not there": (BACK, ("(row < rows ? acc[n][e]", "(row >= 0 ? acc[n][e]"),
                                                 wide_gradients),
    "keys are taken for values": (BACK, ("WALK>(ds, v, d);", "WALK>(ds, k, d);"), wide_gradients),
    # warpgroups
    "the second warpgroup has the first one's queries": (
        FILE, ("tiles + 2 * STAGES * KEYS * D + group * OWN * D", "tiles + 2 * STAGES * KEYS * D"), forward),
    "more registers than there are": (FILE, ("W == 3 ? 160 : 232", "W == 3 ? 168 : 232"),
                                      lambda put: check(put, "float16", (1, 50, 1, 16, 3))),
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
