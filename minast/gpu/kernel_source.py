"""The text of a kernel file with its includes pasted in, the kernels it declares, and the instantiations it lists."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

from ..errors import Error

# In a wheel the folder is inside the package; in a checkout, and with `pip install -e`, it is beside it.
_here = Path(__file__).resolve().parents[1]
_folders = [_here / "kernels" if (_here / "kernels" / "emulator").is_dir() else _here.parent / "kernels"]

# NVRTC has no <math.h>: a reader's kernel may say INFINITY all the same, as it may with nvcc and in the emulator.
PRELUDE = """#if defined(__CUDACC_RTC__) && !defined(INFINITY)
#define INFINITY __int_as_float(0x7f800000)
#endif
"""

# C type -> (NumPy dtype, elements). NumPy has no bfloat16: it is stored as uint16.
TYPES = {
    "float": ("float32", 1), "double": ("float64", 1), "__half": ("float16", 1), "half": ("float16", 1),
    "__nv_bfloat16": ("uint16", 1), "nv_bfloat16": ("uint16", 1), "bool": ("bool", 1),
    "char": ("int8", 1), "signed char": ("int8", 1), "int8_t": ("int8", 1),
    "unsigned char": ("uint8", 1), "uint8_t": ("uint8", 1), "short": ("int16", 1), "int16_t": ("int16", 1),
    "unsigned short": ("uint16", 1), "uint16_t": ("uint16", 1), "int": ("int32", 1), "int32_t": ("int32", 1),
    "unsigned": ("uint32", 1), "unsigned int": ("uint32", 1), "uint32_t": ("uint32", 1),
    "long long": ("int64", 1), "int64_t": ("int64", 1), "unsigned long long": ("uint64", 1), "uint64_t": ("uint64", 1),
    "size_t": ("uint64", 1), "float2": ("float32", 2), "float4": ("float32", 4), "int2": ("int32", 2),
    "int4": ("int32", 4), "uint2": ("uint32", 2), "uint4": ("uint32", 4), "__half2": ("float16", 2),
    "half2": ("float16", 2), "__nv_bfloat162": ("uint16", 2), "nv_bfloat162": ("uint16", 2),
}  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel; `type` is its C type without const and star."""

    name: str
    type: str
    pointer: bool
    const: bool


@dataclass(frozen=True)
class Kernel:
    """A kernel as declared; `template` has the names of its template parameters."""

    name: str
    template: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    threads: int | None  # __launch_bounds__, if it is a number

    def bind(self, arguments: Sequence[str]) -> tuple[Parameter, ...]:
        """The parameters with template arguments filled in. Raises minast.Error for a wrong number of arguments."""
        if len(arguments) != len(self.template):
            raise Error(f"{self.name} takes {len(self.template)} template arguments {self.template}, got {arguments}")
        types = dict(zip(self.template, arguments, strict=True))
        return tuple(Parameter(p.name, types.get(p.type, p.type), p.pointer, p.const) for p in self.parameters)


@dataclass(frozen=True)
class Source:
    """One .cu file ready to compile: `text` has the project's own includes pasted in."""

    name: str
    text: str
    kernels: dict[str, Kernel]
    groups: tuple[tuple[str, ...], ...]  # one tuple per `// instantiate:` line
    capability: str = ""  # "90a" of a `// capability: 90a` line: the only one that has the file's instructions

    def split(self, expression: str) -> tuple[Kernel, tuple[str, ...], str]:
        """'attention_delta<float, 64>' -> (Kernel, ('float', '64'), 'attention_delta<float,64>').

        Raises minast.Error if the file has no such kernel.
        """
        match = re.fullmatch(r"\s*(\w+)\s*(?:<(.*)>)?\s*", expression)
        if not match or match[1] not in self.kernels:
            raise Error(f"{self.name} has no kernel {expression!r}; it has {', '.join(sorted(self.kernels)) or 'none'}")
        arguments = tuple(" ".join(a.split()) for a in match[2].split(",")) if match[2] else ()
        return self.kernels[match[1]], arguments, match[1] + (f"<{','.join(arguments)}>" if arguments else "")

    def group(self, name: str) -> tuple[str, ...]:
        """The instantiations to compile together with `name`: those of its `// instantiate:` line."""
        return next((g for g in self.groups if name in g), (name,))


def folder() -> Path:
    """The folder of the kernel files."""
    return _folders[-1]


def emulator_folder() -> Path:
    """The folder of the emulator's headers: always the project's own, also inside `using_folder`."""
    return _folders[0] / "emulator"


@contextmanager
def using_folder(path: str | Path) -> Iterator[None]:
    """Within this context kernel files come from another folder: tests plant bugs with it."""
    _folders.append(Path(path))
    try:
        yield
    finally:
        _folders.pop()


def without_comments(text: str) -> str:
    """C++ text with comments blanked; line numbers stay the same."""

    def blank(match):
        token = match[0]
        return token if token[0] in "\"'" else " " + "\n" * token.count("\n")

    return re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|//[^\n]*|/\*.*?\*/', blank, text, flags=re.S)


