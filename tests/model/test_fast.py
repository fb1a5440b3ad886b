"""Every function of the fast backend against the reference, float32, odd sizes; its threads; its memory."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest
from scipy import special

import minast
from minast import fast, layers, threads
from minast.fast import attention as fast_attention
from minast.fast import buffers
from minast.fast import gelu as fast_gelu
from minast.fast import layers as fast_layers

LENGTHS = (1, 50, 257, 1214)


def normal(*shape, seed=0, scale=1.0):
    return (scale * np.random.default_rng([seed, *shape]).standard_normal(shape)).astype(np.float32)


@pytest.fixture(autouse=True, params=[1, 3])
def thread_count(request, monkeypatch):
    """One thread; three, and nothing is too small for them."""
    monkeypatch.setenv(threads.VARIABLE, str(request.param))
    if request.param > 1:
        for module, name in ((fast_layers, "SMALL"), (fast_layers, "SMALL_PRODUCT")):
            monkeypatch.setattr(module, name, 1)
        monkeypatch.setattr(fast_gelu, "SMALL", 1)
        monkeypatch.setattr(fast_attention, "SMALL_PRODUCT", 1)


def compare(forward, backward, x, *weights, tolerance=3e-6):
    """The same of both: y, dx and what is added to weight gradients that hold something already."""
    results = []
    for module in (layers, fast):
        arrays = [a.copy() for a in (x, *weights)]
        y, cache = forward(module)(*arrays)
        dy = normal(*y.shape, seed=1)
        dw = [normal(*w.shape, seed=2) for w in weights]
        dx = backward(module)(dy, cache, *dw)
        for before, after in zip((x, *weights), arrays, strict=True):
            np.testing.assert_array_equal(before, after)
            assert not np.shares_memory(after, y) and not np.shares_memory(after, dx)
        np.testing.assert_array_equal(dy, normal(*y.shape, seed=1))
        assert not np.shares_memory(dx, dy)
        results.append((y, dx, *dw))
    for wanted, got in zip(*results, strict=True):
        assert got.shape == wanted.shape and got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * max(1, abs(wanted).max()))


@pytest.mark.parametrize(("B", "T", "C", "O"), [(1, 7, 13, 5), (2, 50, 96, 288), (1, 257, 128, 32), (1, 1, 1, 1)])
def test_linear(B, T, C, O):
    forward, backward = (lambda module: module.linear_forward), (lambda module: module.linear_backward)
    compare(forward, backward, normal(B, T, C), normal(O, C), normal(O))
    compare(forward, backward, normal(T, C), normal(O, C), normal(O))  # no batch


@pytest.mark.parametrize("shape", [(1, 7, 13), (3, 1, 2), (2, 257, 96), (5, 768)])
def test_layernorm(shape):
    C = shape[-1]
    forward = lambda module: lambda x, w, b: module.layernorm_forward(x, w, b, 1e-5)  # noqa: E731
    compare(forward, lambda module: module.layernorm_backward, normal(*shape), normal(C), normal(C), tolerance=1e-5)


@pytest.mark.parametrize("kind", ["erf", "tanh"])
@pytest.mark.parametrize("shape", [(1, 7, 13), (1,), (3, 257, 384)])
def test_gelu(kind, shape):
    x = normal(*shape, scale=3)
    compare(
        lambda module: lambda x: module.gelu_forward(x, kind), lambda module: module.gelu_backward, x, tolerance=1e-6
    )


def test_gelu_to_a_millionth_everywhere():
    x = np.concatenate([np.linspace(-12, 12, 400001), [-1e15, -1e4, 1e4, 1e15]]).astype(np.float32)
    wanted = x.astype(np.float64) * special.ndtr(x.astype(np.float64))
    y, cache = fast.gelu_forward(x)
    assert (abs(y - wanted) <= 1e-6 * np.maximum(1, abs(x) / 8)).all()
    slope = special.ndtr(x.astype(np.float64)) + x * np.exp(-0.5 * x.astype(np.float64) ** 2) * layers.INV_SQRT_2PI
    assert abs(fast.gelu_backward(np.ones_like(x), cache) - slope).max() < 1e-6
    assert np.isnan(fast.gelu_forward(np.array([np.nan], np.float32))[0]).all()


@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize(("B", "heads", "D"), [(1, 1, 13), (3, 2, 8)])
@pytest.mark.parametrize("scale", [1, 30])
@pytest.mark.parametrize("exponential", [fast_attention.NATURAL, fast_attention.BINARY], ids=["exp", "exp2"])
def test_attention(T, B, heads, D, scale, exponential, monkeypatch):
    """Scores of about 1, and of about 1000, where rows are shifted by their maximum."""
    monkeypatch.setattr(fast_attention, "EXPONENTIAL", exponential)
    qkv = normal(B, T, 3 * heads * D)
    qkv[..., : 2 * heads * D] *= scale
    forward = lambda module: lambda x: module.attention_forward(x, heads)  # noqa: E731
    compare(forward, lambda module: module.attention_backward, qkv, tolerance=5e-6 * scale**2)


def test_attention_groups_cover_every_head_once():
    for B, heads, T in ((1, 1, 1), (5, 3, 109), (2, 3, 257), (1, 12, 1214), (33, 3, 20)):
        seen = np.zeros((B, heads), int)
        for group in fast_attention.grouped(B, heads, T):
            seen[group] += 1
        assert (seen == 1).all()


def test_attention_memory_grows_with_the_length_alone(monkeypatch):
    """Twice as many tokens: about twice the memory, not four times; and less than one head's scores, all in all."""
    monkeypatch.setattr(buffers, "MIN_BYTES", 2**60)  # tracemalloc sees fresh memory only
    peaks = []
    for T in (2000, 4000):
        qkv = normal(1, T, 3 * 2 * 8)
        tracemalloc.start()
        o, cache = fast.attention_forward(qkv, 2)
        fast.attention_backward(o, cache)
        peaks.append(tracemalloc.get_traced_memory()[1] - threads.count() * 4 * 3 * fast_attention.TILE)
        tracemalloc.stop()
    assert peaks[1] < 2.5 * max(peaks[0], 2**20) and peaks[1] + 12 * fast_attention.TILE < 4000 * 4000 * 4


