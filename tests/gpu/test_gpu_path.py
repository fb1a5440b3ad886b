"""The way through CuPy, on tests/fake_cupy: planned memory, CUDA graphs, cuBLAS, batches copied ahead."""

import json
import os
import re
import signal

import numpy as np
import pytest

import minast
from minast import AST, ModelConfig
from minast import cuda as layers
from minast.cuda import cublas, log_mel
from minast.cuda.gemm import round_to_tf32
from minast.errors import Error
from minast.gpu import workspaces
from minast.gpu.transfer import pin_memory, to_device
from tests import fake_cupy
from tests.kernel_cases import ROUNDING, close, get, need_compiler

CONFIG = ModelConfig.preset("nano", dim=32, heads=2, depth=2, mel_bins=32, frames=46, classes=5, prefix_tokens=2)
LATE = [None, "compute", "copy", "all"]


@pytest.fixture(params=LATE, ids=str)
def cuda(request, monkeypatch):
    need_compiler()
    return fake_cupy.install(monkeypatch, request.param)


def batches(count, clips=3):
    rng = np.random.default_rng(4)
    for _ in range(count):
        x = rng.standard_normal((clips, CONFIG.frames, CONFIG.mel_bins)).astype(np.float32)
        yield x, rng.random((clips, CONFIG.classes)).astype(np.float32)


def trained(backend, dtype, steps=5, **options):
    """Weights, losses and logits of some training steps."""
    model = AST(CONFIG, backend, seed=1, dtype=dtype, **options)
    adam, seen = model.layers.Adam(model.w.flat), []
    for (x, y), _ in to_device(batches(steps), model.xp):
        model.zero_grad()
        loss, logits = model.loss_and_grad(x, y, "ce", wait=False)
        adam.clipped_step(model.dw.flat, 1e-2, 1.0, model.copy_to_update())
        seen.append((loss, logits))
    return model, [(float(loss), model.numpy(logits)) for loss, logits in seen]


def replays():
    """How often each graph that is still there was replayed."""
    fake_cupy.state.current.synchronize()  # what is queued refers to its graph
    return sorted(graph.launches for graph in fake_cupy.state.graphs)


@pytest.fixture
def looking(monkeypatch):
    """The model's pooling looks at a value on its way, which no graph can record."""
    plain = layers.pool_forward
    monkeypatch.setattr(layers, "pool_forward", lambda x, prefix: (float(x.sum()), plain(x, prefix))[1])


@pytest.mark.parametrize("replay", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "tf32", "bfloat16", "float16"])
def test_training_is_the_emulators_bit_for_bit(cuda, dtype, replay):
    """Five steps: as ever, recorded, then replayed. Results of a step outlive the steps after it."""
    plain, want = trained("emulator", dtype)
    ours, got = trained("cuda", dtype, cuda_graphs=replay)
    for (a, x), (b, y) in zip(got, want, strict=True):
        assert a == b and np.array_equal(x, y)
    assert np.array_equal(ours.numpy(ours.w.flat), plain.w.flat)
    assert replays() == ([3] if replay else []) and cuda.gemms > 0
    assert all(memory.pool is None for memory in workspaces.workspaces.values())  # no graph's own


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_inference_replays_what_comes_again(cuda, dtype):
    """Each shape has a graph of its own; changed weights are seen, in 16 bits through a fresh copy."""
    plain = AST(CONFIG, "emulator", seed=1, dtype=dtype)
    ours = AST(CONFIG, "cuda", seed=1, dtype=dtype, cuda_graphs=True)
    for turn in range(4):
        for clips in (2, 1):
            (x, _), *_ = batches(1, clips)
            for name in ("forward", "embed"):
                assert np.array_equal(ours.numpy(getattr(ours, name)(x)), getattr(plain, name)(x))
        for model in (plain, ours):
            model.w["mlp_head.1.bias"][...] = turn
            model.w["blocks.0.mlp.fc1.weight"][:1] = 0.1 * turn
            model.weights_changed()
    assert replays() == [2, 2, 2, 2]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_replayed_step_allocates_its_results_alone(cuda, dtype):
    model = AST(CONFIG, "cuda", seed=1, dtype=dtype, cuda_graphs=True)
    adam, (batch,) = model.layers.Adam(model.w.flat), batches(1)
    counts, (x, y) = [], (fake_cupy.asarray(a) for a in batch)
    for _ in range(4):
        before = fake_cupy.state.allocated
        model.zero_grad()
        model.loss_and_grad(x, y, wait=False)
        adam.clipped_step(model.dw.flat, 1e-3, 1.0, model.copy_to_update())
        counts.append(fake_cupy.state.allocated - before)
    assert counts[2] == counts[3] <= 4  # loss and logits, and the loss's sum over parts


