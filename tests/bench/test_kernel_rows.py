"""The rows about kernels, in the emulator at toy sizes: they run, they check, they write only what was measured."""

import json
import shutil

import numpy as np
import pytest

import minast
from minast import cuda
from minast.backend import why_no_gpu
from minast.bench import catalogue, checks, readme, table
from minast.bench.gpu import backends, device, tables
from minast.bench.gpu.rows import DeviceRow, facts, measured
from minast.bench.kernels import attention, memory_bound
from minast.bench.kernels.cases.case import REAL, TOY, Case
from minast.bench.pytorch import kernels as in_torch
from minast.bench.pytorch import model, runtime
from minast.bench.row import Row, Skip
from minast.bfloat16 import to_float32
from minast.cuda import half_encoder, linear
from minast.gpu import kernel_source
from tests.kernel_cases import CASTS, need_compiler
from tests.pretended import Pretended

no_gpu = pytest.mark.skipif(why_no_gpu() is None, reason="there is a GPU here")


@pytest.fixture
def emulator():
    need_compiler()
    return device.open_device("emulator")


@pytest.fixture
def pretended(emulator):
    return Pretended()


def test_all_rows_in_the_emulator(tmp_path, command, monkeypatch):
    need_compiler()
    monkeypatch.setattr(model, "COMPILE", {"backend": "eager"})  # where torch is: without its compiler
    status, out, _ = command("bench", "--backend", "emulator", "--rounds", "1", "--json", tmp_path / "b.json")
    assert status == 0
    stored = json.loads((tmp_path / "b.json").read_text())
    rows = {row["name"]: row for row in stored["rows"]}
    for kernel in ("unfold", "layer norm", "bias + GELU", "softmax"):
        for dtype in device.DTYPES:
            wanted = {f"{kernel}, version 0, {dtype}", f"{kernel}, version 1, {dtype}", f"{kernel} backward, {dtype}"}
            assert wanted <= set(rows)
    assert {"attention, TF32, 1 fragment a warp", "attention backward, TF32"} <= set(rows)
    assert {f"log-mel, version {version}, float32" for version in (0, 1, 2)} <= set(rows)
    assert "emulator: toy, training step, batch 2, tf32" in rows
    assert {"bce, float32", "ce backward, bfloat16", "Adam, version 1, float32", "gradient norm, float32"} <= set(rows)
    assert {f"residual + norm{way}, {dtype}" for way in ("", " backward") for dtype in ("float16", "bfloat16")} <= set(
        rows
    )
    for dtype in device.DTYPES:
        assert {f"{name}, {dtype}" for name in ("tokens backward", "attention of two queries, backward")} <= set(rows)
    for dtype, versions in attention.VERSIONS.items():
        assert {f"attention, version {version}, {dtype}" for version in versions} <= set(rows)
        assert (f"attention, version 7 with 2 warpgroups, {dtype}" in rows) == (dtype != "float32")
        assert {f"attention backward, as version {v}, {dtype}" for v in attention.BACKWARD[dtype]} <= set(rows)
    assert "emulator: toy, training step, batch 2" in rows
    assert stored["about"]["device"] == "emulator" and out.count("says nothing about a GPU") == len(rows)
    assert {row["job"] for row in stored["rows"]} >= {"step", "latency", "throughput", "memory", "attention forward"}
    assert all(row["device"] == "emulator" and row["ours"] > 0 and row["share"] is None for row in rows.values())
    goals = [goal for row in rows.values() for goal in row["goals"]]
    assert len(goals) == 10 + 3 + 6 and not any(goal["reached"] or goal["value"] for goal in goals)


def test_counts_of_the_real_sizes():
    """By hand: 144.9 GFLOP forward, 362 backward; layer norm 119 MB in 16 bits; bias + GELU 477 MB."""
    B, H, N, D = attention.REAL
    assert pytest.approx(144.9e9, rel=1e-3) == 4 * B * H * N * N * D
    R, C = REAL.rows
    assert pytest.approx(119e6, rel=5e-3) == 2 * 2 * R * C and pytest.approx(477e6, rel=5e-3) == 2 * 2 * R * 4 * C


WRONG = {"softmax_forward": 1, "layernorm_backward": 1, "gelu_forward": 1, "unfold_backward": 1, "ce_backward": 0}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_kernel_is_not_timed(pretended, monkeypatch, name):
    right = getattr(cuda, name)

    def wrong(*args, **kwargs):
        got = right(*args, **kwargs)
        (got[0] if isinstance(got, tuple) else got)[...] *= 1.001
        return got

    monkeypatch.setattr(cuda, name, wrong)
    case = next(c for c in memory_bound.cases(pretended, TOY, "float32") if c.name.startswith(NAMES[name]))
    ceiling = pretended.timed
    with pytest.raises(minast.Error, match="nothing was timed"):
        memory_bound.measure(pretended, TOY, 1, ("float32",), [case])
    assert pretended.timed == ceiling + 1  # the copy alone