@pytest.mark.parametrize("lean", [True, False])
@pytest.mark.parametrize("kind", ["bce", "ce"])
def test_model(kind, lean, monkeypatch):
    """In parts of 1 + 2 clips; with and without keeping what can be made again."""
    monkeypatch.setattr(fast, "BATCH_ELEMENTS", 24 * 100)
    monkeypatch.setattr(fast, "RECOMPUTE_WIDTH", 1 if lean else 1000)
    config = minast.ModelConfig(dim=24, heads=3, mel_bins=37, frames=53, fstride=5, tstride=7, classes=5)
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((3, 53, 37)), rng.random((3, 5))
    results = []
    for backend in ("numpy", "fast"):
        net = minast.AST(config, backend=backend, seed=4)
        net.dw.flat[...] = 0.25
        loss, logits = net.loss_and_grad(x, y, kind)
        dx = net.input_grad(x, np.ones((3, 5)))
        results.append([np.array(loss), logits, net.forward(x), net.embed(x), net.encode(x), dx, *net.dw.values()])
    for wanted, got in zip(*results, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-5 * max(1, abs(wanted).max()))


def test_same_bits_each_time():
    net = minast.AST(minast.ModelConfig.preset("nano", classes=3, frames=100, depth=2), backend="fast")
    x, y = normal(5, 100, 128), np.array([0, 1, 2, 0, 1])
    runs = []
    for _ in range(3):
        net.zero_grad()
        runs.append((net.loss_and_grad(x, y, "ce")[0], net.dw.flat.copy()))
    assert all(loss == runs[0][0] and np.array_equal(dw, runs[0][1]) for loss, dw in runs)


def test_float64_is_the_references():
    x = normal(2, 7, 12).astype(np.float64)
    for name, arguments in (
        ("gelu", ()),
        ("attention", (2,)),
        ("layernorm", (x[0, 0], x[0, 1])),
        ("linear", (x[0], x[0, :, 0])),
    ):
        y, cache = getattr(fast, f"{name}_forward")(x, *arguments)
        np.testing.assert_array_equal(y, getattr(layers, f"{name}_forward")(x, *arguments)[0])
        weights = [np.zeros_like(a) for a in arguments if isinstance(a, np.ndarray)]
        assert getattr(fast, f"{name}_backward")(np.ones_like(y), cache, *weights).dtype == np.float64


# -- threads ---------------------------------------------------------------------------------------------------


def test_run_does_every_item_once_and_raises():
    done = []
    threads.run(done.append, range(100))
    assert sorted(done) == list(range(100))
    with pytest.raises(ZeroDivisionError):
        threads.run(lambda i: 1 // (i - 50), range(100))
    threads.run(lambda i: threads.run(done.append, range(i)), [3, 4])  # a loop in a loop
    assert len(done) == 107


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads are kept apart on Linux")
def test_helpers_stay_off_the_callers_core(monkeypatch):
    """They may use all others, wherever the caller is moved; and what is counted in them is the process's cores."""
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("needs two cores")
    monkeypatch.delenv(threads.VARIABLE)
    met, seen = threading.Barrier(2), {}

    def look(i):
        met.wait(timeout=10)  # until each of two threads has an item
        seen[threading.get_ident()] = os.sched_getaffinity(0), threads.count()

    try:
        with monkeypatch.context() as patch:
            patch.setattr(threads, "_cores", lambda: cores)
            for core in cores:
                seen.clear()
                os.sched_setaffinity(0, {core})
                threads.run(look, range(2))
                assert seen.pop(threading.get_ident()) == ({core}, len(cores))
                assert list(seen.values()) == [(cores - {core}, len(cores))]
    finally:
        os.sched_setaffinity(0, cores)
    seen.clear()
    threads.run(look, range(2))  # a helper may not run on all cores, and counts all the same
    assert [n for _, n in seen.values()] == [len(cores)] * 2


def test_run_keeps_numpys_error_state():
    with np.errstate(divide="ignore"):
        threads.run(lambda i: np.ones(1000) / np.zeros(1000), range(8))
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        threads.run(lambda i: np.ones(1000) / np.zeros(1000), range(8))


def test_run_leaves_other_threads_their_error_state():
    """NumPy 1.26 counts: helpers that set the defaults once more made it forget what another thread had set."""
    with np.errstate(invalid="ignore"):
        other = threading.Thread(target=threads.run, args=(lambda i: time.sleep(0.01), range(8)))
        other.start()
        other.join()
        np.zeros(3) / np.zeros(3)


def blas_threads():
    from threadpoolctl import threadpool_info

    return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}


