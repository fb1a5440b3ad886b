"""The whole model beside transformers': toy runs in the emulator, without PyTorch and, where it is, with it."""

import types
from contextlib import nullcontext

import numpy as np
import pytest

import minast
from minast import cuda
from minast.bench import catalogue
from minast.bench.cpu import kept, process
from minast.bench.gpu import device, memory, tables, throughput, whole
from minast.bench.gpu.latency import EAGER, GRAPH
from minast.bench.gpu.step import WAYS
from minast.bench.pytorch import memory as torch_memory
from minast.bench.pytorch import model as theirs
from minast.bench.pytorch import runtime, twin
from minast.bench.row import Skip
from minast.cuda import half_encoder
from minast.gpu.graph import Graph
from tests.kernel_cases import need_compiler


@pytest.fixture(autouse=True)
def compiler():
    need_compiler()


@pytest.fixture
def no_torch(monkeypatch):
    def missing():
        raise Skip("torch is not installed")

    monkeypatch.setattr(runtime, "with_transformers", missing)


@pytest.fixture
def torch(monkeypatch):
    """PyTorch, whose compiler traces and generates no code: the real one takes a minute for a toy."""
    monkeypatch.setattr(theirs, "COMPILE", {"backend": "eager"})
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    return torch


def of(name):
    return catalogue.DEVICE[name].run(1, "emulator")


# -- ours alone ----------------------------------------------------------------------------------------------------


def test_a_step_without_torch(no_torch):
    (row,) = of("step")
    assert row.name == "toy, training step, batch 2, bfloat16" and row.ours > 0 and not row.libraries
    assert row.without == dict.fromkeys(WAYS, "torch is not installed")
    assert [(g.at_least, g.against, g.reached) for g in row.goals] == [
        (least, way, None) for least, way in zip((1.0, 0.85, 1.5), WAYS, strict=True)
    ]


def test_latency_without_torch(no_torch):
    """The goals are the graph's; here it is the same launches once more."""
    plain, graph = of("latency")
    assert plain.name.endswith("plain launches") and graph.name.endswith("CUDA graph")
    assert not plain.goals and [(g.at_least, g.against) for g in graph.goals] == [(2.0, EAGER), (1.0, GRAPH)]
    assert len(graph.without) == 4


def test_throughput_without_torch(no_torch):
    rows = list(of("throughput"))
    assert [r.name for r in rows] == [f"toy, forward, batch {n}, bfloat16, throughput" for n in (1, 2)]
    for n, r in zip((1, 2), rows, strict=True):
        assert r.rate == pytest.approx(n / r.ours) and r.rate_unit == "clips/s" and not r.goals
        assert r.without == dict.fromkeys(throughput.WAYS, "torch is not installed")
    assert f"{rows[1].rate:.4g} clips/s" in tables.goals_table(rows)[3]


def test_memory_without_torch(no_torch):
    (row,) = of("memory")
    weights = 4 * sum(4 * a.size for a in whole.make_job(device.open_device("emulator"), 2).w.values())
    assert row.unit == "GiB" and weights < row.ours * 2**30 < 20 * weights  # with gradients and two moments
    assert row.goals[0].at_least == 1.25 and row.goals[0].reached is None and not row.rate_unit
    assert row.without == {f"{theirs.NAME}: SDPA": "torch is not installed"}


@pytest.mark.parametrize("name", ["step", "memory"])
def test_a_wrong_gradient_is_not_timed(name, monkeypatch):
    right = half_encoder.add_columns
    monkeypatch.setattr(half_encoder, "add_columns", lambda x, out, *rest: right(x, out * 0, *rest))
    never_timed(monkeypatch)
    with pytest.raises(minast.Error, match=r"gradient of blocks\.1\.attn\.qkv\.bias.*nothing was timed"):
        of(name)


def test_a_wrong_forward_pass_is_not_timed(monkeypatch, no_torch):
    right = cuda.attention_forward

    def wrong(qkv, heads, *rest, **more):
        return right(qkv, heads, *rest, **more)[0] * 0, None

    monkeypatch.setattr(cuda, "attention_forward", wrong)
    never_timed(monkeypatch)
    with pytest.raises(minast.Error, match=r"latency.*nothing was timed"):
        of("latency")


def test_a_graph_that_does_not_follow_its_input_is_not_timed(monkeypatch, no_torch):
    forward, kept = minast.AST.forward, []

    def stuck(model, x):
        if not model.cuda_graphs:
            return forward(model, x)
        kept.append(forward(model, x))
        return kept[min(2, len(kept) - 1)]  # the first call with the job's own clip

    monkeypatch.setattr(minast.AST, "forward", stuck)
    never_timed(monkeypatch)
    with pytest.raises(minast.Error, match=r"CUDA graph, another clip.*nothing was timed"):
        of("latency")


def never_timed(monkeypatch):
    def timed(*args, **kwargs):
        raise AssertionError("this was timed")

    monkeypatch.setattr(device.Device, "interleaved", timed)
    monkeypatch.setattr(memory, "held", timed)


def test_memory_of_a_process_stays_a_row(monkeypatch, capsys):
    monkeypatch.setattr(process, "memory", lambda rounds: ["of a process"])
    if not device.why_not(None):
        pytest.skip("there is a GPU here")
    assert catalogue.memory(1) == ["of a process"] and "left out: no GPU" in capsys.readouterr().err
    assert catalogue.memory(1, "emulator")[0].job == "memory"


# -- with PyTorch --------------------------------------------------------------------------------------------------


def test_a_step_beside_torch(torch):
    (row,) = of("step")
    assert list(row.libraries) == list(row.ratios) == list(WAYS) and not row.without
    assert [g.library for g in row.goals] == list(WAYS) and not any(g.reached for g in row.goals)


