"""CUDA graphs: what is replayed is what is launched one by one, bit for bit. On a GPU if there is one.

The same tests run on tests/fake_cupy, so that they are tried where there is no GPU.
"""

import gc
import threading

import numpy as np
import pytest

from minast import AST, ModelConfig
from minast.backend import why_no_gpu
from minast.gpu import workspaces
from minast.gpu.graph import Graph
from tests import fake_cupy
from tests.kernel_cases import need_compiler

CONFIG = ModelConfig.preset("nano", dim=64, heads=2, depth=2, mel_bins=32, frames=46, classes=5, prefix_tokens=2)
DTYPES = ("float32", "bfloat16", "float16")
PLACES = ["stand-in", "late stand-in"] + (["cuda"] if why_no_gpu() is None else [])


@pytest.fixture(params=PLACES)
def device(request, monkeypatch):
    """CuPy on a GPU, or the stand-in: with streams that work at once, or as late as CUDA allows."""
    if request.param != "cuda":
        need_compiler()
        fake_cupy.install(monkeypatch, "all" if "late" in request.param else None)
    import cupy

    return cupy


def batches(xp, sizes, seed=0):
    rng = np.random.default_rng(seed)
    for clips in sizes:
        x = rng.standard_normal((clips, CONFIG.frames, CONFIG.mel_bins)).astype(np.float32)
        yield xp.asarray(x), xp.asarray(rng.random((clips, CONFIG.classes)).astype(np.float32))


def trained(xp, dtype, replay, sizes, seed=0):
    """A model after a training step for each of `sizes`, and its weights, losses and logits."""
    model = AST(CONFIG, "cuda", seed=seed, dtype=dtype, cuda_graphs=replay)
    adam, seen = model.backend.Adam(model.w.flat), []
    for x, y in batches(xp, sizes, seed):
        model.zero_grad()
        loss, logits = model.loss_and_grad(x, y, "bce", wait=False)
        adam.clipped_step(model.dw.flat, 1e-2, 1.0, model.copy_to_update())
        seen += [loss, logits]
    return model, [model.numpy(a) for a in [model.w.flat, *seen]]


def same(got, want):
    return all(np.array_equal(a, b) and np.isfinite(a).all() for a, b in zip(got, want, strict=True))


def graphs(model):
    return [graph for graph in model.executor.graphs.values() if isinstance(graph, Graph)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_five_steps(device, dtype):
    """The first runs, the second is recorded, three are replayed."""
    ours, got = trained(device, dtype, True, [3] * 5)
    _, want = trained(device, dtype, False, [3] * 5)
    assert same(got, want) and len(graphs(ours)) == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_two_shapes_in_turn(device, dtype):
    """Each has a graph of its own, in the same memory. The larger comes first: a growing arena would drop the other."""
    ours, got = trained(device, dtype, True, [3, 2] * 4)
    _, want = trained(device, dtype, False, [3, 2] * 4)
    assert same(got, want) and len(graphs(ours)) == 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_inference(device, dtype):
    """Each of five passes has its own clips; results of one are not those of the next."""
    plain = AST(CONFIG, "cuda", seed=1, dtype=dtype)
    ours = AST(CONFIG, "cuda", seed=1, dtype=dtype, cuda_graphs=True)
    inputs = [x for x, _ in batches(device, [2, 3] * 5)]
    got, want = ([model.numpy(y) for y in [model.forward(x) for x in inputs]] for model in (ours, plain))
    assert same(got, want) and len(graphs(ours)) == 2
    assert not np.array_equal(got[-1], got[-3])


@pytest.mark.parametrize("dtype", DTYPES)
def test_two_models_in_two_threads(device, dtype):
    """Each on a stream of its own, at the same time: the results of each alone."""
    alone = [trained(device, dtype, True, [3, 2] * 4, seed)[1] for seed in (0, 1)]
    found, ready = [None, None], threading.Barrier(2)

    def run(seed):
        with device.cuda.Stream(non_blocking=True):
            ready.wait()
            found[seed] = trained(device, dtype, True, [3, 2] * 4, seed)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(got[1], want) for got, want in zip(found, alone, strict=True))
    (one, _), (other, _) = found
    assert len(graphs(one)) == len(graphs(other)) == 2
    assert one.executor.side.ptr != other.executor.side.ptr


def test_each_model_has_a_workspace_which_goes_with_it(device):
    """A graph contains its address: two graphs with one workspace would write to it at the same time."""
    before = set(workspaces.workspaces)
    models = [trained(device, "float32", True, [2, 2], seed)[0] for seed in (0, 1)]
    own = set(workspaces.workspaces) - before  # and that of the current stream, which is used for the first time
    assert {model.executor.side.ptr for model in models} <= {stream for _, stream in own}
    rooms = [workspaces.workspace(model.executor.side.ptr).data.ptr for model in models]
    assert rooms[0] != rooms[1]
    sides = {(device.cuda.Device().id, model.executor.side.ptr) for model in models}
    del models
    gc.collect()
    assert not sides & set(workspaces.workspaces)
