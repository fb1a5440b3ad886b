"""The emulator's report against kernels whose requests, conflicts, branches and operations are counted by hand."""

import re
from pathlib import Path

import numpy as np
import pytest

from minast import cuda
from minast.emulator.report import Report
from minast.errors import Error
from minast.gpu import cards, nvrtc, registers
from minast.launch import emulation, launch
from tests.emulated import needs_emulator

pytestmark = needs_emulator
COUNTED = Path(__file__).resolve().parents[1] / "counted.cu"
TEXT = COUNTED.read_text().splitlines()


def report_of(kernel, *args, grid=1, block=32, shared_bytes=0, **modes):
    with emulation(report=True, **modes) as report:
        launch(COUNTED, kernel, grid, block, args, shared_bytes)
    assert len(report) == 1
    return report[0]


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def line(report, text):
    """The report's only line whose source holds `text`."""
    (found,) = [n for n in report.lines if text in n.text]
    assert text in TEXT[found.line - 1]
    return found


# -- global memory: 2 blocks of 64 threads are 4 warps; 32 floats that lie together are 4 sectors -----------------


@pytest.mark.parametrize(
    ("step", "first", "sectors"),
    [(1, 0, 4), (2, 0, 8), (8, 0, 32), (9, 0, 32), (1, 1, 5), (1, 8, 4), (0, 0, 1)],
)
def test_sectors_of_strided_loads(step, first, sectors):
    r = report_of("strided", zeros(127 * step + first + 1), zeros(128), step, first, grid=2, block=64)
    at = line(r, "y[i] = x[i * step + first]")
    assert at.requests == 8  # a load and a store of each warp
    assert at.sectors == 4 * sectors + 4 * 4
    assert at.least_sectors == 4 * (1 if step == 0 else 4) + 4 * 4
    assert r.bytes_moved == 32 * at.sectors
    assert r.bytes_needed == 4 * (1 if step == 0 else 128) + 4 * 128


def test_an_array_that_starts_off_a_sector():
    whole = zeros(128 + 3)
    r = report_of("strided", whole[3:], zeros(128), 1, 0, grid=2, block=64)
    assert line(r, "y[i] =").sectors == 4 * 5 + 4 * 4


def test_a_broadcast_is_one_sector():
    r = report_of("broadcast", zeros(32), zeros(64), block=64)
    at = line(r, "y[threadIdx.x] = x[3]")
    assert (at.requests, at.sectors, at.least_sectors) == (4, 2 * 1 + 2 * 4, 2 * 1 + 2 * 4)
    assert r.arguments["x"].reads[3] == 64 and r.arguments["x"].reads.sum() == 64


def test_a_vector_load_is_one_request():
    r = report_of("wide", zeros(128), zeros(128))
    at = line(r, "y[threadIdx.x] = x[threadIdx.x]")
    assert (at.requests, at.sectors) == (2, 32)
    assert (r.arguments["x"].reads == 1).all() and (r.arguments["y"].writes == 1).all()


# -- shared memory ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pitch", "turns"), [(32, 32 * 32), (33, 32), (34, 2 * 32), (36, 4 * 32)])
def test_bank_conflicts_of_a_transpose(pitch, turns):
    x = np.arange(1024, dtype=np.float32).reshape(32, 32)
    y = zeros(32, 32)
    r = report_of(f"transpose<{pitch}>", x, y, block=(32, 8))
    assert np.array_equal(y, x.T)
    write, read = line(r, "tile[r][threadIdx.x] ="), line(r, "= tile[threadIdx.x][r]")
    assert (write.shared_requests, write.turns, write.conflicts) == (32, 32, 0)
    assert (read.shared_requests, read.turns, read.conflicts) == (32, turns, turns - 32)
    assert write.sectors == write.least_sectors == read.sectors == 32 * 4
    assert r.barriers == (1, 1)


# -- branches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "parted"), [(2, 2), (32, 2), (1, 0)])
def test_divergent_branches(m, parted):
    r = report_of("divergent", zeros(128), m, block=64)
    assert line(r, "if (t % m == 0)").parted == parted if parted else r.total.parted == 0
    assert line(r, "v = v * 2.0f + 1.0f").flop == 2 * 5 * 64 // m
    assert line(r, "y[t + 64] = v").requests == 2  # both sides have met again
    assert sum("y[t] = v + 3.0f" in n.text for n in r.lines) == (m > 1)