def test_latency_beside_torch(torch):
    rows = of("latency")
    for row in rows:  # the precision that is faster for them, by its name
        assert [name.split(": ")[:2] for name in row.libraries] == [EAGER.split(": ")]
        assert next(iter(row.libraries)).split(": ")[2] in theirs.PRECISIONS
        assert row.without == {f"{GRAPH}: {p}": "no CUDA graphs on a CPU" for p in theirs.PRECISIONS}
    assert rows[-1].goals[0].library == next(iter(rows[-1].libraries))


def test_throughput_beside_torch(torch):
    for row in of("throughput"):  # eager in the faster precision, and compiled
        assert [name.split(": ")[1] for name in row.libraries] == ["eager", "torch.compile"] and not row.without


def test_memory_beside_torch(torch):
    assert of("memory")[0].without == {f"{theirs.NAME}: SDPA": "PyTorch counts memory on a GPU only"}


def test_a_library_that_differs_or_fails_is_not_timed(torch, monkeypatch):
    def scaled(model, attention="sdpa"):
        module = right(model, attention)
        if attention == "eager":
            with torch.no_grad():
                module.classifier.dense.weight *= 2
        return module

    def no_compiler(*args, **kwargs):
        raise RuntimeError("no compiler\nat all")

    right = twin.twin
    monkeypatch.setattr(twin, "twin", scaled)
    monkeypatch.setattr(torch, "compile", no_compiler)
    (row,) = of("step")
    sdpa, compiled, eager = WAYS
    assert list(row.libraries) == [sdpa] and row.without[compiled] == "RuntimeError: no compiler"
    assert row.without[eager].startswith("logits: the result differs")


def test_gradients_by_our_names(torch):
    """Each weight of ours has a twin, q, k and v in one; what is copied there comes back."""
    job = whole.make_job(device.open_device("emulator"), 2)
    module = twin.twin(job)
    for weight in module.parameters():
        weight.grad = weight.detach().clone()
    found = twin.gradients(module, job.config.depth)
    assert set(found) == set(job.w) and all((found[name] == a.ravel()).all() for name, a in job.w.items())
    assert sum(a.size for a in found.values()) == sum(p.numel() for p in module.parameters())
    assert all(np.isfinite(a).all() for a in found.values())


# -- what only a GPU does, with stand-ins ----------------------------------------------------------------------------


def test_memory_of_a_gpu(monkeypatch):
    """All that the pool took, reserves included, less what earlier rows hold; PyTorch's in use, less the same."""
    gpu, taken, job = device.Device(gpu=False), [], whole.make_job(device.open_device("emulator"), 2)

    pool = types.SimpleNamespace(total_bytes=lambda: 2**28)
    graph = Graph(None, (), (), pool, None)

    class Model:
        model = types.SimpleNamespace(executor=types.SimpleNamespace(graphs={0: graph, 1: "met once"}))

        def __init__(self, device, job):
            taken.append(2**30)

        def step(self):
            taken.append(2**29)

        def results(self):
            return job.logits, job.loss, job.gradients

    def release():
        del taken[:]

    pool = types.SimpleNamespace(total_bytes=lambda: 7 + sum(taken))
    gpu.gpu, gpu.name, gpu.release = True, "Pretended GPU", release
    gpu.xp = types.SimpleNamespace(get_default_memory_pool=lambda: pool)
    monkeypatch.setattr(memory, "open_device", lambda backend: gpu)
    monkeypatch.setattr(memory, "make_job", lambda *args: job)
    monkeypatch.setattr(memory, "Ours", Model)
    monkeypatch.setattr(memory, "checked_trainer", lambda *args: types.SimpleNamespace(step=None))
    monkeypatch.setattr(torch_memory, "allocated", lambda device: 2**20)
    monkeypatch.setattr(torch_memory, "peak", lambda device, step: (2**30 + 2**20, 2**31))
    (row,) = memory.memory(1)
    assert (row.ours, row.theirs, row.ratio) == (1.75, 1.0, 1 / 1.75) and row.goals[0].reached is False
    assert "held 2 GiB with what it kept in reserve" in row.note and gpu.flush is None


def test_a_graph_of_theirs_copies_its_input():
    """What is replayed reads where the input was at the capture: the copy is part of the call."""
    log = []

    class Graph:
        def replay(self):
            log.append("replay")

    class Input:
        device = types.SimpleNamespace(type="cuda")

        def clone(self):
            return self

        def copy_(self, x):
            log.append(f"copy {x}")

    stream = types.SimpleNamespace(wait_stream=lambda other: None)
    cuda_of_torch = types.SimpleNamespace(
        Stream=lambda: stream, current_stream=lambda: stream, stream=lambda s: nullcontext(),
        CUDAGraph=Graph, graph=lambda g: nullcontext(),
    )  # fmt: skip
    fake = types.SimpleNamespace(cuda=cuda_of_torch, inference_mode=nullcontext)
    call = theirs.graphed(fake, lambda x: "out", Input())
    assert call("other") == "out" and log == ["copy other", "replay"]


# -- what is kept for the backward pass --------------------------------------------------------------------------------


def test_bytes_kept_without_torch(no_torch):
    """x and y in float32, two norms, qkv, o and fc1's output in 16 bits: 4 + 4 + 2 + 2 + 6 + 2 + 8, and statistics."""
    (row,) = kept.kept(1)
    assert 28 <= row.ours < 28.1 and row.unit == "bytes" and "torch is not installed" in row.note


def test_bytes_kept_beside_torch(torch):
    (row,) = kept.kept(1)
    assert 36 < row.theirs < 44 and row.ratio == row.theirs / row.ours
