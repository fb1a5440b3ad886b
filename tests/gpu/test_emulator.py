"""The emulator, feature by feature: each kernel of features.cu against what the CUDA documentation says it computes."""

import re

import numpy as np
import pytest

from minast.emulator import build as emulator_build
from minast.errors import Error
from minast.gpu import kernel_source
from minast.launch import emulation, launch
from tests.emulated import FEATURES, ORDERS, features, needs_emulator, run

pytestmark = needs_emulator


@pytest.mark.parametrize("order", ORDERS)
def test_indices_of_threads_and_blocks(order):
    grid, block = (3, 2, 2), (5, 3, 2)
    out = np.full((12, 30), -1, np.int32)
    run("where", out, grid=grid, block=block, order=order)
    assert np.array_equal(out, 10000 * np.arange(12)[:, None] + np.arange(30))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_blocks_share_the_work(workers):
    x = np.ones(100_003, np.float32)
    run("threads_of_grid", x, x.size, grid=50, block=64, workers=workers)
    assert np.array_equal(x, 1 + np.arange(x.size, dtype=np.float32))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("threads", [1, 31, 64, 1024])
def test_barriers(order, threads):
    x = np.arange(threads, dtype=np.int32)
    run("barrier_rounds", x, 5, block=threads, order=order)
    assert np.array_equal(x, (np.arange(threads) + 5) % threads)


@pytest.mark.parametrize("pattern, count, all_, any_", [([0, 0], 0, 0, 0), ([1, 1], 96, 1, 1), ([0, 1], 48, 0, 1)])
def test_barriers_that_vote(pattern, count, all_, any_):
    x = np.array(pattern * 48, np.int32)
    run("barrier_votes", x, block=96)
    assert set(x) == {count * 100 + all_ * 10 + any_}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("width", [32, 16, 8])
def test_shuffles(order, width):
    out = np.zeros((5, 64), np.int32)
    run("shuffles", out, width, block=64, order=order)
    lane = np.arange(32)
    first = lane // width * width
    up = np.where(lane - 3 >= first, lane - 3, lane)
    down = np.where(lane + 3 < first + width, lane + 3, lane)
    across = np.where(lane ^ 6 < first + width, lane ^ 6, lane)
    expected = [first + 5 % width, up, down, across, lane ^ 1]
    assert np.array_equal(out, np.tile(np.array(expected), (1, 2)))


def test_votes_of_a_warp_and_of_half_a_warp():
    p = np.zeros(32, np.int32)
    p[[1, 4, 7]] = 1
    out = np.zeros((4, 32), np.uint32)
    run("votes", out, p, block=32)
    assert set(out[0]) == {1 << 1 | 1 << 4 | 1 << 7}
    assert set(out[1]) == {0} and set(out[2]) == {1}
    assert set(out[3, 1::2]) == {1 << 1 | 1 << 7} and not out[3, ::2].any()


def test_match():
    x = (np.arange(32) % 3).astype(np.int32)
    out = np.zeros((3, 32), np.uint32)
    run("matches", out, x, block=32)
    assert np.array_equal(out[0], [sum(1 << j for j in range(32) if x[j] == x[i]) for i in range(32)])
    assert not out[1].any() and not out[2].any()
    run("matches", out, np.full(32, 7, np.int32), block=32)
    assert set(out[1]) == {0xFFFFFFFF} and set(out[2]) == {1}


def test_a_lane_that_has_returned_gives_nan():
    out = np.zeros(8, np.float32)
    run("lone_lanes", out, block=32)
    assert np.array_equal(out[:4], [4, 5, 6, 7]) and np.isnan(out[4:]).all()


@pytest.mark.parametrize("kind, dtype", [("int", np.int32), ("unsigned", np.uint32), ("float", np.float32)])
def test_atomics_between_blocks(kind, dtype):
    total, other = np.zeros(1, dtype), np.zeros(5, np.uint32)
    run(f"atomics<{kind}>", total, other, grid=40, block=70, workers=2)
    assert total[0] == 2800 and other[0] == 2800
    assert 1 <= other[1] <= 40 and other[2] == 0xFFFFFFFF and other[3] == 7
    assert other[4] == 2800 % 10  # atomicInc counts 0..9 and wraps


def test_bit_and_number_functions():
    out = np.zeros(13, np.uint32)
    run("bits", out)
    assert list(out) == [8, 31, 4, 1 << 31, 0x3F800000, 2, 3, 0x07040100, 1, 2, 2, 5, 3]


