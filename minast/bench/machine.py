"""What this machine's libraries run: BLAS's kernels, and what in the environment holds them back.

NumPy's OpenBLAS chooses its kernels by the processor, when it is loaded. A variable may make it take older ones, and
other libraries have such variables of their own: figures that are taken then are not the machine's.
"""

import json
import os
from functools import cache
from pathlib import Path

from .. import threads
from . import child
from .row import Skip

BUSY = 0.5  # load above which other work shows in the times, most in those of PyTorch, whose threads spin
CORETYPE = "OPENBLAS_CORETYPE"
THREADS = "OPENBLAS_NUM_THREADS", "OPENBLAS_DEFAULT_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"
OTHERS = {  # variable: what it does, as the end of a sentence
    "OPENBLAS_L2_SIZE": "sets the size of NumPy's OpenBLAS's blocks",
    "NPY_DISABLE_CPU_FEATURES": "keeps NumPy from some instructions",
    "NPY_ENABLE_CPU_FEATURES": "keeps NumPy to some instructions",
    "MKL_ENABLE_INSTRUCTIONS": "can hold MKL, in PyTorch and in some builds of NumPy, to older instructions",
    "MKL_CBWR": "can hold MKL, in PyTorch and in some builds of NumPy, to older instructions",
    "ONEDNN_MAX_CPU_ISA": "can hold oneDNN, in PyTorch and OpenVINO, to older instructions",
    "DNNL_MAX_CPU_ISA": "can hold oneDNN, in PyTorch and OpenVINO, to older instructions",
    "ATEN_CPU_CAPABILITY": "can hold PyTorch to older instructions",
}


def blas() -> dict:
    """threadpoolctl's facts on the library behind NumPy's products: internal_api, version, architecture, num_threads.

    architecture is the name of the kernels that it runs, where it has several. {} if no library is known.
    """
    from threadpoolctl import ThreadpoolController

    found = ThreadpoolController().select(user_api="blas").info()
    own = (each for each in found if {"numpy", "numpy.libs"} & {*Path(each["filepath"]).parts})  # SciPy has another
    return next(own, found[0] if found else {})


def facts() -> dict[str, str]:
    """{name: value} for the conditions of a run: blas, kernels, best kernels; held, only where something holds them."""
    found = blas()
    if not found:
        return {}
    name = {"openblas": "OpenBLAS", "mkl": "MKL", "blis": "BLIS"}.get(found["internal_api"], found["internal_api"])
    told = {"blas": f"{name} {found.get('version') or ''}".strip()}
    if running := found.get("architecture"):
        told |= {"kernels": running, "best kernels": own_kernels() or running}
    why = held()
    return told | ({"held": " and ".join(why)} if why else {})


def own_kernels() -> str:
    """The kernels that BLAS chooses by itself on this processor; "" if that cannot be found out."""
    set_here = tuple(sorted(name for name in os.environ if name.startswith("OPENBLAS_")))
    if CORETYPE not in set_here:  # nothing else changes its choice
        return blas().get("architecture") or ""
    return _without(set_here).get("architecture") or ""


@cache
def _without(names):
    """`blas` in a process that does not have these variables; {} if it fails."""
    code = "import json; from minast.bench import machine; print(json.dumps(machine.blas()))"
    try:
        return json.loads(child.python("-c", code, without=names))
    except (Skip, ValueError):
        return {}


def held() -> list[str]:
    """What holds libraries below what they do by themselves on this machine, a clause for each variable; [] if nothing.

    OPENBLAS_CORETYPE counts where other kernels run than without it, a number of threads where BLAS has fewer than
    minast. What other variables do cannot be seen from here, so it counts that they are set.
    """
    environment, found, why = os.environ, blas(), []
    if core := environment.get(CORETYPE):
        running, own = found.get("architecture"), own_kernels()
        if running and running != own:
            why.append(
                f"{CORETYPE}={core} makes NumPy's BLAS run its {running} kernels, not {own or 'those it chooses'}"
            )
    for name in THREADS:
        if environment.get(name) and found and found["num_threads"] < threads.count():
            why.append(f"{name}={environment[name]} gives BLAS {found['num_threads']} of {threads.count()} threads")
    return why + [f"{name}={environment[name]} {does}" for name, does in OTHERS.items() if environment.get(name)]
