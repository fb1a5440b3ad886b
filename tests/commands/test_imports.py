"""Imports run one way, also those inside functions: which module of minast needs which, read from the sources.

`python -m tests.commands.test_imports` prints the number of import levels and the longest chain.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "minast"
COMMANDS = ("train", "predict", "evaluate", "calibrate", "scan", "listen", "embed", "search", "probe", "convert")
COMMANDS += ("export", "stats", "data", "report", "bench")

# room -> what no module of it imports. A room is a module or a package, with all that is in it.
BASE = ("cli", "backend", "layers", "gpu", "encoder", "model", "datasets", "training", "pretrained", "checkpoint")
FORBIDDEN = {
    **dict.fromkeys(("errors", "text", "storage", "console", "fonts"), BASE),
    "config": ("layers", "model", "training", "pretrained", "checkpoint"),
    "layers": ("fast", "cuda", "gpu", "emulator", "encoder", "model", "training", "pretrained", "checkpoint"),
    "fast": ("cuda", "gpu", "emulator", "encoder", "model", "training", "pretrained", "checkpoint"),
    "emulator": ("cuda", "fast", "encoder", "model", "training", "pretrained", "checkpoint"),
    "gpu": ("cuda", "fast", "encoder", "model", "training", "pretrained", "checkpoint"),
    "cuda": ("fast", "model", "training", "pretrained", "checkpoint"),
    "parallel": (*COMMANDS, "model", "encoder", "datasets", "training", "pretrained", "checkpoint", "scoring"),
    "encoder": ("model", "training", "pretrained", "checkpoint"),
    "model": ("training", "pretrained", "checkpoint", "scoring", "explain", "plots"),
    "audio": ("features", "model", "training", "pretrained", "checkpoint", "datasets", "scoring"),
    "streaming": (*COMMANDS, "training", "pretrained", "classifier", "embeddings"),
    "embeddings": (*COMMANDS, "training", "pretrained", "classifier"),
    "live": (*COMMANDS, "training", "pretrained", "classifier"),
    "exports": (*COMMANDS, "training", "classifier"),
    "features": ("model", "training", "pretrained", "checkpoint", "datasets"),
    **dict.fromkeys(("metrics", "decisions"), ("model", "datasets", "training", "checkpoint", "scoring", "pretrained")),
    "datasets": ("model", "training", "pretrained", "checkpoint"),
    "checkpoint": ("training", "scoring", "pretrained"),
    "pretrained": ("training", "scoring"),
    "pages": (*COMMANDS, "training", "pretrained", "classifier"),
    "review": (*COMMANDS, "training", "pretrained", "classifier"),
    "training": (*COMMANDS, "classifier"),
    **dict.fromkeys(("predictor", "classifier", "ensemble", "held_out"), COMMANDS),
}


# -- the graph -------------------------------------------------------------------------------------------------


def modules():
    """{dotted name: file} of every module and package below minast/."""
    paths = sorted(FOLDER.rglob("*.py"))
    dotted = {path: ".".join(path.relative_to(FOLDER.parent).with_suffix("").parts) for path in paths}
    return {name.removesuffix(".__init__"): path for path, name in dotted.items()}


def running(tree):
    """All nodes of a module but those under `if TYPE_CHECKING:`, which no program ever runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            nodes = node.orelse
        else:
            yield node
            nodes = [node]
        for inner in nodes:
            yield from running(inner)