def bfloat16(x):
    """The nearest bfloat16, ties to even, as float32."""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return (((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16) & 0xFFFFFFFF).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("kind", ["__half", "__nv_bfloat16"])
def test_sixteen_bit_numbers(kind):
    def round_(v):
        return bfloat16(v) if kind == "__nv_bfloat16" else np.float32(np.float16(v))

    x = np.concatenate([np.random.default_rng(0).normal(size=60) * 10, [0, -0.0, 65504, 1e-7]]).astype(np.float32)
    out, stored = np.zeros((5, x.size), np.float32), np.zeros(x.size, np.uint16 if "bf" in kind else np.float16)
    with np.errstate(over="ignore"):
        run(f"half_values<{kind}>", x, out, stored, x.size, block=64)
        a, b = round_(x), round_(np.roll(x, -1))
        expected = (a, round_(a + b), round_(a * b), round_(np.float32(a.astype(float) * b + a)), a < b)
        for got, want in zip(out, expected, strict=True):
            assert np.array_equal(got, want)
    assert np.array_equal(stored.view(np.uint16) if "bf" not in kind else stored.astype(np.uint32) << 16,
                          a.astype(np.float16).view(np.uint16) if "bf" not in kind else a.view(np.uint32))  # fmt: skip


def test_pairs_of_sixteen_bit_numbers():
    out = np.zeros(6, np.float32)
    run("pair_values", np.array([1.5, -2.25], np.float32), out)
    assert list(out) == [3, -4.5, 2.25, 5.0625, 1.5, -2.25]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ["__half", "__nv_bfloat16"])
def test_tensor_core_product(kind, order):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(16, 16)).astype(np.float32), rng.normal(size=(16, 8)).astype(np.float32)
    if kind == "__half":
        pa, pb = a.astype(np.float16), b.astype(np.float16)
        a, b = pa.astype(np.float32), pb.astype(np.float32)
    else:
        a, b = bfloat16(a), bfloat16(b)
        pa, pb = ((v.view(np.uint32) >> 16).astype(np.uint16) for v in (a, b))
    c = np.zeros((16, 8), np.float32)
    c[0, 0] = 0.5  # what the accumulators start with
    run(f"tile_product<{kind}>", pa, pb, c, block=32, order=order)
    np.testing.assert_allclose(c, a @ b + 0.5, rtol=1e-5, atol=1e-5)


def test_matrices_loaded_into_registers():
    x = np.arange(256, dtype=np.uint16)
    out = np.zeros((11, 32), np.uint32)
    run("tiles_loaded", x, out, block=32, shared_bytes=512)
    tiles = x.reshape(4, 8, 8).astype(np.uint32)
    pairs = (tiles[..., ::2] | tiles[..., 1::2] << 16).reshape(4, 32)
    turned = tiles.transpose(0, 2, 1)
    turned = (turned[..., ::2] | turned[..., 1::2] << 16).reshape(4, 32)
    assert np.array_equal(out[:3], [pairs[0], pairs[1], turned[0]])
    assert np.array_equal(out[3:7], pairs) and np.array_equal(out[7:], turned)


@pytest.mark.parametrize("order", ORDERS)
def test_asynchronous_copies(order):
    x, out = np.random.default_rng(2).normal(size=256).astype(np.float32), np.zeros(256, np.float32)
    run("copies", x, out, block=32, order=order)
    assert np.array_equal(out[:192], x[:192]) and not out[192:].any()


def test_a_copy_that_is_not_valid_is_not_read():
    x, out = np.ones(192, np.float32), np.zeros(256, np.float32)
    run("copies", x, out, block=32)  # guarded: the upper lanes point past the end
    assert out.sum() == 192


def test_shared_arrays_of_two_instantiations():
    x = np.zeros(64, np.float32)
    run("two_arrays", x, block=64)
    assert set(x) == {416.0}


def two_sums_of_a_block(put, rng):
    x, sums = rng.integers(0, 100, 64).astype(np.float32), np.full((64, 2), np.nan)
    launch(FEATURES, "two_sums", 1, 64, (put(x), sums))
    assert (sums == [x.sum(), 2 * x.sum()]).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("order", ORDERS)
def test_a_block_sums_twice(order, seed):
    with emulation(order=order, seed=seed):
        two_sums_of_a_block(np.array, np.random.default_rng(seed))