def test_a_16_bit_step_allocates_nothing_large_without_a_graph(cuda):
    model, (batch,) = AST(CONFIG, "cuda", seed=1, dtype="bfloat16"), batches(1)
    x, y = (fake_cupy.asarray(a) for a in batch)
    model.loss_and_grad(x, y)
    arrays, size = fake_cupy.state.allocated, fake_cupy.state.bytes
    model.loss_and_grad(x, y, wait=False)
    assert fake_cupy.state.allocated - arrays <= 5 and 0 < fake_cupy.state.bytes - size < 1000


def test_what_cannot_be_recorded_runs_launch_by_launch_and_is_tried_once(cuda, looking):
    model, want = AST(CONFIG, "cuda", seed=1, cuda_graphs=True), AST(CONFIG, "emulator", seed=1)
    ((x, _),) = batches(1)
    with pytest.warns(RuntimeWarning) as caught:
        for _ in range(5):
            assert np.array_equal(model.numpy(model.forward(x)), want.forward(x))
    assert len(caught) == 1 and replays() == []
    assert re.search("no CUDA graph, .*: .*a copy to the host", str(caught[0].message))


def test_the_shapes_asked_for_last_keep_their_graphs(cuda):
    """Of many shapes those in use stay; an old one starts anew, and a step that needs more memory lets go of all."""
    model, shapes = AST(CONFIG, "cuda", seed=1, cuda_graphs=True), 11
    largest, *others = (next(batches(1, clips))[0] for clips in range(shapes, 0, -1))
    for x in (largest, *others):
        for _ in range(3):
            model.forward(x)
            model.forward(largest)
    assert 2 < len(replays()) < shapes and max(replays()) > 2 * shapes
    ((x, y),), before = batches(1, shapes), model.numpy(model.forward(largest))
    model.loss_and_grad(x, y)
    assert replays() == [] and np.array_equal(model.numpy(model.forward(largest)), before)


def test_another_stream_waits_for_the_pass_before(cuda):
    import cupy

    model, want = AST(CONFIG, "cuda", seed=1, cuda_graphs=True), AST(CONFIG, "emulator", seed=1)
    inputs, got = [x for x, _ in batches(6)], []
    streams = [cupy.cuda.get_current_stream(), cupy.cuda.Stream(non_blocking=True)]
    for n, x in enumerate(inputs):
        with streams[n % 2]:
            got.append((streams[n % 2], model.forward(x)))
    for (stream, y), x in zip(got, inputs, strict=True):
        with stream:
            assert np.array_equal(y.get(), want.forward(x))


def test_a_training_run_goes_on_from_its_checkpoint(cuda, tones, tmp_path, monkeypatch, capsys):
    """Stopped and resumed on CuPy's arrays: the very weights of a run in one go."""
    from minast import load, train
    from minast.training.learner import Learner

    flags = [str(tones), "--backend", "cuda", "--dtype", "bfloat16", "--depth", "1", "--epochs", "2", "--batch", "6"]
    assert train.main([*flags, "--out", str(tmp_path / "a")]) == 0
    take, count = Learner.step, []

    def stopping(*args):
        count.append(None)
        if len(count) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return take(*args)

    monkeypatch.setattr(Learner, "step", stopping)
    assert train.main([*flags, "--out", str(tmp_path / "b")]) == 130
    assert train.main(["--resume", str(tmp_path / "b")]) == 0
    assert len(re.findall(r"^first step done after \d+\.\d s, compiling", capsys.readouterr().out, re.M)) == 3
    one, other = (load(tmp_path / name / "last.npz", "numpy")[0].w.flat for name in "ab")
    assert np.array_equal(one, other)


# -- features ----------------------------------------------------------------------------------------------------------