def test_lanes_meet_again_in_each_round_of_a_loop():
    r = report_of("ragged", zeros(384), zeros(32))
    assert line(r, "sum += x[").requests == 4 * 3
    assert line(r, "y[threadIdx.x] = sum").requests == 1
    lengths = [(t + j) % 3 + 1 for j in range(4) for t in range(32)]
    assert line(r, "sum += x[").flop == sum(lengths)
    assert r.total.parted == 4 * 2  # after the first and the second step of each round


def test_lanes_meet_again_after_a_call():
    r = report_of("called", zeros(64), zeros(32))
    assert line(r, "y[threadIdx.x] = v").requests == 1
    assert line(r, "if (i % 2) return").parted == 1


def test_threads_that_return_early():
    r = report_of("early", zeros(64), zeros(64), 40, block=64)
    assert line(r, "if (threadIdx.x >= n) return").parted == 1  # the second warp
    assert r.threads_at_work.tolist() == [t < 40 for t in range(64)]
    assert "of which only 40 threads work" in str(r)


# -- operations ---------------------------------------------------------------------------------------------------


def test_arithmetic_by_line_and_class():
    r = report_of("arithmetic", np.ones(64, np.float32), zeros(64), block=64)
    assert r.total.flop == 64 * 5  # two products, two sums, a difference: a multiply-add is two
    assert r.total.special == 64 * 2
    assert r.mix["special"] == 2 and r.mix["float32 divide or root"] == 2
    assert r.mix["global load"] == r.mix["global store"] == 2
    assert r.flop_by_thread.tolist() == [5] * 64


def test_atomics():
    total = zeros(1)
    r = report_of("atomic", total, grid=2, block=64)
    assert total[0] == 128 and r.mix["atomic"] == 4
    assert r.arguments["sum"].reads[0] == r.arguments["sum"].writes[0] == 128


def test_exchanges_within_a_warp():
    r = report_of("exchanged", np.ones(64, np.float32), block=64)
    assert r.mix["shuffle"] == 2 * 5 and r.mix["vote"] == 2 and r.mix["warp barrier"] == 2
    assert line(r, "__shfl_xor_sync").syncs == 10 and line(r, "__shfl_xor_sync").flop == 64 * 5


def test_tensor_cores():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(16, 16)).astype(np.float16)
    d = zeros(32, 4)
    r = report_of("product", a, d, shared_bytes=2 * 16 * 24)
    assert np.abs(d).max() > 0
    assert r.mix["tensor core"] == 1 and r.mix["matrix load"] == 1
    assert line(r, "mma_m16n8k16").tensor_flop == 2 * 16 * 8 * 16
    load = line(r, "ldmatrix_x4")
    assert (load.shared_requests, load.turns, load.conflicts) == (1, 4, 0)  # rows of 48 bytes: no conflict
    assert r.counts.shared_bytes == 768


# -- who reads what, and when -------------------------------------------------------------------------------------


def test_two_walks_are_told_from_one():
    r = report_of("two_walks", zeros(20), zeros(32), 20)
    assert (r.arguments["x"].reads == 2 * 32).all()


def test_one_lane_alone():
    r = report_of("lane_zero", np.ones(40, np.float32), zeros(1), 40)
    assert r.memory_by_thread[0].tolist() == [41] + [0] * 31
    assert r.threads_at_work.sum() == 1 and "of which only thread 0 works" in str(r)


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize(("early", "ahead"), [(1, 4 * 32 * 4), (0, 0)])
def test_reads_while_a_copy_is_under_way(early, ahead, order):
    r = report_of("tiles", zeros(5 * 128), zeros(32), 5, early, order=order)
    assert line(r, "sum += buffer").ahead == ahead  # all tiles but the last
    assert r.mix["copy"] == 5


# -- the whole ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "modes",
    [{"order": "reverse"}, {"order": "random", "seed": 5}, {"guard": False}, {"guard": "start"}, {"workers": 2}],
)
def test_counts_do_not_depend_on_how_it_is_run(modes):
    x = np.random.default_rng(0).normal(size=(1, 70, 3 * 2 * 16)).astype(np.float32)
    with emulation(report=True) as plain, emulation(workers=1):
        cuda.attention_forward(x, 2, version=2)
    with emulation(report=True, **modes) as other:
        cuda.attention_forward(x, 2, version=2)
    for a, b in zip(plain, other, strict=True):
        assert a.lines == b.lines and a.mix == b.mix and a.barriers == b.barriers


