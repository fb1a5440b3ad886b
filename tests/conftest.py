"""What several test files share: a small folder of sounds, a small trained model, running a command."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from minast import backend, threads
from minast.storage.cache import private_folder
from tests import tiers

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure():
    """Where there is a GPU, only the tests that name it use it: the others look into NumPy's arrays.

    Tests send these signals. Shells start background jobs with SIGINT ignored, and nohup with SIGHUP ignored.
    """
    os.environ.setdefault(backend.VARIABLE, "fast")
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, which need not be there
def pytest_xdist_make_scheduler(config, log):
    """`pytest -n 2`: each process begins with half of the tests, so files stay together; who is done takes from others.

    By default tests are dealt out beforehand, and at the end one process has minutes of work left.
    """
    if config.getoption("dist") == "load":
        from xdist.scheduler import WorkStealingScheduling

        return WorkStealingScheduling(config, log)


def pytest_generate_tests(metafunc):
    """`pytest -n` wants the same tests in the same order in each process; a set has another order in each."""
    for mark in metafunc.definition.iter_markers("parametrize"):
        if any(isinstance(values, (set, frozenset)) for values in (*mark.args, *mark.kwargs.values())):
            pytest.fail(f"{metafunc.definition.nodeid}: cases from a set, which has no order; dict.fromkeys has", False)


def pytest_collection_modifyitems(config, items):
    for item in items:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        case = item.callspec.id if hasattr(item, "callspec") else ""
        for mark in tiers.marks(path, item.originalname, case):
            item.add_marker(mark)
    if hasattr(config, "workerinput"):  # the longest first: at the end one process would have minutes of work left
        items.sort(key=lambda item: item.originalname != "test_cells_give_what_is_stored")


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real recordings, which is no part of the project."""
    if not SHARED.is_dir():
        pytest.skip("../shared/data is not here")
    return SHARED


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Features of tests stay out of the user's cache; compiled kernels, kept by content, are shared with it."""
    kernels, own = private_folder("emulator"), tmp_path_factory.mktemp("cache")
    (own / "emulator").symlink_to(kernels.resolve())
    patch = pytest.MonkeyPatch()
    patch.setenv("MINAST_CACHE", str(own))
    yield
    patch.undo()


BLAS = ThreadpoolController().select(user_api="blas").lib_controllers


@pytest.fixture(autouse=True)
def number_of_threads():
    """What a test asks for ends with it: another number, of our threads or of BLAS's, rounds products differently."""
    asked, numbers = os.environ.get(threads.VARIABLE), [library.get_num_threads() for library in BLAS]
    yield
    os.environ.pop(threads.VARIABLE, None) if asked is None else os.environ.update({threads.VARIABLE: asked})
    for library, number in zip(BLAS, numbers, strict=True):
        if library.get_num_threads() != number:
            library.set_num_threads(number)


@pytest.fixture(scope="session")
def tones(tmp_path_factory):
    """A folder with three classes of ten half-second noises: low, middle and high."""
    import soundfile  # here, so that tests of kernels run without it

    folder, rng = tmp_path_factory.mktemp("tones"), np.random.default_rng(0)
    hertz = np.fft.rfftfreq(8000, 1 / 16000)
    for name, low, high in (("low", 50, 500), ("middle", 1000, 2000), ("high", 4000, 8000)):
        (folder / name).mkdir()
        for i in range(10):
            spectrum = np.fft.rfft(rng.standard_normal(8000)) * ((hertz > low) & (hertz < high))
            wave = 0.1 * np.fft.irfft(spectrum) + 0.001 * rng.standard_normal(8000)
            soundfile.write(folder / name / f"{i}.wav", wave, 16000)
    return folder


TINY_RUN = ["--depth", "2", "--epochs", "3", "--batch", "4", "--lr", "1e-3"]


@pytest.fixture(scope="session")
def trained(tones, tmp_path_factory):
    """The output folder of a short training run on `tones`."""
    from minast import train

    out = tmp_path_factory.mktemp("run") / "tones"
    assert train.main([str(tones), "--out", str(out), *TINY_RUN]) == 0
    return out


@pytest.fixture
def command(monkeypatch, capsys):
    """command("predict", "model.npz", ...) -> (exit status, standard output, standard error), as from a shell."""

    def run(verb, *arguments):
        import importlib

        from minast import cli

        module = importlib.import_module(f"minast.{verb}")
        if hasattr(module, "__path__"):  # bench is a package
            module = importlib.import_module(f"minast.{verb}.__main__")
        monkeypatch.setattr(sys, "argv", [verb, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.run(module.main)
        captured = capsys.readouterr()
        return left.value.code, captured.out, captured.err

    return run