def load(source: str | Path) -> Source:
    """The Source of a file name in kernels/ ("softmax.cu") or of a Path to any .cu file; cached until the file changes.

    Raises minast.Error if the file or one that it includes does not exist.
    """
    known = _loaded.get((_folders[-1], source))
    now = time.monotonic()
    if known and now < known.checked + RECHECK:
        return known.source
    if known and all(_stamp(p) == stamp for p, stamp in known.parts):
        _loaded[_folders[-1], source] = known._replace(checked=now)
        return known.source
    path = source if isinstance(source, Path) else folder() / source
    if not path.is_file():
        names = ", ".join(sorted(p.name for p in folder().glob("*.cu")))
        raise Error(f"there is no kernel file {path}; {folder()} has {names or 'none'}")
    parts = []
    text = PRELUDE + _with_includes(path, path.parent, parts)
    plain = without_comments(text)
    result = Source(path.name, text, _kernels(plain), _groups(text), _capability(text))
    _loaded[_folders[-1], source] = _Loaded(result, parts, now)
    return result


class _Loaded(NamedTuple):
    source: Source
    parts: list  # (path, stamp) of every file in it
    checked: float  # when the stamps were last compared


RECHECK = 0.2  # seconds between checks for changes: a step launches hundreds of kernels, five stat calls each add up
_loaded: dict = {}


def _stamp(path):
    try:
        return path.stat().st_mtime_ns, path.stat().st_size
    except OSError:
        return None


def _with_includes(path, beside, parts):
    """The text with each `#include "..."` pasted in once: CuPy's cache of kernels does not see changes in them."""
    if any(p == path for p, _ in parts):
        return ""
    parts.append((path, _stamp(path)))
    lines = [f'#line 1 "{path.name}"']
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        include = re.match(r'\s*#\s*include\s*"(.+?)"', line)
        if include:
            places = [f / include[1] for f in (path.parent, beside, folder())]
            found = next((p for p in places if p.is_file()), None)
            if not found:
                raise Error(f"{path.name}, line {number}: there is no {include[1]} beside it or in {folder()}")
            lines += [_with_includes(found.resolve(), beside, parts), f'#line {number + 1} "{path.name}"']
        else:
            lines.append("" if re.match(r"\s*#\s*pragma\s+once", line) else line)
    return "\n".join(lines) + "\n"


def _closing_bracket(text, start, pair="()"):
    """The index of the bracket that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == pair[0]) - (text[i] == pair[1])
        if depth == 0:
            return i
    raise Error(f"unbalanced {pair} in a kernel's declaration")


def split_commas(text: str) -> list[str]:
    """The parts of a text between the commas that are outside all brackets; empty parts are dropped."""
    parts, depth = [""], 0
    for c in text:
        depth += (c in "<([") - (c in ">)]")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [p.strip() for p in parts if p.strip()]


_HEAD = re.compile(r"\s*(?:__launch_bounds__\s*\(([^()]*)\)|static|void|\s)*\s*(\w+)\s*\(")


def _kernels(text):
    kernels = {}
    text = re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)
    for match in re.finditer(r"__global__\b", text):
        head = _HEAD.match(text, match.end())
        if not head:
            continue
        parameters = text[head.end() : _closing_bracket(text, head.end() - 1)]
        before = re.search(r"template\s*<([^;{}]*)>\s*(?:static\s+|extern\s+\"\"\s+)*$", text[: match.start()])
        names = split_commas(before[1]) if before else ()
        template = tuple(p.split("=")[0].split()[-1] for p in names)
        bounds = re.search(r"\d+", head[1] or "")
        threads = int(bounds[0]) if bounds and re.match(r"\s*\d+\s*(,|$)", head[1]) else None
        kernels[head[2]] = Kernel(head[2], template, tuple(map(_parameter, split_commas(parameters))), threads)
    return kernels


def _parameter(text):
    words = re.sub(r"\b(__restrict__|__restrict|__grid_constant__|volatile)\b", " ", text)
    match = re.fullmatch(r"(.*?)(\w+)\s*", words, re.S)
    type_, name = match[1], match[2]
    # const before the star: the data is const; after it: only the pointer is.
    const = re.search(r"\bconst\b", type_.split("*")[0]) is not None
    base = " ".join(re.sub(r"\bconst\b", " ", type_.replace("*", " ")).split())
    return Parameter(name, base, "*" in type_, const)


def _capability(text):
    found = re.search(r"^\s*//\s*capability:\s*(\w+)\s*$", text, re.M)
    return found[1] if found else ""


def _groups(text):
    """`// instantiate: f<{float,__half},{16,32}> g` -> (('f<float,16>', 'f<float,32>', 'f<__half,16>', ...),)."""
    groups = []
    for line in re.findall(r"^\s*//\s*instantiate:(.*)$", text, re.M):
        names = []
        for word in re.findall(r"\w+(?:\s*<[^>]*>)?", line):
            pieces = re.split(r"\{([^}]*)\}", re.sub(r"\s*([<>,{}])\s*", r"\1", word))
            choices = [p.split(",") if i % 2 else [p] for i, p in enumerate(pieces)]
            names += ["".join(c) for c in product(*choices)]
        groups.append(tuple(names))
    return tuple(groups)
