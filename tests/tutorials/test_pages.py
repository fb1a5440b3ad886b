"""Web pages of notebooks: the whole way through nbconvert."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tutorials"))

import pages


def test_cuda_in_a_code_cell_is_coloured_as_cpp(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbconvert")
    cell = nbformat.v4.new_code_cell('source = """\n__global__ void f(float* x) { x[0] = 1.0f; }\n"""\nprint(source)\n')
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"language_info": {"name": "python"}})
    text = pages.page(notebook, "a", tmp_path)
    assert '<span class="kt">void</span>' in text and '<span class="nb">print</span>' in text
