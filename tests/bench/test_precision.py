"""The command that writes the table of gradients in TF32 and 16 bits."""

import shutil

import pytest

from minast.bench import readme
from minast.bench.kernels import precision
from tests.kernel_cases import need_compiler


def test_the_table_has_a_row_a_tensor():
    gaps = {
        d: {f"blocks.{i}.norm1.bias": 0.001 * (i + 1) * k for i in range(3)}
        for d, k in (("float16", 1), ("bfloat16", 8))
    }
    gaps["float16"]["cls_token"], gaps["bfloat16"]["cls_token"] = 0.5, 0.25
    assert precision.table(gaps).split("\n")[2:] == [
        "| `blocks.*.norm1.bias` | 2.0e-03 | 3.0e-03 | 1.6e-02 | 2.4e-02 |",
        "| `cls_token` | 5.0e-01 | 5.0e-01 | 2.5e-01 | 2.5e-01 |",
    ]


def test_the_command_writes_into_the_readme(tmp_path, monkeypatch):
    need_compiler()
    page = shutil.copy(readme.of_kernels(), tmp_path / "README.md")
    monkeypatch.setattr(readme, "of_kernels", lambda: page)
    before = {name: readme.read(page, name) for name in ("precision", "registers")}
    assert precision.main(["--frames", "16", "--clips", "1", "--readme"]) == 0
    after = {name: readme.read(page, name) for name in before}
    assert after["precision"].count("\n|") == 24 and "13 tokens" in after["precision"] != before["precision"]
    assert after["registers"] == before["registers"]


@pytest.mark.parametrize("backend", ["emulator"])
def test_it_measures_tf32_and_16_bits(backend):
    need_compiler()
    gaps, losses, tokens = precision.measured(backend, "nano", 16, 1)
    assert tokens == 13 and 1e-5 < max(gaps["float16"].values()) < 1e-2 < max(gaps["bfloat16"].values()) < 0.1
    assert 1e-5 < max(gaps["tf32"].values()) < 1e-2  # as many bits as float16, rounded in fewer places
    assert losses["tf32"] < losses["bfloat16"] and losses["float16"] < losses["bfloat16"]