def test_the_result_is_the_same_with_a_report():
    x = np.random.default_rng(0).normal(size=(1, 70, 3 * 2 * 16)).astype(np.float16)
    for version in (4, 5, 6):
        plain, _ = cuda.attention_forward(x, 2, version=version)
        with emulation(report=True) as report:
            counted, _ = cuda.attention_forward(x, 2, version=version)
        assert np.array_equal(plain, counted)
        tiles = -(-70 // 64)  # 64 queries a block, 64 keys a tile, both products whole
        assert report[-1].total.tensor_flop == 2 * 4 * (64 * tiles) ** 2 * 16


def test_inner_contexts_are_counted_and_failures_are_not():
    with emulation(report=True) as report:
        with emulation(order="reverse") as modes:
            launch(COUNTED, "broadcast", 1, 32, (zeros(32), zeros(32)))
            assert modes.order == "reverse"
        with pytest.raises(
            IndexError, match=r"beyond: .*argument 0 \(x, float32\(20,\)\), element 20 of 20 .* at counted.cu"
        ):
            launch(COUNTED, "beyond", 1, 32, (zeros(20), zeros(32)))
        with emulation(report=False):
            launch(COUNTED, "broadcast", 1, 32, (zeros(32), zeros(32)))
    launch(COUNTED, "broadcast", 1, 32, (zeros(32), zeros(32)))
    assert [r.kernel for r in report] == ["broadcast"]
    with pytest.raises(Error, match="the report has 1 launches, so there is none at 3"):
        report[3]


def test_the_line_of_a_fault_behind_includes():
    """counted.cu begins with includes of files that include system headers."""
    with pytest.raises(IndexError) as caught:
        launch(COUNTED, "beyond", 1, 32, (zeros(20), zeros(32)))
    number = int(re.search(r"counted.cu:(\d+)", str(caught.value))[1])
    assert "y[threadIdx.x] = x[threadIdx.x]" in TEXT[number - 1]
    r = report_of("exchanged", zeros(32))
    assert "__shfl_xor_sync" in TEXT[line(r, "__shfl_xor_sync").line - 1]
    with emulation(report=True) as report:
        cuda.softmax_forward(np.eye(3, dtype=np.float32))
    common = (COUNTED.parents[1] / "kernels" / "common.cuh").read_text().splitlines()
    shuffles = [n for n in report[0].lines if n.syncs]
    assert shuffles and all("__shfl_xor_sync" in common[n.line - 1] for n in shuffles)


@pytest.mark.parametrize("wrong", ["yes", 3, Report])
def test_an_unknown_report(wrong):
    with pytest.raises(Error, match=r"report is .*: it must be True or False"), emulation(report=wrong):
        pass


def test_a_report_without_launches_says_so():
    with emulation(report=True) as report:
        pass
    assert str(report) == "no kernel was launched in the emulator" and len(report) == 0


def test_what_is_not_counted_is_said():
    r = report_of("exchanged", zeros(32))
    assert r.not_counted == set() and "NOT counted" not in str(r)
    r = report_of("exchanged", zeros(32))
    r.counts.syncs[1, "wmma.mma", "x.cu", 1] = (4, 128)
    assert "NOT counted: what wmma.mma read and computed" in str(r)


@pytest.mark.parametrize(
    ("tokens", "warpgroups", "rows", "keys"), [(128, 2, 128, 128), (150, 3, 192, 256), (50, 1, 64, 128)]
)
def test_products_of_warpgroups(tokens, warpgroups, rows, keys):
    """Attention's two products, of whole tiles: rows x keys x 64, a multiply-add is two."""
    qkv = np.random.default_rng(0).standard_normal((1, tokens, 3 * 64)).astype(np.float16)
    with emulation(report=True) as report:
        cuda.attention_forward(qkv, 1, version=7, warpgroups=warpgroups)
    r = report[0]
    assert r.total.tensor_flop == 4 * rows * keys * 64
    assert r.mix["tensor core"] == 4 * rows // 64 * (keys // 128) * (64 // 16 + 128 // 16)  # four warps each
    text = str(r)
    assert r.not_counted == set() and "NOT counted: what wgmma.mma_async reads of shared memory" in text
    assert "tensor cores" in text.split("at its published peaks")[1].splitlines()[0]


def test_the_text():
    text = str(report_of("transpose<32>", zeros(1024), zeros(1024), block=(32, 8)))
    for words in (
        "transpose<32>: 1 block of 256 threads, all at work", "x: each element read once, not written",
        "shared memory: 1056 turns, 992 of them bank conflicts", "barriers: 1 a block",
        "shared memory takes longest", "(counted, not measured)", "tile[threadIdx.x][r]",
    ):  # fmt: skip
        assert words in text, text


# -- the hardware's limits ----------------------------------------------------------------------------------------


def test_a_launch_too_large_for_a_report_is_refused():
    """A loop without barriers that would fill the memory ends with a sentence."""
    with pytest.raises(Error, match=r"the report cannot hold .* launch a smaller problem"), emulation(report=True):
        launch(COUNTED, "two_walks", 1, 64, (zeros(200_000), zeros(64), 200_000))


def test_roofline_of_a_copy():
    r = report_of("strided", zeros(128), zeros(128), 1, 0, grid=2, block=64)
    assert r.roofline(cards.A100)["memory"] == pytest.approx(1024 / 2.039e12)
    assert r.roofline(cards.A100)["float32"] == 0


def test_published_peaks_follow_from_one_clock():
    assert cards.A100.float32_peak == pytest.approx(19.5e12, rel=2e-3)
    assert cards.A100.tensor_peak == pytest.approx(312e12, rel=2e-3)
    assert cards.H100.tensor_peak == pytest.approx(989.4e12, rel=2e-3)
    assert cards.H100.float32_peak * 1.98 / 1.83 == pytest.approx(66.9e12, rel=2e-3)


@pytest.mark.parametrize(
    ("threads", "registers_", "shared", "blocks", "limit"),
    [
        (256, 32, 0, 8, "threads"),  # 8 warps each, 64 in all
        (32, 32, 0, 32, "blocks"),
        (128, 128, 0, 4, "registers"),  # 4096 registers a warp: four of each part's 16384, 16 warps
        (128, 255, 0, 2, "registers"),  # 8192 a warp: two of each part's
        (256, 33, 0, 6, "registers"),  # 1280 a warp: 12 of each part's, 48 warps
        (128, 0, 48 * 1024, 3, "shared memory"),
    ],
)
def test_blocks_of_a_multiprocessor(threads, registers_, shared, blocks, limit):
    assert cards.blocks_per_sm(cards.A100, threads, registers_, shared) == (blocks, limit)


@pytest.mark.skipif(not nvrtc.available(), reason="NVRTC is not installed")
def test_registers_and_static_shared_memory():
    r = report_of("transpose<33>", zeros(1024), zeros(1024), block=(32, 8))
    used, shared = r.needs("80")
    assert 8 <= used <= 64 and shared == 4 * 32 * 33
    assert r.occupancy(cards.A100)[0] * 8 == r.occupancy(cards.A100)[1]


def test_without_nvrtc_registers_are_unknown_and_said_to_be(monkeypatch):
    r = report_of("transpose<33>", zeros(1024), zeros(1024), block=(32, 8))
    monkeypatch.setattr(registers.nvrtc, "available", lambda: False)
    assert r.needs() is None and r.occupancy() == (8, 64, "threads")
    assert "registers unknown (NVRTC is not installed)" in str(r)


@pytest.mark.skipif(not nvrtc.available(), reason="NVRTC is not installed")
def test_a_kernel_of_a_readers_own_may_say_infinity(tmp_path):
    file = tmp_path / "top.cu"
    file.write_text("__global__ void top(float* y) { y[0] = -INFINITY; }\n")
    with emulation(report=True) as report:
        launch(file, "top", 1, 1, (zeros(1),))
    assert report[0].needs("80")[0] > 0


def test_a_kernel_that_no_gpu_compiler_takes(tmp_path):
    if not nvrtc.available():
        pytest.skip("NVRTC is not installed")
    file = tmp_path / "host.cu"
    file.write_text('__global__ void host(float* y) { y[0] = strlen("abc") + emu_rsqrtf(4.0f); }\n')
    with emulation(report=True) as report:
        launch(file, "host", 1, 1, (zeros(1),))
    assert "occupancy unknown: host.cu does not compile for compute capability 80" in str(report)