NAMES = {
    "softmax_forward": "softmax, version 1",
    "layernorm_backward": "layer norm backward",
    "gelu_forward": "bias + GELU, version 0",
    "unfold_backward": "unfold backward",
    "ce_backward": "ce backward",
}


WRONG_ATTENTION = {  # which of the results: how to get at it
    "o": ("attention_forward", lambda got: got[0]),
    "lse": ("attention_forward", lambda got: got[1][2]),
    "dqkv": ("attention_backward", lambda got: got),
}


@pytest.mark.parametrize("result", WRONG_ATTENTION)
def test_wrong_attention_is_not_timed(emulator, monkeypatch, result):
    name, part = WRONG_ATTENTION[result]
    right = getattr(cuda, name)

    def wrong(*args, **kwargs):
        got = right(*args, **kwargs)
        part(got)[0, -1] *= 1.001
        return got

    monkeypatch.setattr(cuda, name, wrong)
    says = {"o": "^attention, version 0", "lse": "^lse of attention, version 0", "dqkv": "^attention backward"}[result]
    with pytest.raises(minast.Error, match=says + ".*float32.*nothing was timed"):
        list(attention.measure(emulator, attention.TOY, 1, ("float32",)))


def test_a_wrong_backend_is_not_timed(emulator, monkeypatch):
    right = linear.add_columns

    def wrong(x, out, version=1):
        right(x, out, version)
        out *= 1.01

    monkeypatch.setattr(linear, "add_columns", wrong)
    with pytest.raises(minast.Error, match="emulator, toy, gradient of"):
        backends.compare(["emulator"], "numpy", backends.TOY, 2, 1, "toy")


def test_backends_of_a_cpu(monkeypatch):
    monkeypatch.setattr(backends, "NANO", backends.TOY)
    rows = [row for name in ("numpy", "fast") for row in backends.backends(1, name)]
    assert [row.against for row in rows] == ["", "", "numpy", "numpy"] and not measured(rows)
    assert all(row.rate_unit == "clips/s" and row.device == "CPU" for row in rows)


@pytest.mark.parametrize("dtype", device.DTYPES)
def test_numbers_of_16_bits(dtype):
    x = np.random.default_rng(0).standard_normal((7, 13)).astype(np.float32)
    stored = device.cast(x, dtype)
    assert (stored == CASTS[dtype](x)).all() and (device.cast(to_float32(stored), dtype) == stored).all()
    checks.check(stored, x, device.TOLERANCE[dtype], "rounding")


def test_the_table_of_a_device(pretended, tmp_path):
    """Ceilings, libraries and their columns; rows of a CPU or the emulator stay out."""
    rows = memory_bound.measure(pretended, TOY, 1, ("float32",))
    rows += attention.measure(pretended, attention.TOY, 1, ("float32",))
    assert all(row.share > 0 and row.ceiling for row in rows)
    compared = [row for row in rows if row.dtype != "tf32"]  # no library computes in TF32 beside ours
    assert all(set(row.libraries) == {device.LIBRARY} for row in compared) and len(compared) == len(rows) - 3
    assert all(row.without == {in_torch.TORCH: "no torch"} for row in compared)
    other = DeviceRow("from the emulator", 1.0, device="emulator"), Row("of the other table", 1.0)
    page = tmp_path / "README.md"
    page.write_text("\n".join(["before", *readme.markers(readme.GPU), "after"]))
    for _ in range(2):
        tables.write(page, [*rows, *other], table.conditions(2) | facts(rows))
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter") and "from the emulator" not in text
    assert text.count("| attention, version 3, float32 | float32 | 1.00 ms |") == 1 and "other table" not in text
    assert "1.00 ms (1.00x)" in text and "Pretended GPU" in text


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_libraries_in_16_bits(pretended, tmp_path, monkeypatch, dtype):
    """float16: the reference's time stands beside; bfloat16: that it is uint16; both: that torch is missing."""
    rows = memory_bound.measure(pretended, TOY, 1, (dtype,))
    rows += attention.measure(pretended, attention.TOY, 1, (dtype,))
    assert all(row.without[in_torch.TORCH] == "no torch" for row in rows)
    if dtype == "bfloat16":
        assert all(row.without[device.LIBRARY] == device.NO_BFLOAT16 and not row.libraries for row in rows)
    else:
        timed = [row.name for row in rows if device.LIBRARY in row.libraries]
        assert len(timed) == len(rows), [row.without for row in rows]
    text = tables.markdown(rows, table.conditions(2) | facts(rows))
    assert text.count(f"| {rows[0].without.get(device.LIBRARY, '1.00 ms (1.00x)')} |") == len(rows)


