"""Ranks through NCCL: the order of streams on tests/fake_cupy, with a stand-in for NCCL that has one rank.

On a machine with a GPU and CuPy the same steps run through NCCL itself, also with one rank.
"""

import ctypes
import os
import sys
import types
from dataclasses import replace

import numpy as np
import pytest

import minast
from minast.backend import why_no_gpu
from minast.config import ModelConfig, TrainConfig
from minast.errors import Error
from minast.parallel import nccl
from minast.parallel.group import SINGLE, Group
from minast.training.learner import new_learner
from tests import fake_cupy
from tests.kernel_cases import need_compiler

SHAPE = ModelConfig.preset("nano", dim=32, heads=2, depth=2, mel_bins=32, frames=46, classes=5)
CONFIG = TrainConfig(batch=4, max_grad_norm=0.1, lr=1e-3)


class Communicator:
    """One rank: what it sends to itself arrives. All happens on the stream that is named, when its turn comes."""

    calls: list = []  # noqa: RUF012

    def __init__(self, size, token, rank):
        assert (size, rank) == (1, 0) and len(token) == 128
        self.sent = []

    def _copy(self, name, source, target, size, stream):
        self.calls.append(name)
        work = lambda: ctypes.memmove(target, source, size)  # noqa: E731
        ctypes.cast(stream, ctypes.py_object).value.do(work)

    def allReduce(self, source, target, count, kind, op, stream):
        self._copy("allReduce", source, target, count * kind, stream)

    def reduceScatter(self, source, target, count, kind, op, stream):
        self._copy("reduceScatter", source, target, count * kind, stream)

    def broadcast(self, source, target, count, kind, root, stream):
        assert root == 0
        self._copy("broadcast", source, target, count * kind, stream)

    def send(self, source, count, kind, peer, stream):
        self.sent.append((source, count))

    def recv(self, target, count, kind, peer, stream):
        source, sent = self.sent.pop(0)
        assert sent == count
        self._copy("recv", source, target, count, stream)


def stand_in():
    module = types.ModuleType("cupy.cuda.nccl")
    module.NcclCommunicator, module.NcclError = Communicator, OSError
    module.get_unique_id = lambda: tuple(range(128))
    module.available, module.groupStart, module.groupEnd = True, lambda: None, lambda: None
    module.NCCL_SUM, module.NCCL_CHAR, module.NCCL_FLOAT32, module.NCCL_FLOAT64 = 0, 1, 4, 8  # bytes
    return module


@pytest.fixture(params=[None, "compute", "copy", "all", "a GPU"], ids=str)
def connected(request, monkeypatch):
    """A function that gives a group of one rank with arrays on the device, and the calls of NCCL, if counted."""
    if request.param == "a GPU":
        if why := why_no_gpu():
            pytest.skip(f"no GPU: it {why}")
        import cupy

        return lambda: (nccl.NcclGroup(SINGLE, cupy), None)
    need_compiler()
    fake_cupy.install(monkeypatch, request.param)
    fake = sys.modules["cupy"]
    fake.cuda.nccl = stand_in()
    monkeypatch.setitem(sys.modules, "cupy.cuda", fake.cuda)
    monkeypatch.setitem(sys.modules, "cupy.cuda.nccl", fake.cuda.nccl)
    monkeypatch.setattr(Communicator, "calls", [])
    return lambda: (nccl.NcclGroup(SINGLE, fake), Communicator.calls)


@pytest.mark.parametrize("there", [False, None], ids=["empty", "none"])
def test_without_the_library_a_sentence_says_what_to_install(monkeypatch, there):
    """CuPy's module is there without it, and empty."""
    module = types.ModuleType("cupy.cuda.nccl") if there is False else None
    if module:
        module.available = False
    cuda = types.ModuleType("cupy.cuda")
    if module:
        cuda.nccl = module
    monkeypatch.setitem(sys.modules, "cupy", types.ModuleType("cupy"))
    monkeypatch.setitem(sys.modules, "cupy.cuda", cuda)
    monkeypatch.setitem(sys.modules, "cupy.cuda.nccl", module)
    with pytest.raises(Error, match="NCCL, which cannot be loaded: pip install nvidia-nccl-cu13"):
        nccl.NcclGroup(SINGLE, None)


