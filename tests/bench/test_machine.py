"""Which kernels BLAS runs, and what in the environment holds libraries back: it is said, stored, and in no README."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minast.bench import catalogue, machine, outputs, readme, runner, stored, table
from minast.bench.row import Row

ROOT = Path(__file__).resolve().parents[2]
TABLE = "\n".join(readme.markers(readme.CPU))


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in (machine.CORETYPE, *machine.THREADS, *machine.OTHERS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "PAGE.md"
    path.write_text(TABLE)
    return path


def pretend(monkeypatch, running, own, number=1):
    found = {"internal_api": "openblas", "version": "0.3.99", "architecture": running, "num_threads": number}
    monkeypatch.setattr(machine, "blas", lambda: found)
    monkeypatch.setattr(machine, "own_kernels", lambda: own)
    monkeypatch.setenv("MINAST_THREADS", "2")


def test_a_free_machine():
    assert machine.held() == []
    about = table.conditions(2)
    assert "held" not in about and about.get("kernels") == about.get("best kernels")


def test_the_library_is_numpys(monkeypatch):
    import threadpoolctl

    paths = "/x/numpy-project/scipy.libs/libopenblas.so", "/x/numpy-project/numpy.libs/libopenblas.so"
    both = [{"filepath": path, "version": str(i)} for i, path in enumerate(paths)]

    class Controller:
        def select(self, user_api):
            return self

        def info(self):
            return both

    monkeypatch.setattr(threadpoolctl, "ThreadpoolController", Controller)
    assert machine.blas()["version"] == "1"
    both.pop()
    assert machine.blas()["version"] == "0"  # one for all, as in conda
    both.pop()
    assert machine.blas() == {} == machine.facts()


def test_a_variable_that_holds_openblas_back(monkeypatch):
    pretend(monkeypatch, "Haswell", "SkylakeX", number=2)
    assert machine.held() == []  # nothing is set: it is this library's own choice
    monkeypatch.setenv("OPENBLAS_CORETYPE", "haswell")
    (why,) = machine.held()
    assert why == "OPENBLAS_CORETYPE=haswell makes NumPy's BLAS run its Haswell kernels, not SkylakeX"
    found = machine.facts()
    assert found == {"blas": "OpenBLAS 0.3.99", "kernels": "Haswell", "best kernels": "SkylakeX", "held": why}
    pretend(monkeypatch, "SkylakeX", "SkylakeX", number=2)
    assert machine.held() == []  # it names the kernels that would run anyway
    pretend(monkeypatch, "Haswell", "", number=2)
    assert machine.held()[0].endswith("not those it chooses")


def test_fewer_threads_for_blas_than_for_minast(monkeypatch):
    pretend(monkeypatch, "Zen", "Zen", number=1)
    assert machine.held() == []
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert machine.held() == ["OMP_NUM_THREADS=1 gives BLAS 1 of 2 threads"]
    monkeypatch.setenv("MINAST_THREADS", "1")
    assert machine.held() == []


@pytest.mark.parametrize("name", machine.OTHERS)
def test_other_variables_count_when_they_are_set(name, monkeypatch):
    monkeypatch.setenv(name, "1")
    (why,) = machine.held()
    assert why.startswith(f"{name}=1 ")


def test_the_readme_is_refused_before_anything_is_measured(page, command, monkeypatch):
    monkeypatch.setattr(runner, "measure", None)
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "1024")
    status, out, err = command("bench", "import", "--readme", page)
    assert status == 2 and out == "" and "OPENBLAS_L2_SIZE=1024" in err and err.count("\n") == 1
    assert "unset what is named here" in err and page.read_text() == TABLE


def test_openblas_itself_held_to_old_kernels(page):
    """In processes of their own, since it reads the variable when it is loaded: these tests' may be held back, too."""
    own = machine._without(("OPENBLAS_CORETYPE",))
    if own.get("internal_api") != "openblas" or own.get("architecture") in ("Nehalem", "Prescott", None):
        pytest.skip("this BLAS has no older kernels here")
    run = [sys.executable, "-m", "minast.bench", "import", "--rounds", "1", "--readme", str(page)]
    held = {**os.environ, "OPENBLAS_CORETYPE": "Nehalem"}
    done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, env=held, timeout=120)
    if "makes NumPy's BLAS run its" not in done.stderr:
        pytest.skip("this OpenBLAS was built without older kernels")
    assert done.returncode == 2 and done.stdout == "" and page.read_text() == TABLE
    assert f"kernels, not {own['architecture']}" in done.stderr


def test_a_run_says_and_stores_it(tmp_path, command, monkeypatch):
    pretend(monkeypatch, "Haswell", "SkylakeX", number=2)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setitem(catalogue.ROWS, "fine", catalogue.Entry(lambda rounds: [Row("fine", 1.0)], ""))
    status, out, err = command("bench", "fine", "--rounds", 1, "--json", tmp_path / "b.json")
    assert status == 0 and "OpenBLAS 0.3.99, kernels Haswell, where its own choice is SkylakeX" in out
    assert "note: OPENBLAS_CORETYPE=Haswell makes" in err
    about = json.loads((tmp_path / "b.json").read_text())["about"]
    assert about["held"] == machine.held()[0] and about["best kernels"] == "SkylakeX"


def test_rows_that_were_measured_so_go_into_no_readme(page, tmp_path, command):
    row, paths = Row("job", 0.5), [tmp_path / "free.json", tmp_path / "held.json"]
    table.write_json(paths[0], [row], {"processor": "x"})
    table.write_json(paths[1], [Row("other", 1.0)], {"processor": "x", "held": "A=1 holds it"})
    assert stored.read(paths)[1]["held"] == "A=1 holds it"
    for order in (paths, paths[::-1]):
        status, out, err = command("bench", "--from", *order, "--readme", page)
        assert status == 2 and out == "" and "A=1 holds it" in err and page.read_text() == TABLE
    assert command("bench", "--from", paths[0], "--readme", page)[0] == 0 and "| job |" in page.read_text()


def test_tables_of_a_gpu_do_not_depend_on_it(monkeypatch):
    """Their rows are no processor's."""
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "1024")
    monkeypatch.setattr(outputs, "_refuse_without_gpu", lambda *_: None)
    outputs.refuse_run(str(readme.of_kernels()), None, [], "cuda")