def test_a_library_that_differs_is_not_timed(pretended):
    wrong = Case("wrong", lambda: (np.ones(3),), lambda: (np.ones(3),), 1, lambda: lambda: (np.zeros(3),))
    (row,) = memory_bound.measure(pretended, TOY, 1, ("float16",), [wrong])
    assert row.without[device.LIBRARY] == "differs from the reference by 1.0e+00 of the largest value"
    assert pretended.timed == 2  # the copy, and ours
    assert f"{device.LIBRARY}: differs from the reference by 1.0e+00" in row.note


@pytest.mark.parametrize("dtype", device.DTYPES)
def test_torch_does_the_same_jobs(pretended, dtype):
    """Each case's job in torch, on a CPU, against the reference."""
    torch, done = pytest.importorskip("torch"), []
    for case in memory_bound.cases(pretended, TOY, dtype):
        if case.name == "residual + norm backward":
            with pytest.raises(Skip, match="no such job"):
                case.torch(torch)
            continue
        got = [runtime.to_array(np, x) for x in case.torch(torch)()]
        wanted = case.wanted()
        assert not checks.differences(got, wanted, device.TOLERANCE[dtype]), case.name
        done.append(case.name)
    assert len(set(done)) == {"float32": 25}.get(dtype, 22)


@no_gpu
@pytest.mark.parametrize("name", ["kernels", "attention"])
def test_without_a_gpu_nothing_is_timed(name, command):
    with pytest.raises(Skip, match="no GPU here"):
        catalogue.ROWS[name].run(1)
    status, out, err = command("bench", name)
    assert status == 2 and out == "" and "no GPU here" in err and err.count("\n") == 1
    with pytest.raises(Skip, match="not on fast"):
        catalogue.ROWS[name].run(1, "fast")


def test_the_emulator_writes_no_table(tmp_path, command):
    shipped = kernel_source.folder() / "README.md"
    page = shutil.copy(shipped, tmp_path / "README.md")
    before = shipped.read_text(encoding="utf-8")
    status, out, err = command("bench", "kernels", "--backend", "emulator", "--readme", page)
    assert status == 2 and out == "" and "emulator timings are not written to the table" in err and err.count("\n") == 1
    if why_no_gpu():
        status, _, err = command("bench", "kernels", "--readme", page)
        assert status == 2 and "this run has no GPU" in err
    with pytest.raises(minast.Error, match="nothing was measured"):
        tables.write(page, [DeviceRow("x", 1.0, device="emulator")], {})
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == before


@pytest.mark.parametrize("dtype", device.DTYPES)
def test_torch_does_the_same_job(dtype):
    """The comparison's own packing, on a CPU."""
    torch = pytest.importorskip("torch")
    B, H, N, D = attention.TOY
    rng = np.random.default_rng(0)
    qkv, do = (device.cast(rng.standard_normal((B, N, C), np.float32), dtype) for C in (3 * H * D, H * D))
    results, calls = in_torch.sdpa(torch, *(runtime.to_torch(torch, x) for x in (qkv, do)), H)
    for result, wanted in zip(results, attention.reference(np, qkv, do, H)[:2], strict=True):
        checks.check(result().float().numpy(), wanted, device.TOLERANCE[dtype], "torch")
    assert len(calls[1]()) == 3


def test_rows_of_16_bits_are_checked_against_float32(emulator, monkeypatch):
    rows = backends.narrow("emulator", backends.TOY, 2, 1, "toy")
    assert [(r.dtype, r.against) for r in rows] == [
        (d, "emulator, float32") for d in ("tf32", "float16", "bfloat16") for _ in "ab"
    ]
    assert not measured(rows)

    right = half_encoder.add_columns
    monkeypatch.setattr(half_encoder, "add_columns", lambda x, out, *rest: right(x, out * 0, *rest))
    with pytest.raises(
        minast.Error, match=r"emulator, toy, float16, gradient of blocks\.1\.attn\.qkv\.bias: off by 100"
    ):
        backends.narrow("emulator", backends.TOY, 2, 1, "toy")