def test_last_block_sees_what_the_others_wrote():
    for order in ORDERS:
        parts, done, total = np.zeros(33, np.float32), np.zeros(1, np.uint32), np.zeros(1, np.float32)
        run("last_block", parts, done, total, grid=33, block=32, order=order, workers=2)
        assert total[0] == 33 * 32 / 2


def test_scalars_of_every_kind():
    out = np.zeros(7)
    run("scalars<int>", out, -3, 4_000_000_000, np.int64(2**40), 0.1, 0.1, True, np.float16(0.5))
    assert list(out) == [-3, 4_000_000_000, 2**40, np.float32(0.1), 0.1, 1, 0.5]


def test_null_pointer():
    y = np.zeros(32, np.float32)
    run("optional", None, y, block=32)
    assert set(y) == {-1.0}


def test_printf_appears_in_pythons_output(capsys):
    run("prints", 3, grid=3, block=32, workers=1)
    assert capsys.readouterr().out == "block 0 of 3: 0.00\nblock 1 of 3: 0.50\nblock 2 of 3: 1.00\n"


def test_printf_says_how_much_there_was_no_room_for(capsys):
    run("prints_much", 2**15)
    out = capsys.readouterr().out
    assert out.count("\n") == 2**15 and "minast" not in out
    run("prints_much", 40_000)
    *lines, told = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"call number {2**15 - 1:19d}" and len(lines) == 2**15
    assert told == (
        "[minast: prints_much: 7232 more calls of printf, 231416 bytes, are not shown: "
        "its buffer holds 1 MiB per launch]"
    )
    run("prints", 3, block=32)  # the next launch begins anew
    assert capsys.readouterr().out == "block 0 of 3: 0.00\n"


def test_a_long_line_is_printed_whole(capsys):
    run("prints_long", 3000)
    assert capsys.readouterr().out == " " * 2999 + "x|\n"
    run("prints_long", 2**20)
    told = capsys.readouterr().out
    assert told.startswith("[minast: prints_long: 1 more call of printf, 1048578 bytes, is not shown: ")


def test_early_return_before_a_barrier_is_let_pass():
    x = np.zeros(64, np.int32)
    run("early_return", x, block=64)
    assert x.sum() == 40


def test_unoptimised_for_a_debugger(tmp_path):
    own = tmp_path / "own.cu"
    own.write_text("__global__ void own(int* x) {\n  __shared__ int y;\n  y = 1;\n  x[0] = y;\n}\n")
    x = np.zeros(1, np.int32)
    with emulation(debug=True, workers=1):
        launch(own, "own", 1, 1, (x,))
    assert x[0] == 1
    built = emulator_build.library(kernel_source.load(own), ("own",), debug=True)
    assert built != emulator_build.library(kernel_source.load(own), ("own",))


def test_modes_are_checked_and_restored():
    for wrong in ({"order": "sideways"}, {"guard": "middle"}, {"workers": 65}):
        with pytest.raises(Error), emulation(**wrong):
            pass
    with emulation(order="random", seed=3) as outer, emulation(workers=1) as inner:
        assert (inner.order, inner.seed, inner.workers) == ("random", 3, 1) and outer.workers == 0


def test_random_order_repeats_with_its_seed():
    def once(seed):
        parts = np.zeros(64, np.uint32)
        total = np.zeros(1, np.float32)
        run("atomics<float>", total, parts, grid=7, block=32, order="random", seed=seed, workers=1)
        return int(parts[1])  # which block came first

    assert once(1) == once(1) and len({once(s) for s in range(8)}) > 1


def test_features_are_all_tested():
    listed = {name.split("<")[0] for group in features().groups for name in group}
    assert listed == set(features().kernels), "every kernel of features.cu is listed for compilation"
    tests = "".join(p.read_text() for p in FEATURES.parent.rglob("test_*.py"))
    assert all(re.search(rf"""["']{name}""", tests) for name in listed)


def test_a_source_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_source, "RECHECK", 0)
    own = tmp_path / "own.cu"
    own.write_text('#include "helper.cuh"\n__global__ void twice(float* x) { *x = times<2>(*x); }\n')
    helper = "#pragma once\ntemplate <int n> __device__ float times(float x) { return n * x; }\n"
    (tmp_path / "helper.cuh").write_text(helper)
    x = np.ones(1, np.float32)
    launch(own, "twice", 1, 1, (x,))
    (tmp_path / "helper.cuh").write_text(helper.replace("n * x", "n * x + 1"))
    launch(own, "twice", 1, 1, (x,))  # an edited include is seen
    assert set(x) == {5.0}