def named(node, package):
    """What an import statement names.   -> [(module, name asked of it or None)]"""
    if isinstance(node, ast.Import):
        return [(alias.name, None) for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    above = package[: len(package) - node.level + 1] if node.level else []
    module = ".".join([*above, *filter(None, [node.module])])
    return [(module, alias.name) for alias in node.names]


def imports(name, path, known):
    """The modules that this one imports; `from package import x` is the module x where there is one, else package."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    asked = [pair for node in running(ast.parse(path.read_text("utf-8"))) for pair in named(node, package)]
    found = {f"{module}.{part}" if f"{module}.{part}" in known else module for module, part in asked}
    return sorted((found & known.keys()) - {name})


@cache
def graph():
    """{module: [modules it imports]}"""
    known = modules()
    return {name: imports(name, path, known) for name, path in known.items()}


def circles(edges):
    """One shortest circle through each module that lies on any, each circle once.   -> [[a, b, ..., a]]"""
    found = {}
    for start in edges:
        trails, seen = [[start]], set()
        while trails:
            trail = trails.pop(0)
            if len(trail) > 1 and trail[-1] == start:
                found.setdefault(frozenset(trail), trail)
                break
            fresh = [name for name in edges[trail[-1]] if name not in seen]
            seen.update(fresh)
            trails += [[*trail, name] for name in fresh]
    return list(found.values())


def longest_chain(edges):
    """The longest way from a module down to one that imports none; its length is the number of import levels."""
    below = {}

    def down(name, above):
        if name not in below:
            rest = [down(other, {*above, name}) for other in edges[name] if other not in above and other != name]
            below[name] = [name, *max(rest, key=len, default=[])]
        return below[name]

    return max((down(name, set()) for name in edges), key=len)


# -- the rules -------------------------------------------------------------------------------------------------


def test_no_import_leads_back():
    found = [" -> ".join(circle) for circle in circles(graph())]
    assert not found, "import cycles (late imports count):\n" + "\n".join(found)


def inside(module, room):
    return f"{module}.".startswith(f"minast.{room}.")


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_what_is_below_it(room):
    found = [
        f"{name} imports {other}"
        for name, others in graph().items()
        if inside(name, room)
        for other in others
        if any(inside(other, no) for no in FORBIDDEN[room])
    ]
    assert not found, "\n".join(found)


def test_nobody_imports_the_benchmark():
    """It may use all of minast; its packages for comparison must not be anybody's."""
    found = [
        f"{name} imports {other}" for name, others in graph().items() for other in others if inside(other, "bench")
    ]
    assert not [line for line in found if not inside(line.split()[0], "bench")]


def test_the_rules_name_rooms_that_are_there():
    rooms = {name.split(".")[1] for name in modules() if "." in name}
    named_here = {*FORBIDDEN, *(name for names in FORBIDDEN.values() for name in names)} - {*COMMANDS}
    assert named_here <= rooms, f"no such room: {named_here - rooms}"


# -- the reader of imports itself ------------------------------------------------------------------------------

SOURCES = {
    "a/__init__.py": "from .b import f\n__version__ = '1'\n",
    "a/b.py": "import os\ndef f():\n    from . import c\n",
    "a/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import f\nimport a.d.e as e\n",
    "a/d/__init__.py": "",
    "a/d/e.py": "from .. import __version__\nfrom ..d import e\n",
}


def test_imports_are_found_where_they_hide(tmp_path):
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    known = {"a": "a/__init__.py", "a.b": "a/b.py", "a.c": "a/c.py", "a.d": "a/d/__init__.py", "a.d.e": "a/d/e.py"}
    edges = {name: imports(name, tmp_path / path, known) for name, path in known.items()}
    assert edges == {"a": ["a.b"], "a.b": ["a.c"], "a.c": ["a.d.e"], "a.d": [], "a.d.e": ["a"]}
    assert [set(circle) for circle in circles(edges)] == [{"a", "a.b", "a.c", "a.d.e"}]
    edges["a.d.e"] = ["a.d"]
    assert circles(edges) == [] and longest_chain(edges) == ["a", "a.b", "a.c", "a.d.e", "a.d"]


if __name__ == "__main__":
    chain = longest_chain(graph())
    print(f"{len(chain)} levels, {len(graph())} modules: {' -> '.join(chain)}")
    for circle in circles(graph()):
        print("cycle:", " -> ".join(circle))
