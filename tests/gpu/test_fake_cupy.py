"""tests/fake_cupy refuses what a GPU refuses, and what is measured on it is taken for no GPU's."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minast import AST
from minast.bench import runner
from minast.bench.gpu import backends
from minast.bench.gpu.device import STAND_IN, Device
from tests import fake_cupy
from tests.gpu.test_gpu_path import CONFIG, batches
from tests.kernel_cases import close

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cupy(monkeypatch):
    fake_cupy.install(monkeypatch, "all")
    import cupy

    return cupy


def test_time_between_events_that_happened(cupy):
    start, stop, untimed = cupy.cuda.Event(), cupy.cuda.Event(), cupy.cuda.Event(disable_timing=True)
    with pytest.raises(fake_cupy.CudaError, match="InvalidResourceHandle"):
        cupy.cuda.get_elapsed_time(start, stop)
    for event in (start, stop, untimed):
        event.record()
    with pytest.raises(fake_cupy.CudaError, match="NotReady"):
        cupy.cuda.get_elapsed_time(start, stop)
    cupy.cuda.Device().synchronize()
    assert 0 <= cupy.cuda.get_elapsed_time(start, stop) < 1e5
    with pytest.raises(fake_cupy.CudaError, match="InvalidResourceHandle"):
        cupy.cuda.get_elapsed_time(start, untimed)


def test_a_pool_keeps_what_its_arrays_give_back(cupy):
    pool, free = cupy.get_default_memory_pool(), cupy.cuda.runtime.memGetInfo()[0]
    x = cupy.empty(1000, np.uint8)
    view = x[10:]
    del x
    assert (pool.used_bytes(), pool.total_bytes()) == (1024, 1024)
    del view
    assert (pool.used_bytes(), pool.free_bytes(), pool.total_bytes()) == (0, 1024, 1024)
    pool.free_all_blocks()
    assert pool.total_bytes() == 0 and cupy.cuda.runtime.memGetInfo()[0] == free
    with cupy.cuda.using_allocator(None):
        x = cupy.empty(1000, np.uint8)
        with pytest.raises(ValueError, match="inside `using_allocator`"):
            cupy.cuda.set_allocator(None)
    assert pool.total_bytes() == 0 and cupy.cuda.runtime.memGetInfo()[0] == free - x.nbytes
    with pytest.raises(MemoryError, match="Out of memory allocating"):
        cupy.empty(2**40, np.uint8)


def test_the_hosts_arrays_do_not_mix_with_the_devices(cupy):
    x, host = cupy.zeros(3, np.float32), np.ones(3, np.float32)
    for mixed in (
        lambda: x + host,
        lambda: cupy.maximum(x, host),
        lambda: cupy.exp(x, out=host),
        lambda: x.__iadd__(host),
        lambda: cupy.copyto(x, host),
        lambda: np.asarray(x),
    ):
        with pytest.raises(TypeError):
            mixed()
    with pytest.raises(ValueError, match="cannot be used for fill"):
        x[:] = host


def test_what_is_queued_is_computed_in_its_turn(cupy):
    """An index that is an array copies; another looks at the same memory."""
    x = cupy.arange(4)
    view, copy, sums = x[1:3], x[[1, 3]], x.sum()
    x[...] = 7
    assert view.get().tolist() == [7, 7] and copy.get().tolist() == [1, 3] and int(sums) == 6


@pytest.mark.parametrize("waits", [True, False])
def test_memory_that_is_given_back_is_others(cupy, waits):
    """Another stream that still reads it must have been waited for; its own stream's work is in order anyway."""
    x, side = cupy.arange(4), cupy.cuda.Stream(non_blocking=True)
    null, twice = cupy.cuda.get_current_stream(), x + x
    with side:
        side.wait_event(null.record())
        copy = x.copy()
    if waits:
        null.wait_event(side.record())
    del x
    assert twice.get().tolist() == [0, 2, 4, 6]  # waits for the null stream alone
    with side:
        assert (copy.get().tolist() == [0, 1, 2, 3]) == waits


def test_the_backend_cupy_is_the_reference(cupy):
    ((x, y),) = batches(1)
    found = []
    for backend in ("cupy", "numpy"):
        model = AST(CONFIG, backend, seed=1)
        loss, logits = model.loss_and_grad(model.xp.asarray(x), model.xp.asarray(y), "bce")
        found.append((loss, model.numpy(logits), model.numpy(model.dw.flat)))
    (ours, *arrays), (want, *wanted) = found
    assert ours == pytest.approx(want, rel=1e-6)
    for got, expected in zip(arrays, wanted, strict=True):
        close(got, expected, 1e-5)


def test_its_sizes_are_toys_and_it_fills_no_page(cupy, command, tmp_path, monkeypatch):
    device = Device(gpu=True)
    assert device.toy and device.name == STAND_IN and device.flush.nbytes < 2**20
    assert device.copy_bandwidth(1) > 0 and device.gemm_peak(1, "bfloat16") > 0
    rows = backends.backends(1, "cupy")
    assert [(row.device, row.name) for row in rows] == [
        (STAND_IN, f"cupy: toy, {job}, batch 2") for job in backends.JOBS
    ]
    monkeypatch.setattr(runner, "measure", None)
    status, _, err = command("bench", "attention", "--backend", "cuda", "--ladder", tmp_path / "l.png")
    assert status == 2 and "this run has no GPU" in err
    status, _, err = command("bench", "--backend", "cuda", "--readme", ROOT / "kernels" / "README.md")
    assert status == 2 and "this run has no GPU" in err


def test_a_process_that_finds_it_in_front():
    code = "from minast.backend import choose, why_no_gpu; assert why_no_gpu() is None; print(choose().name)"
    path = os.pathsep.join(map(str, (ROOT / "tests" / "stand_in", ROOT)))
    for default, wanted in (("", "cuda\n"), ("numpy", "numpy\n")):
        environment = {**os.environ, "PYTHONPATH": path, "MINAST_BACKEND": default}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.stdout == wanted, done.stderr