def test_blas_is_limited_from_any_thread():
    """threadpoolctl 3.8 lets only the first thread that sets a number set it, unless that one lets go."""
    from threadpoolctl import threadpool_limits

    inside = []
    with threadpool_limits(2, "blas"):
        other = threading.Thread(target=threads.run, args=(lambda i: inside.append(blas_threads()), range(2)))
        other.start()
        other.join()
        assert blas_threads() == {2}
    assert inside == [{1}, {1}]


def test_blas_is_left_as_it_was():
    from threadpoolctl import threadpool_limits

    inside = []
    with threadpool_limits(2, "blas"):
        threads.run(lambda i: inside.append(blas_threads()), range(2))
        others = [threading.Thread(target=threads.run, args=(lambda i: None, range(50))) for _ in range(4)]
        [t.start() for t in others]
        [t.join() for t in others]
        assert blas_threads() == {2}
    assert inside == [{1}, {1}]


def test_a_whole_pass_keeps_blas_on_one_thread():
    """Also between its loops, where products of layers are that are the reference's."""
    from threadpoolctl import threadpool_limits

    model, seen = minast.AST(minast.ModelConfig(depth=1, dim=12, heads=3, frames=32, mel_bins=32), "fast"), []
    x = normal(1, 32, 32)
    with threadpool_limits(2, "blas"):
        model.layers = Looking(model.layers, lambda: seen.append(blas_threads()))
        model.encoder = model.encoder.with_layers(model.layers, model.dw)
        model.forward(x)
        model.loss_and_grad(x, np.zeros((1, model.config.classes), np.float32))
        assert blas_threads() == {2}
    assert len(seen) > 10 and all(found == {1} for found in seen)


class Looking:
    """Layers that call `look` before each function."""

    def __init__(self, layers, look):
        self.layers, self.look = layers, look

    def __getattr__(self, name):
        self.look()
        return getattr(self.layers, name)


def test_wrong_number_of_threads(monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, "many")
    with pytest.raises(minast.Error, match="many"):
        threads.count()
    with pytest.raises(minast.Error, match="from 1 to 4096"):
        threads.set_count(0)


def norm_of_a_product(seed):
    x, w, b = normal(1000, 200, seed=seed), normal(200, 200), normal(200)  # not too small for several threads
    return float(np.linalg.norm(fast.linear_forward(x, w, b)[0]))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    wanted = [norm_of_a_product(s) for s in range(4)]  # the pool is running before the fork
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(norm_of_a_product, range(4)).get(timeout=60) == wanted


def test_the_variable_reaches_blas():
    code = (
        "import minast; from threadpoolctl import threadpool_info; minast.AST(minast.ModelConfig(depth=1, dim=12));"
        "print({library['num_threads'] for library in threadpool_info() if library['user_api'] == 'blas'})"
    )
    env = {**os.environ, threads.VARIABLE: "1"}
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env).stdout == "{1}\n"


# -- the pool --------------------------------------------------------------------------------------------------


def address(array):
    return array.__array_interface__["data"][0]


def test_a_buffer_is_used_again_only_when_nobody_has_it():
    own = buffers.BufferPool()
    a = own.empty((300, 400))
    first, view = address(a), a[3:5].T
    b = own.empty((300, 400))
    del a  # the view is still there
    c = own.empty((120000,))
    assert len({first, address(b), address(c)}) == 3
    del view
    assert address(own.empty((400, 300))) == first


def test_sizes_that_are_not_wanted_are_let_go(monkeypatch):
    monkeypatch.setattr(buffers, "MAX_AGE", 3)
    own = buffers.BufferPool()
    kept = own.empty((50000,))
    for size in range(60000, 60010):
        own.empty((size,))
    assert sum(len(same) for same in own.buffers.values()) <= 6
    assert any(buffer is kept.base for same in own.buffers.values() for buffer in same)
