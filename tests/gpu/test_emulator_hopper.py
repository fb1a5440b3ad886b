"""Compute capability 9.0a in the emulator: wgmma, mbarriers, bulk copies and the rest, as the PTX ISA has them.

Matrices are drawn into shared memory here, piece by piece, from the text of the PTX ISA: the emulator decodes them from
address bits. Registers are placed by the formulas under "Register Fragments".
"""

import re
from pathlib import Path

import numpy as np
import pytest

from minast.errors import Error
from minast.gpu import kernel_source
from minast.launch import emulation, launch
from tests.emulated import ORDERS, needs_emulator
from tests.gpu.test_emulator import bfloat16

pytestmark = needs_emulator
HOPPER = Path(__file__).parents[1] / "hopper.cu"
MODES = {16: 0, 128: 1, 64: 2, 32: 3}  # bytes of a swizzle's row -> bits 62 and 63 of a descriptor
THREAD = np.arange(128)


def run(kernel, *args, block=128, shared_bytes=0, grid=1, **modes):
    with emulation(**modes):
        launch(HOPPER, kernel, grid, block, args, shared_bytes)


def descriptor(start, leading, stride, row):
    return start >> 4 | leading >> 4 << 16 | stride >> 4 << 32 | MODES[row] << 62


def place(memory, m, start, major, row, leading, stride):
    """Draws m (X, K) of 16 bits into `memory`. row: bytes, 16 without a swizzle. major: 0 rows of k, 1 rows of x."""
    pieces = row // 16
    period = 8 // pieces  # rows of 128 bytes: each has its own permutation; of 64: two rows share one; of 32: four
    for x, k in np.ndindex(m.shape):
        along, across = (k, x) if major == 0 else (x, k)  # in a row, from row to row
        piece = along // 8 % pieces ^ (across % 8 // period if pieces > 1 else 0)
        if pieces > 1:  # the next pieces of a K-major row are in the same row; MN-major rows go on `leading` further
            at = across // 8 * stride + across % 8 * row + piece * 16 + (along // 8 // pieces * leading if major else 0)
        elif major == 0:
            at = x // 8 * stride + k // 8 * leading + x % 8 * 16
        else:
            at = x // 8 * stride + k // 8 * leading + k % 8 * 16
        memory[(start + at) // 2 + along % 8] = m[x, k]


def accumulator(d):
    """d (128, N / 2), the threads' registers -> (64, N)"""
    out = np.full((64, 2 * d.shape[1]), np.nan, np.float32)
    for i in range(d.shape[1]):
        row = 16 * (THREAD // 32) + THREAD % 32 // 4 + 8 * (i // 2 % 2)
        out[row, 8 * (i // 4) + 2 * (THREAD % 4) + i % 2] = d[:, i]
    return out


def values(kind, *shape, seed=3):
    """(bits, float32) of random 16-bit numbers"""
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    if kind == "__half":
        return x.astype(np.float16).view(np.uint16), x.astype(np.float16).astype(np.float32)
    return (bfloat16(x).view(np.uint32) >> 16).astype(np.uint16), bfloat16(x)


def sizes(major, row, X):
    """leading, stride, and the bytes of a matrix (X, 16); with gaps, so that both offsets count where they are used"""
    if row == 16:
        return (256 * (X // 8) + 128, 256, 256 * (X // 8) * 2 + 256) if major == 0 else (128, 256, 256 * (X // 8) + 256)
    if major == 0:
        return 4080, 16 * row, 16 * row * (X // 8)  # leading: unused, it may be anything
    return 48 * row, 16 * row, 48 * row * -(-X // (row // 2))


SHAPES = [  # type, N, how a and b lie
    *(("__half", n, 0, 1) for n in (8, 16, 32, 96, 128, 192, 256)),
    ("__half", 64, 0, 0),
    ("__nv_bfloat16", 64, 0, 0),
    ("__nv_bfloat16", 64, 1, 0),
    ("__nv_bfloat16", 64, 1, 1),
]


@pytest.mark.parametrize("row", MODES)
@pytest.mark.parametrize("kind, n, a_major, b_major", SHAPES)
def test_a_product_of_matrices_in_shared_memory(kind, n, a_major, b_major, row):
    (a, a32), (b, b32) = values(kind, 64, 16), values(kind, n, 16, seed=4)
    a_leading, a_stride, a_bytes = sizes(a_major, row, 64)
    b_leading, b_stride, b_bytes = sizes(b_major, row, n)
    start = -(-a_bytes // 1024) * 1024
    memory = np.full((start + b_bytes + 1024) // 16 * 8, 0x7E00, np.uint16)  # NaN between the pieces
    place(memory, a, 0, a_major, row, a_leading, a_stride)
    place(memory, b, start, b_major, row, b_leading, b_stride)
    before = np.random.default_rng(5).standard_normal((128, n // 2)).astype(np.float32)
    for add in (False, True):
        d = before.copy() if add else np.full_like(before, np.nan)
        run(f"product<{kind},{n},{a_major},{b_major}>", memory.view(np.uint8), memory.nbytes,
            descriptor(0, a_leading, a_stride, row), descriptor(start, b_leading, b_stride, row), d, add,
            shared_bytes=memory.nbytes + 1024, order=ORDERS[n % 3])  # fmt: skip
        want = a32 @ b32.T + (accumulator(before) if add else 0)
        np.testing.assert_allclose(accumulator(d), want, rtol=1e-5, atol=1e-5)


def test_pieces_by_hand():
    """PTX ISA, "K major 128B/64B/32B swizzling": in which piece of its row the first one lies, row by row."""
    for row, first in {
        128: [0, 1, 2, 3, 4, 5, 6, 7],
        64: [0, 0, 1, 1, 2, 2, 3, 3],
        32: [0, 0, 0, 0, 1, 1, 1, 1],
    }.items():
        memory = np.zeros(8 * row // 2, np.uint16)
        place(memory, np.repeat(np.arange(1, 9, dtype=np.uint16)[:, None], 8, 1), 0, 0, row, 0, 8 * row)
        assert [memory.reshape(8, -1, 8)[r, first[r], 0] for r in range(8)] == list(range(1, 9))


def test_the_table_of_the_swizzle_in_the_readme():
    text = (kernel_source.folder() / "README.md").read_text()
    shown = re.search(r"<!-- swizzle of 128 bytes: begin -->\n```\n(.*?)```", text, re.S)[1]
    memory = np.zeros(512, np.uint16)
    place(memory, np.repeat(np.arange(8, dtype=np.uint16), 8)[None].repeat(8, 0), 0, 0, 128, 0, 1024)
    rows = memory.reshape(8, 8, 8)[:, :, 0].tolist()
    assert shown == "".join(f"row {r}   {' '.join(map(str, row))}\n" for r, row in enumerate(rows))


@pytest.mark.parametrize("kind, n, major", [("__half", 32, 0), ("__nv_bfloat16", 32, 0), ("__half", 64, 1)])
def test_a_product_with_registers(kind, n, major):
    (a, a32), (b, b32) = values(kind, 64, 16), values(kind, n, 16, seed=4)
    memory = np.zeros(8192, np.uint16)
    leading, stride, _ = sizes(major, 64, n)
    place(memory, b, 1024, major, 64, leading, stride)
    registers = np.zeros((128, 4), np.uint32)
    for i in range(8):  # a0 ... a7, two in a register
        row = 16 * (THREAD // 32) + THREAD % 32 // 4 + 8 * (i // 2 % 2)
        column = 2 * (THREAD % 4) + i % 2 + 8 * (i // 4)
        registers[:, i // 2] |= a[row, column].astype(np.uint32) << 16 * (i % 2)
    d = np.full((128, n // 2), np.nan, np.float32)
    run(f"product_of_registers<{kind},{n},{major}>", memory.view(np.uint8), memory.nbytes, registers,
        descriptor(1024, leading, stride, 64), d, shared_bytes=memory.nbytes + 1024)  # fmt: skip
    np.testing.assert_allclose(accumulator(d), a32 @ b32.T, rtol=1e-5, atol=1e-5)


def case(k=32):
    """A picture of a (64, k) and b (32, k) in float16 with a swizzle of 128 bytes, and their product's parts."""
    (a, a32), (b, b32) = values("__half", 64, k), values("__half", 32, k, seed=4)
    memory = np.zeros(6144, np.uint16)
    place(memory, a, 0, 0, 128, 0, 1024)
    place(memory, b, 8192, 0, 128, 0, 1024)
    return memory.view(np.uint8), descriptor(0, 0, 1024, 128), descriptor(8192, 0, 1024, 128), a32, b32


@pytest.mark.parametrize("order", ORDERS)
def test_two_groups_in_flight(order):
    memory, a, b, a32, b32 = case()
    d = np.zeros((128, 12), np.float32)
    run("two_groups", memory, memory.size, a, b, d, shared_bytes=memory.size + 1024, order=order)
    np.testing.assert_allclose(accumulator(d[:, :4]), a32 @ b32[:8].T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(accumulator(d[:, 4:]), a32[:, :16] @ b32[:16, :16].T, rtol=1e-5, atol=1e-5)


def line(kernel, text):
    """The line of hopper.cu, below the declaration of `kernel`, that holds `text`"""
    lines = HOPPER.read_text().splitlines()
    first = next(i for i, s in enumerate(lines) if re.search(rf"\b{kernel}\(", s))
    return next(i for i in range(first, len(lines)) if text in lines[i]) + 1


USE = "wgmma_ss<__half, 32, K_MAJOR, K_MAJOR, true>(acc, da, db);"
ALONE = "    " + USE
MISTAKES = {
    1: ("no wgmma.fence names its accumulators", ALONE),
    3: ("an accumulator of .* was written before wgmma.wait_group", ALONE),
    4: ("returns while wgmma.mma_async .* is in flight: commit it and wait for its group", ALONE),
    5: ("reads was overwritten before wgmma.wait_group|written after the last fence.proxy.async", ALONE),
    6: ("written after the last fence.proxy.async: the tensor cores may not see it", ALONE),
    7: ("registers of A that .* reads were written before wgmma.wait_group", "wgmma_rs<"),
    8: ("executes wgmma.* instead", "wgmma_commit();"),
    9: ("the descriptors differ between the warps", ALONE),
    10: ("its accumulators were written since the last wgmma.fence", ALONE),
    11: (r"reads outside the dynamic shared memory \(13312 bytes\), at byte \d+", ALONE),
    12: ("wgmma.wait_group 1 .* names an accumulator of .*, which is still in flight", "wgmma_wait<1>(other)"),
    13: ("the base offset of a descriptor is 1", ALONE),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("number", MISTAKES)
def test_mistakes_are_errors_with_a_line(number, order):
    memory, a, b, _, _ = case()
    what, where = MISTAKES[number]
    with pytest.raises(Error, match=what) as found:
        run(f"mistake<{number}>", memory, memory.size, a, b, np.zeros(128, np.float32), order=order,
            shared_bytes=memory.size + 1024)  # fmt: skip
    assert f"(hopper.cu:{line('mistake', where)})" in str(found.value)


def test_without_a_mistake_there_is_a_result_and_before_the_wait_there_is_none():
    memory, a, b, a32, b32 = case()
    d = np.zeros((2, 128), np.float32)
    for number in (0, 1):
        run(f"mistake<{2 * number}>", memory, memory.size, a, b, d[number], shared_bytes=memory.size + 1024)
    want = a32[:, :16] @ b32[:, :16].T
    row = 16 * (THREAD // 32) + THREAD % 32 // 4
    np.testing.assert_allclose(d[0], want[row, 2 * (THREAD % 4) + 1], rtol=1e-5, atol=1e-5)
    assert np.isnan(d[1]).all()


# -- mbarriers and bulk copies ----------------------------------------------------------------------------------------


def sums(what, order, seed=0):
    x, y = np.random.default_rng(6).integers(0, 9, (5, 256)).astype(np.float32), np.zeros((5, 4), np.float32)
    run(f"bulk_sums<{what}>", x, y, 5, order=order, seed=seed)
    return (y == x.sum(axis=1, keepdims=True)).all()


@pytest.mark.parametrize("order", ORDERS)
def test_bulk_copies_complete_on_their_mbarrier(order):
    assert sums(0, order)


def test_bulk_copies_are_counted():
    x, y = np.ones((5, 256), np.float32), np.zeros((5, 4), np.float32)
    with emulation(report=True) as report:
        launch(HOPPER, "bulk_sums<0>", 1, 128, (x, y, 5))
    assert (report[0].arguments["x"].reads == 1).all()  # by the copies, from which all 128 threads add up


def test_a_wrong_phase_and_a_tile_that_is_overwritten_too_soon_are_noticed():
    for what in (1, 3):
        outcomes = []
        for order in ORDERS:
            try:
                outcomes.append(sums(what, order))
            except Error as error:
                outcomes.append("deadlocked" not in str(error) and "is in flight" not in str(error))
        assert not all(outcomes), what


@pytest.mark.parametrize("order", ORDERS)
def test_bytes_that_are_not_announced(order):
    waits = r"deadlocked: 128 threads wait at mbarrier.try_wait \(hopper.cu:\d+\)"
    with pytest.raises(Error, match=f"{waits}|is in flight"):
        sums(2, order)


def test_an_mbarrier_must_be_fenced_before_a_copy():
    with pytest.raises(Error, match=r"cp.async.bulk \(hopper.cu:\d+\): no fence.proxy.async since mbarrier.init"):
        sums(4, "forward")


def test_a_copy_beyond_the_array_names_it_and_the_line():
    x, y = np.zeros(256 * 2 - 4, np.float32), np.zeros((2, 4), np.float32)
    for order in ORDERS:
        where = line("bulk_sums", "bulk_copy(tile[i % 2] + 128")
        with pytest.raises(IndexError, match=rf"reads argument 0 \(x, .*at hopper.cu:{where}"):
            run("bulk_sums<0>", x, y, 2, order=order)


def passed(what, order, seed=0):
    out = np.zeros((9, 32), np.int32)
    run(f"pipeline<{what}>", out, 9, block=64, order=order, seed=seed)
    return (out == 100 * np.arange(9)[:, None] + np.arange(31, -1, -1)).all()


@pytest.mark.parametrize("order", ORDERS)
def test_full_and_empty(order):
    assert passed(0, order)


@pytest.mark.parametrize("what", [1, 2])
def test_who_does_not_wait_is_noticed(what):
    outcomes = []
    for order in ORDERS:
        try:
            outcomes.append(passed(what, order))
        except Error as error:  # one that does not wait may also arrive more often than there are places
            outcomes.append("arrivals of this phase" not in str(error))
    assert not all(outcomes)


@pytest.mark.parametrize(
    "number, match",
    [
        (0, r"mbarrier.arrive \(hopper.cu:\d+\): the mbarrier is not initialised"),
        (1, r"mbarrier.init \(hopper.cu:\d+\): there is an mbarrier already"),
        (2, r"mbarrier.arrive \(hopper.cu:\d+\): the mbarrier is not initialised"),
        (3, r"deadlocked: 1 thread waits at mbarrier.try_wait \(hopper.cu:\d+\)"),
        (4, r"cp.async.bulk \(hopper.cu:\d+\) of 16 bytes: both addresses and the size must be multiples of 16"),
    ],
)
def test_an_mbarrier_that_is_misused(number, match):
    with pytest.raises(Error, match=match):
        run(f"barrier_mistake<{number}>", np.zeros(8, np.float32), block=1)


# -- parts of a block -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_barriers_of_parts_of_a_block(order):
    x = np.arange(128, dtype=np.int32)
    run("half_blocks", x, order=order)
    assert (x == np.concatenate([np.roll(np.arange(64), -1), 64 + np.roll(np.arange(64), -2)])).all()
    out = np.zeros(32, np.int32)
    run("halves_meet<0>", out, block=64, order=order)
    assert set(out) == {42}


def test_barriers_of_parts_that_do_not_fit():
    out = np.zeros(32, np.int32)
    with pytest.raises(Error, match=r"bar.sync \(hopper.cu:\d+\): barrier 3 for 32 threads is in use for 64"):
        run("halves_meet<1>", out, block=64)
    with pytest.raises(Error, match=r"bar.arrive \(hopper.cu:\d+\): barrier 0; there are 1 to 15"):
        run("halves_meet<2>", out, block=64)


@pytest.mark.parametrize("order", ORDERS)
def test_one_lane_is_elected(order):
    out = np.zeros((3, 32), np.int32)
    run("elected", out, block=96, order=order)
    assert (out.sum(axis=1) == 1).all() and (out == out[0]).all()


def test_registers_change_hands_by_the_rules():
    out = np.zeros(512, np.int32)
    run("registers_exchanged<0>", out, block=512)
    assert out.all()
    with pytest.raises(Error, match="the block's warpgroups have 68608 registers, a multiprocessor 65536"):
        run("registers_exchanged<1>", out, block=512)
    with pytest.raises(Error, match=r"setmaxnreg.(dec|inc) .* instead|by some warps of a warpgroup only"):
        run("registers_exchanged<2>", out, block=512)


def test_all_kernels_are_tested():
    source = kernel_source.load(HOPPER)
    listed = {name.split("<")[0] for group in source.groups for name in group}
    assert listed == set(source.kernels) and source.capability == "90a"
    assert all(re.search(rf"""["']{name}""", Path(__file__).read_text()) for name in listed)
