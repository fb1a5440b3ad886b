"""Ctrl-C, SIGTERM and SIGHUP, at any time and in all commands; `nohup`."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minast.checkpoint import load_state
from tests.faults import runs
from tests.faults.test_two_runs import LONG, until

ROOT = Path(__file__).resolve().parents[2]
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.mark.parametrize("number", SIGNALS)
def test_training_is_saved_and_goes_on(server, few, tmp_path, number):
    out = tmp_path / "run"
    child = server.start("train", [*runs.begin(few, out), *LONG])
    until(out / "last.npz")
    os.kill(child.pid, number)
    status, said, err = server.wait(child)
    assert status == SIGNALS[number] and "nothing is lost. Resume with:" in said
    assert err == "\nfinishing this step; press Ctrl-C again to stop at once\n"
    assert load_state(out / "last.npz")["counters"]["step"] > 0


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_leaves_nothing_half_written(server, undisturbed, tmp_path, number):
    """The signal comes when the new checkpoint is written and not yet renamed."""
    arguments = [undisturbed.folder / "last.npz", tmp_path / "new.npz"]
    status, said, err = server.run("convert", arguments, ["kill_at", "fsync", 0, number])
    assert (status, said, err) == (SIGNALS[number], "", "minast: stopped.\n") and os.listdir(tmp_path) == []


def test_a_second_one_ends_the_process_at_once(server, few, tmp_path):
    """Also where the first is still being dealt with: here, by a clean-up that takes for ever."""
    child = server.start("stats", [few, "--no-cache"], ["slow_to_stop", str(tmp_path / "began")])
    until(tmp_path / "began")
    os.kill(child.pid, signal.SIGINT)
    until(tmp_path / "stopping")
    os.kill(child.pid, signal.SIGINT)
    status, _, err = server.wait(child)
    assert (status, err) == (130, "minast: stopped.\n")


def test_nohup(few, tmp_path):
    """SIGHUP was ignored by whoever started it, and stays so: the run ends as if it had not come."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "minast.train", *map(str, runs.begin(few, out)), "--epochs", "6"]
    ignore = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes, **ignore) as process:
        until(out / "last.npz")
        process.send_signal(signal.SIGHUP)
        said, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "") and "epoch 6 of 6" in said


# -- before there is a command -------------------------------------------------------------------------------------

CUSTOMIZE = """
import os, signal, sys
class Sender:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["WHEN"]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), int(os.environ["NUMBER"]))
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background start with it ignored
sys.meta_path.insert(0, Sender())
"""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("when", ["numpy", "minast.layers", "minast.cli", "argparse", "minast.train", "tqdm"])
@pytest.mark.parametrize("start", ["console", "module"])
def test_while_importing(few, tmp_path, start, when, number):
    """The signal comes as this module begins to be imported: one line, no traceback."""
    (tmp_path / "sitecustomize.py").write_text(CUSTOMIZE)
    (tmp_path / "minast").write_text("import sys\nfrom minast.__main__ import main\nsys.exit(main())\n")
    program = [tmp_path / "minast", "train"] if start == "console" else ["-m", "minast.train"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "WHEN": when,
        "NUMBER": str(int(number)),
    }
    command = [sys.executable, *map(str, program), str(few), "--out", str(tmp_path / "run"), "--depth", "1"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == SIGNALS[number], done.stderr
    assert done.stderr == "minast: stopped.\n" or (when == "tqdm" and done.stderr == ""), done.stderr


@pytest.mark.parametrize("start", ["console", "module"])
def test_threads_that_hang_keep_no_stopped_command(few, tmp_path, start):
    """Ctrl-C may reach the main thread inside a lock that a thread then waits for: Python would join that thread."""
    (tmp_path / "minast").write_text("import sys\nfrom minast.__main__ import main\nsys.exit(main())\n")
    (tmp_path / "sitecustomize.py").write_text(HANGING)
    program = [tmp_path / "minast", "stats"] if start == "console" else ["-m", "minast.stats"]
    paths = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, *map(str, program), str(few), "--no-cache"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (143, "minast: stopped.\n")


HANGING = """
import os, threading
from concurrent.futures import ThreadPoolExecutor
def result_of_map(self, task, items):
    self.submit(threading.Event().wait)
    os.kill(os.getpid(), 15)
ThreadPoolExecutor.map = result_of_map
"""


def test_a_program_that_imports_minast_keeps_its_signals():
    code = """if True:
        import signal
        before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        import minast, minast.train
        assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)