def trained(backend, config, group=SINGLE):
    student = new_learner(minast.AST(SHAPE, backend, 1, config.dtype), config, group=group)
    rng, losses = np.random.default_rng(4), []
    for _ in range(3):
        x = rng.standard_normal((4, SHAPE.frames, SHAPE.mel_bins)).astype(np.float32)
        loss, norm, _ = student.step(x, np.eye(5, dtype=np.float32)[:4], 1e-3)
        losses += [loss, norm]
    return losses, student.model.numpy(student.model.w.flat)


@pytest.mark.parametrize(
    ("settings", "calls"),
    [
        ({"wire": "bfloat16"}, None),
        ({"reduction": "fixed", "grad_accum": 2}, {"recv", "broadcast"}),
        ({"reduction": "fixed", "grad_accum": 2, "shard_optimizer": True}, {"recv", "broadcast"}),
        ({"reduction": "fixed", "grad_accum": 2, "dtype": "bfloat16"}, {"recv", "broadcast"}),
    ],
    ids=["fast", "fixed", "ZeRO-1", "16 bits"],
)
def test_steps_are_those_of_the_emulator(connected, settings, calls):
    group, seen = connected()
    config = replace(CONFIG, **settings)
    if calls is None:  # one process has no need of sums: `fast` is only the operations themselves
        part = group.xp.asarray(np.arange(9000, dtype=np.float32))
        for begin in (group.begin_all_reduce, group.begin_reduce_scatter, group.begin_all_gather):
            group.wait([begin(part)])
        assert np.array_equal(part.get(), np.arange(9000))
        assert seen is None or seen == ["allReduce", "reduceScatter", "broadcast"]
        return
    got = trained("cuda", config, group)
    want = trained("emulator", config)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
    np.testing.assert_allclose(got[1], want[1], rtol=0, atol=1e-5)
    assert seen is None or set(seen) == calls


class Local(Group):
    """One of several processes on a machine."""

    def __init__(self, rank, size):
        self.local_rank, self.local_size, self.size = rank, size, size


@pytest.mark.parametrize(
    ("given", "rank", "size", "expected"),
    [
        (None, 2, 4, "2"),
        ("4,5,6,7", 1, 4, "5"),
        ("4, 5,6,7", 1, 2, "5"),
        ("GPU-1a", 1, 4, "GPU-1a"),  # the launcher has chosen
        ("0,1", 2, 4, "0,1"),  # fewer than there are processes: NCCL says so
    ],
)
def test_the_place_on_the_machine_picks_the_gpu(monkeypatch, given, rank, size, expected):
    monkeypatch.delenv(nccl.VISIBLE, raising=False) if given is None else monkeypatch.setenv(nccl.VISIBLE, given)
    monkeypatch.setenv("MINAST_TEST", "")  # so that the deletion above is undone
    nccl.pick_device(Local(rank, size))
    assert os.environ[nccl.VISIBLE] == expected
    monkeypatch.delenv(nccl.VISIBLE)


def test_two_ranks_on_one_gpu_and_no_nccl(connected, monkeypatch):
    _, seen = connected()
    if seen is None:
        return
    module = sys.modules["cupy.cuda.nccl"]

    def refuse(*_):
        raise OSError("NCCL_ERROR_INVALID_USAGE: invalid usage")

    monkeypatch.setattr(module, "NcclCommunicator", refuse)
    with pytest.raises(Error, match=r"INVALID_USAGE.*Is there a GPU for each"):
        connected()
    monkeypatch.delitem(sys.modules, "cupy.cuda.nccl")
    monkeypatch.delattr(sys.modules["cupy"].cuda, "nccl")
    with pytest.raises(Error, match="need NCCL, which cannot be loaded"):
        connected()
