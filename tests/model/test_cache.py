"""The cache: whose it is, who may write to it, and what happens where there is none."""

import os
import stat
import subprocess
import sys
import types
from pathlib import Path

import pytest

import minast
from minast.emulator import build
from minast.gpu import cupy_cache, kernel_source
from minast.storage import cache
from tests.emulated import needs_emulator

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
ROOT = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may give files away")


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "above" / "cache"))
    return tmp_path / "above" / "cache"


def test_a_folder_in_it_that_others_may_write_to_is_refused(own):
    inside = cache.private_folder("features") / "ab"
    inside.mkdir()
    inside.chmod(0o777)
    with pytest.raises(minast.Error, match=r"other users may write to the cache .*/ab"):
        cache.private_folder("features")


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_new_folders_are_the_users_alone(own, umask):
    before = os.umask(umask)
    try:
        assert cache.private_folder("features") == own / "features"
    finally:
        os.umask(before)
    for folder in (own / "features", own, own.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
@pytest.mark.parametrize("which", ["", "features"])
def test_folders_that_others_may_write_to_are_refused(own, mode, which):
    cache.private_folder("features")
    (own / which).chmod(mode)
    with pytest.raises(minast.Error, match=r"other users may write to the cache .*chmod go-w"):
        cache.private_folder("features")
    (own / which).chmod(0o755)
    cache.private_folder("features")


@as_root
@pytest.mark.parametrize("which", ["", "features"])
def test_folders_of_somebody_else_are_refused(own, which):
    cache.private_folder("features")
    os.chown(own / which, 12345, -1)
    with pytest.raises(minast.Error, match=r"belongs to another user \(number 12345\)"):
        cache.private_folder("features")


@needs_emulator
def test_a_planted_library_is_not_loaded(own, tmp_path):
    source = tmp_path / "source.cu"
    source.write_text("__global__ void f(int* x) { *x = 1; }\n")
    library = build.library(kernel_source.load(source), ("f",))
    assert (
        stat.S_IMODE(library.stat().st_mode) == 0o600 and build.library(kernel_source.load(source), ("f",)) == library
    )
    library.chmod(0o666)
    with pytest.raises(minast.Error, match="other users may write to the cache"):
        build.library(kernel_source.load(source), ("f",))
    library.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(library, 12345, -1)
        with pytest.raises(minast.Error, match="belongs to another user"):
            build.library(kernel_source.load(source), ("f",))


def test_training_goes_on_without_a_cache(own, tones, tmp_path, command):
    own.mkdir(parents=True)
    own.chmod(0o777)
    status, said, err = command("stats", tones)
    assert status == 0 and "\nmean " in said and os.listdir(own) == []
    said_once = [line.partition(" not kept on disk: other users")[0] for line in err.splitlines()]
    maybe = ["note: what is known about recordings is"]  # unless these clips were compared by an earlier test
    assert sorted(said_once) in (["note: features are", *maybe], ["note: features are"]), err


def test_a_relative_xdg_folder_is_ignored(monkeypatch, tmp_path):
    monkeypatch.delenv("MINAST_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for value, folder in (("caches", tmp_path / ".cache"), ("/var/caches", Path("/var/caches"))):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache.cache_folder() == folder / "minast"


def test_no_home_and_no_such_user(tones, tmp_path):
    """What `docker run --user 12345` gives: the folder among the temporary files is private, and a note names it."""
    code = f"""if True:
        import os, pwd, sys
        def unknown(number): raise KeyError(number)
        pwd.getpwuid = unknown
        from minast import cli, stats
        sys.argv = ["stats", {str(tones)!r}]
        cli.run(stats.main)"""
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "MINAST_CACHE", "XDG_CACHE_HOME")}
    environment |= {
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    folder = tmp_path / f"minast-{os.geteuid()}"
    assert done.returncode == 0 and "\nmean " in done.stdout, done.stderr
    assert (
        done.stderr
        == f"note: this user has no home folder: the cache is {folder}. Set MINAST_CACHE to choose another.\n"
    )
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and any((folder / "features").rglob("*.mel"))


@pytest.fixture
def cupy(own, monkeypatch, tmp_path):
    """cupy(folder) -> the folder that CuPy is told to use, after the check"""

    def checked(folder):
        monkeypatch.setenv("CUPY_CACHE_DIR", str(folder))
        cupy_cache.safe_folder.cache_clear()
        cupy_cache.check_cupy_cache.__wrapped__()
        cupy_cache.safe_folder.cache_clear()
        return Path(os.environ["CUPY_CACHE_DIR"])

    return checked


def test_cupys_folder_is_checked_before_cupy_is_imported(own, tmp_path):
    """CuPy 14.2 asks for it once, when it is imported."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "cupy.py").write_text("import os\nprint(os.environ['CUPY_CACHE_DIR'])\n")
    code = "from minast import backend; print(backend.why_no_gpu())"
    environment = {**os.environ, "CUPY_CACHE_DIR": str(tmp_path / "open"), "MINAST_CACHE": str(own)}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    folder, why = done.stdout.splitlines()
    assert folder == str(own / "cupy") and "found no usable GPU" in why
    assert done.stderr == ""  # what is wrong with the folder of a CuPy that is not used concerns nobody
    environment["MINAST_CACHE"] = str(tmp_path / "cupy.py")  # no folder
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "found no usable GPU" in done.stdout


def test_cupy_that_was_imported_before_gets_the_folder_too(own, cupy, tmp_path, monkeypatch):
    used = []
    compiler = types.SimpleNamespace(_set_kernel_cache_backend=used.append, _DiskKernelCacheBackend=Path)
    monkeypatch.setitem(sys.modules, "cupy.cuda.compiler", compiler)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert cupy(tmp_path / "open") == own / "cupy" and used == [own / "cupy"]


def test_cupys_folder_is_checked_too(own, cupy, tmp_path, capsys):
    mine, open_to_all = tmp_path / "mine" / "kernels", tmp_path / "open"
    assert cupy(mine) == mine and stat.S_IMODE(mine.stat().st_mode) == 0o700 and capsys.readouterr().err == ""
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    assert cupy(open_to_all) == own / "cupy"
    assert "CuPy's kernels are kept in" in capsys.readouterr().err
    assert cupy("~/kernels") == own / "cupy"  # what expanding "~" leaves where there is no home
