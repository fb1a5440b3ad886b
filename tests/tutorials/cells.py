"""Run a notebook's cells in order in a plain Python, as a kernel would, and print what each gave as JSON.

    python tests/tutorials/cells.py tutorials/05_encoder_trained.ipynb

-> a list of the outputs of each code cell, in the form that notebooks have, without matplotlib's pictures.
"""

import contextlib
import io
import json
import sys
import types
from pathlib import Path

notebook = Path(sys.argv[1]).resolve()
sys.path[:0] = [str(notebook.parent), str(notebook.parents[1])]
import show  # noqa: E402


class Printed(io.StringIO):
    """What a cell has printed, an output by itself."""

    def taken(self):
        text = self.getvalue()
        self.seek(0), self.truncate()
        return [{"output_type": "stream", "name": "stdout", "text": text}] if text else []


def outputs_of(source, names, number):
    printed, found = Printed(), []

    def display(bundle):
        found.extend(printed.taken())
        found.append({"output_type": "display_data", "data": bundle, "metadata": {}})

    show._display, show.in_notebook = display, lambda: True
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        exec(compile(source, f"{notebook.name}, cell {number}", "exec"), names)
    return found + printed.taken()


module = sys.modules["__main__"] = types.ModuleType("__main__")
module.__file__ = str(notebook.with_suffix(".py"))
cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
found = [
    outputs_of("".join(cell["source"]), module.__dict__, number)
    for number, cell in enumerate(cells, 1)
    if cell["cell_type"] == "code"
]
print(json.dumps(found))
