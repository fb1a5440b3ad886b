"""The benchmark: its arithmetic, its table, its checks. What it measures depends on the machine and is not tested."""

import json

import numpy as np
import pytest

import minast
from minast.bench import catalogue, checks, counted, runner, table, timing
from minast.bench.cpu import models, process
from minast.bench.row import Row


def test_functions_alternate():
    calls = []
    times = timing.interleaved([lambda: calls.append("a"), lambda: calls.append("b")], 3)
    assert "".join(calls) == "ab" * 4 and times.shape == (2, 3) and (times >= 0).all()


def test_a_difference_is_not_timed():
    right = np.array([1.0, 2.0])
    checks.check(right, right + 1e-6, 1e-5, "job")
    for wrong in ([1.0, 2.1], [1.0, np.nan], [1.0]):
        with pytest.raises(minast.Error, match=r"job: the result .* the reference .*: nothing was timed"):
            checks.check(np.array(wrong), right, 1e-5, "job")
    assert checks.differences((right, right), (right, right[:1]), 1) == "has shape (2,), the reference (1,)"


def test_the_table_of_the_cpu():
    rows = [Row("job", 0.5, "s", "other", 1.0, 2.0, "1.5x"), Row("share", 0.7, "%", note="of 100")]
    text = table.markdown(rows, table.conditions(2))
    assert text.count("| job | 0.50 s | other | 1.00 s | **2.00x** | 1.5x |") == 1 and "- share: of 100" in text


def test_flops_of_base():
    """130.5 GMAC a clip with all tokens in the last block, as counted for the official model."""
    config = minast.ModelConfig(prefix_tokens=2)
    T, D = config.tokens, config.dim
    saved = 2 * T * 10 * D * D + 4 * T * T * D - 2 * 2 * 10 * D * D - 4 * 2 * T * D
    assert abs((counted.flops(config) + saved) / 2e9 - 130.5) < 0.5


def test_fewer_patches_and_frozen_blocks_are_compared_with_the_whole(monkeypatch):
    """At toy size: both steps leave out what they say."""
    real, kept = minast.AST.loss_and_grad, []

    def noting(self, x, y, keep=None, **options):
        kept.append((self.frozen, None if keep is None else keep.shape))
        return real(self, x, y, keep=keep, **options)

    setting = models.setting
    monkeypatch.setattr(models, "setting", lambda *_: setting("nano", 48, 2))
    monkeypatch.setattr(minast.AST, "loss_and_grad", noting)
    rows = models.fewer(1)
    assert [row.against for row in rows] == ["all patches", "all weights trained"] and all(
        row.ratio > 0 for row in rows
    )
    assert set(kept) == {(0, None), (0, (2, 24)), (6, None)}


def test_a_row_from_the_shell(tmp_path, command):
    status, out, _ = command("bench", "import", "--rounds", "1", "--json", tmp_path / "b.json")
    assert status == 0 and "import minast" in out
    stored = json.loads((tmp_path / "b.json").read_text())
    assert stored["rows"][0]["ours"] > 0 and stored["about"]["numpy"] == np.__version__
    status, _, err = command("bench", "speed")
    assert status == 2 and "'speed'" in err and set(catalogue.ROWS) >= {"forward", "base", "small", "nano"}


def test_help_has_a_line_for_every_row_and_table(command):
    status, out, _ = command("bench", "--help")
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("  ") and line[2:3].isalpha()]
    assert status == 0 and listed.count("memory") == 2
    assert {*catalogue.ROWS, *catalogue.TABLES, *catalogue.COMMANDS} <= set(listed)


@pytest.mark.parametrize("name", catalogue.TABLES)
def test_a_table_is_a_command_of_its_own(name, command):
    status, out, _ = command("bench", name, "--help")
    assert status == 0 and f"python -m minast.bench {name}" in out and "--readme" in out
    status, _, err = command("bench", "import", name)
    assert status == 2 and f"{name} is a table, not a row" in err


def test_a_readme_without_a_place_for_the_table_is_refused_before_anything_runs(tmp_path, command, monkeypatch):
    monkeypatch.setattr(runner, "measure", None)
    (tmp_path / "README.md").write_text("no markers\n")
    status, out, err = command("bench", "import", "--readme", tmp_path / "README.md")
    assert status == 2 and out == "" and "the table needs the lines" in err


def test_peak_memory_is_the_process_s_own():
    """Not that of the large process which started it, as Linux's ru_maxrss is."""
    large = np.ones(2**26)  # 512 MiB
    peak = int(process.python("-c", "from minast.bench.cpu import process; print(process.peak_memory())"))
    assert large[-1] == 1 and 2**24 < peak < 2**28
