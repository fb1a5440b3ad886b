"""Times the kernels that sum over rows with other numbers of blocks than `GROUPS`, and attention with other fragments.

  python -m tests.gpu.sweep cuda FILE      rows for `python -m minast.bench --from FILE`; the emulator runs toys

What is fastest here is a proposal for minast/cuda/common.py: nothing is changed.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial

from minast.bench import runner, table
from minast.bench.gpu.device import Device, cast, open_device
from minast.bench.gpu.rows import DeviceRow, facts, row
from minast.bench.kernels import attention, memory_bound
from minast.bench.kernels.cases import cases
from minast.bench.row import each
from minast.cuda import attention_forward, common, half, rowwise
from minast.text import counted

MODULES, GROUPS, DTYPE = (common, half, rowwise), (132, 264, 396, 528), "bfloat16"
SUMS = ("layer norm backward", "residual + norm backward", "bias + GELU backward")  # cases that begin so


def with_groups(groups: int, make: Callable[[], DeviceRow]) -> DeviceRow:
    """make() while all modules sum over `groups` blocks."""
    before = [module.GROUPS for module in MODULES]
    try:
        for module in MODULES:
            module.GROUPS = groups
        return make()
    finally:
        for module, value in zip(MODULES, before, strict=True):
            module.GROUPS = value


def makers(device: Device, rounds: int) -> Iterator[tuple[str, Callable[[], DeviceRow]]]:
    """(what is measured, a function that measures it) of all rows."""
    ceiling = device.copy_bandwidth(rounds) if device.gpu else None
    for groups in GROUPS:
        for case in cases(device, memory_bound.sizes(device), DTYPE):
            if case.name.startswith(SUMS):
                named = case._replace(name=f"{case.name}, {groups} blocks", torch=None, half=None)
                yield named.name, partial(with_groups, groups, partial(alone, device, named, rounds, ceiling))
    B, H, N, D = attention.TOY if device.toy else attention.REAL
    qkv = cast(device.normal(B, N, 3 * H * D), DTYPE)
    for fragments in (1, 2):
        name = f"attention, version 6, {counted(fragments, 'fragment')}, {DTYPE}"
        call = partial(attention_forward, qkv, H, version=6, fragments=fragments)
        yield name, partial(timed, device, name, call, rounds, 4 * B * H * N * N * D)


def alone(device, case, rounds, ceiling):
    """A case without libraries beside it."""
    case.call()
    seconds = device.interleaved([case.call], rounds)[0]
    return row(device, f"{case.name}, {DTYPE}", DTYPE, seconds, case.bytes, "GB/s", ceiling, memory_bound.COPY)


def timed(device, name, call, rounds, flop):
    call()
    return row(device, name, DTYPE, device.interleaved([call], rounds)[0], flop, "GFLOP/s")


def main(backend: str, file: str, rounds: int = 7) -> int:
    """Print each row and write all of them to the file, after each one; returns the exit status."""
    device, done = open_device(backend), []
    for found in each(makers(device, rounds)):
        done.append(found)
        runner.show(found)
        table.write_json(file, done, table.conditions(1) | facts(done))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