def test_features_are_computed_where_the_model_is(cuda, tones):
    """Through CuPy's arrays: the emulator's bits, in the classifier and in the cache of a data set."""
    from minast import Classifier, FeatureConfig
    from minast.checkpoint import Info
    from minast.datasets import open_dataset
    from minast.training.feature_cache import FeatureCache

    features = FeatureConfig(frames=CONFIG.frames)
    model = AST(ModelConfig.preset("nano", depth=1, frames=98, classes=2), "cuda")
    classifier = Classifier(model, Info(["a", "b"], features, "ce"))
    wave = 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    _, mel = classifier.read(wave)
    assert np.array_equal(mel, log_mel.log_mels([wave], xp=np)[0])
    data = open_dataset(str(tones))
    where = model.backend.spectrograms(features.rate)
    cache = FeatureCache(data.clips, features, quiet=True, spectrograms=where)
    wanted = log_mel.log_mels([clip.read(features.rate).wave for clip in data.clips], xp=np)
    assert all(map(np.array_equal, cache, wanted)) and len(cache) == len(wanted) > 0


def test_predict_and_scan_compute_features_where_the_model_is(cuda, command, tones, tmp_path, monkeypatch):
    """The commands, through CuPy's arrays: what they say is what they say on the CPU."""
    features = {"frames": 48, "mean": -5.0, "std": 4.0}
    model = AST(ModelConfig.preset("nano", depth=1, frames=48, classes=2), "numpy")
    minast.save(tmp_path / "model.npz", model, ["a", "b"], features)
    sound = tones / "low" / "0.wav"
    scan = ("--min-score", "0", "--format", "jsonl")
    computed, real = [], log_mel.log_mels
    monkeypatch.setattr(log_mel, "log_mels", lambda waves, *a, **k: computed.append(len(waves)) or real(waves, *a, **k))
    said = {}
    for backend in ("numpy", "cuda"):
        status, printed, _ = command("predict", tmp_path / "model.npz", sound, "--json", "--backend", backend)
        events = tmp_path / f"{backend}.jsonl"
        scanned = command("scan", tmp_path / "model.npz", sound, "--out", events, *scan, "--backend", backend)[0]
        assert status == scanned == 0
        found = [json.loads(line) for line in events.read_text().splitlines()]
        said[backend] = [row["probability"] for row in json.loads(printed)[0]["labels"]], [e["score"] for e in found]
        assert bool(computed) == (backend == "cuda") and len(found) >= 1
    assert len(computed) >= 2
    for one, other in zip(said["numpy"], said["cuda"], strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("replay", [False, True])
def test_class_indices_on_the_device_do_not_make_the_host_wait(cuda, monkeypatch, dtype, replay):
    """The losses and gradients are the emulator's; nothing is copied to the host before the caller asks."""
    model, plain = AST(CONFIG, "cuda", seed=1, cuda_graphs=replay), AST(CONFIG, "emulator", seed=1)
    ((x, _),), y = batches(1), np.array([4, 0, 2], dtype)
    x_, y_, bad_ = (fake_cupy.asarray(a) for a in (x, y, np.array([4, 5, 2], dtype)))
    with monkeypatch.context() as patch:
        patch.setattr(fake_cupy.ndarray, "get", lambda self: pytest.fail("the host waits"))
        losses = [model.loss_and_grad(x_, y_, "ce", wait=False)[0] for _ in range(4)]
        lost = model.loss_and_grad(x_, bad_, "ce", wait=False)[0]
    want = plain.loss_and_grad(x, y, "ce")[0]
    assert [float(loss) for loss in losses] == [want] * 4 and np.isnan(float(lost))
    assert len(replays()) == replay
    for targets, wait in ((bad_, True), (np.array([4, 5, 2], dtype), False), (np.array([4, 5, 2], dtype), True)):
        with pytest.raises(Error, match="targets range from 2 to 5: the model has classes 0 to 4"):
            model.loss_and_grad(x_, targets, "ce", wait=wait)


def test_plain_memory_for_memcheck(cuda, monkeypatch):
    """Each array is an allocation of its own: no pool, no arena, no graph; the results are the same."""
    import cupy

    _, want = trained("emulator", "bfloat16", steps=3)
    monkeypatch.setenv("MINAST_PLAIN_MEMORY", "1")
    before = fake_cupy.state.allocated
    model, got = trained("cuda", "bfloat16", steps=3, cuda_graphs=True)
    assert all(a == b and np.array_equal(x, y) for (a, x), (b, y) in zip(got, want, strict=True))
    assert model.executor.arena is None and replays() == [] and cupy.empty(3).plain
    assert fake_cupy.state.allocated - before > 3 * 50  # all arrays of all steps
    monkeypatch.setenv("MINAST_PLAIN_MEMORY", "yes")
    with pytest.raises(Error, match="MINAST_PLAIN_MEMORY is 'yes': it must be 1"):
        AST(CONFIG, "cuda")


def test_the_kernels_that_memcheck_runs_are_in_plain_memory(cuda, monkeypatch):
    """tests/gpu/each_kernel.py and the bench open the device before any model does."""
    import cupy

    from minast.bench.gpu.device import Device

    Device(gpu=True)
    assert not cupy.empty(3).plain
    monkeypatch.setenv("MINAST_PLAIN_MEMORY", "1")
    Device(gpu=True)
    assert cupy.empty(3).plain


# -- batches ahead -----------------------------------------------------------------------------------------------------


def test_batches_arrive_whole_and_in_order(cuda):
    """Also of changing shapes; what the step of a batch has queued reads that batch, however late it runs."""
    import cupy

    sent = [*batches(3), *batches(2, 4), *batches(4)]
    sums, hosts = [], []
    for (x, y), host in to_device(iter(sent), cupy):
        sums.append((x.sum(), y.copy()))
        hosts.append(host)
    assert len(sums) == len(sent) and all(a is b for a, b in zip(hosts, sent, strict=True))
    for (total, y), (x, want) in zip(sums, sent, strict=True):
        assert float(total) == x.sum() and np.array_equal(y.get(), want)


def test_pinned_memory_stays_until_it_is_copied(cuda):
    """Only the copying code refers to a batch, and a batch's memory is overwritten when it goes."""
    import cupy

    def host(step):
        return (np.full((3, 4), step, np.float32),)

    made = map(pin_memory(host, cupy), range(6))
    sums = [x.sum() for (x,), _ in to_device(made, cupy)]
    assert [float(total) for total in sums] == [12.0 * step for step in range(6)]


def test_no_batch_and_one_batch(cuda):
    import cupy

    assert list(to_device(iter([]), cupy)) == []
    assert len([float(x.sum()) for (x, _), _ in to_device(batches(1), cupy)]) == 1


def test_a_cpu_gets_its_batches_as_they_are():
    one, two = batches(2)
    assert [(d is h) for d, h in to_device([one, two], np)] == [True, True]
    assert pin_memory(max, np) is max


def test_pinned_batches_are_copies(cuda):
    import cupy

    ((x, y),) = batches(1)
    got = pin_memory(lambda step: (x * step, y), cupy)(2)
    assert np.array_equal(got[0], 2 * x) and np.array_equal(got[1], y) and got[1] is not y


# -- cuBLAS ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("case", ["plain", "transposed", "rows apart"])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("M,K,N", [(1, 1, 1), (5, 1, 3), (1, 7, 13), (33, 20, 9), (1, 4, 1)])
def test_gemm_through_cublas(monkeypatch, rng, dtype, case, wide, M, K, N):
    from tests.gpu.test_half import operands, stored

    fake_cupy.install(monkeypatch)
    a, b = operands(rng, dtype, case, M, K, N)
    kind = "float32" if wide else dtype
    start, start64 = stored(rng, M, 2, N, dtype=kind)
    for beta in (0.0, 1.0):
        out = start.copy()
        cublas.gemm(*(fake_cupy.ndarray(x) for x in (a, b, out[:, 1])), beta)
        close(out[:, 1], get(a) @ get(b) + beta * start64[:, 1], ROUNDING[kind])
        assert (out[:, 0] == start[:, 0]).all()


def test_gemm_in_tf32_through_cublas(monkeypatch, rng):
    fake_cupy.install(monkeypatch)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((33, 20), (20, 9)))
    out = np.full((33, 9), 2, np.float32)
    cublas.gemm(*(fake_cupy.ndarray(x) for x in (a, b, out)), 1.0, tf32=True)
    close(out, get(round_to_tf32(a)) @ get(round_to_tf32(b)) + 2, ROUNDING["float32"])
    assert np.abs(out - (a @ b + 2)).max() > 1e-4


def test_what_cublas_does_not_like_is_said(monkeypatch, rng):
    library = fake_cupy.install(monkeypatch)
    library.cublasGemmEx = lambda *_: 15
    x = fake_cupy.ndarray(np.ones((2, 2), np.float32))
    with pytest.raises(Error, match=r"cublasGemmEx failed: not supported \(15\)"):
        cublas.gemm(x, x, x)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
