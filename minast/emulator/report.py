"""What the emulator counted: a `Report` holds one `LaunchReport` for each launch, which prints as a table by line.

    with emulation(report=True) as report:
        launch(Path("box.cu"), "box", grid=2, block=64, args=(x, y, x.size))
    print(report[-1])
    report[-1].arguments["x"].reads        # how often each element was read, an array of x's shape

Counted is what the 32 lanes of each warp ask for together, as the hardware groups it; kernels/README.md, "What the
emulator counts", says how and how far.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..errors import Error
from ..gpu import cards, registers
from . import disassembly, report_text
from .counters import Counts

TENSOR_FLOP = {"mma.sync": 2 * 16 * 8 * 16, "mma.sync tf32": 2 * 16 * 8 * 8}  # of one m16n8k16, one m16n8k8
TENSOR_FLOP |= {f"wgmma.mma_async n{n}": 2 * 16 * n * 16 for n in range(8, 257, 8)}  # of a warp's quarter of m64nNk16


@dataclass
class Argument:
    """One array argument. reads, writes: of each element, by all threads; an array of the argument's shape, uint32."""

    name: str
    reads: np.ndarray
    writes: np.ndarray
    itemsize: int


@dataclass
class Line:
    """Counts of one source line, added over all warps.

    requests: a warp's loads and stores of global memory; sectors: those of 32 bytes that they touch; least_sectors: as
    few as hold the bytes asked for. shared_requests, turns, least_turns: the same for shared memory, where a turn
    serves each of 32 banks once; conflicts: turns - least_turns. shared_reads: by single threads; ahead: of these,
    while an asynchronous copy of the thread's own was under way. parted: how often the lanes of a warp went different
    ways behind this line. flop: float32 additions and multiplications of all threads, a multiply-add is two;
    tensor_flop: those of the tensor cores. special: exponentials and the like, divisions and roots included. syncs:
    barriers, shuffles, votes.
    """

    file: str
    line: int
    text: str = ""
    requests: int = 0
    sectors: int = 0
    least_sectors: int = 0
    shared_requests: int = 0
    turns: int = 0
    least_turns: int = 0
    shared_reads: int = 0
    ahead: int = 0
    parted: int = 0
    flop: int = 0
    tensor_flop: int = 0
    special: int = 0
    syncs: int = 0

    @property
    def conflicts(self) -> int:
        """Turns of shared memory beyond those that no bank conflict would need."""
        return self.turns - self.least_turns


@dataclass
class LaunchReport:
    """What one launch did. grid, block: as launched; barriers: least and most `__syncthreads` of a block."""

    counts: Counts = field(repr=False)

    @property
    def kernel(self) -> str:
        return self.counts.kernel

    @property
    def grid(self) -> tuple[int, int, int]:
        return self.counts.grid

    @property
    def block(self) -> tuple[int, int, int]:
        return self.counts.block

    @property
    def barriers(self) -> tuple[int, int]:
        return self.counts.barriers

    @cached_property
    def arguments(self) -> dict[str, Argument]:
        """{name: Argument} of the array arguments that are not null."""
        found = {}
        for i, reads in self.counts.reads.items():
            name = self.counts.parameters[i].name
            found[name] = Argument(name, reads, self.counts.writes[i], self.counts.itemsizes[i])
        return found

    @cached_property
    def memory_by_thread(self) -> np.ndarray:
        """(2, threads of a block): loads and stores of each thread, to global and to shared memory, over all blocks."""
        return self.counts.memory.astype(np.int64)

    @cached_property
    def flop_by_thread(self) -> np.ndarray:
        """(threads of a block,): float32 additions and multiplications, over all blocks."""
        total = np.zeros(int(np.prod(self.block)), np.int64)
        for pc, block in self._basic_blocks.items():
            flop = sum(_FLOP.get(name, 0) for _, name in block.arithmetic)
            total += flop * self.counts.executed[pc].astype(np.int64)
        return total

    @cached_property
    def threads_at_work(self) -> np.ndarray:
        """(threads of a block,) bool: has the thread, in any block, used memory or computed in float32?"""
        return (self.memory_by_thread.sum(axis=0) > 0) | (self.flop_by_thread > 0)

    @cached_property
    def lines(self) -> list[Line]:
        """The lines of the .cu and .cuh files that did anything, in the order of the files."""
        found, texts = {}, _texts(self.counts.source.text)

        def line(place):
            if place is None:
                return Line("", 0)
            return found.setdefault(place, Line(*place, texts.get(place, "")))

        where = self._places
        for (pc, access, shared, _), n in self.counts.accesses.items():
            own = line(where.get(pc - 1))
            if shared:
                own.shared_requests += n["requests"]
                own.turns += n["turns"]
                own.least_turns += n["least_turns"]
                if access in ("load", "matrix load"):
                    own.shared_reads += n["lanes"]
                    own.ahead += n["ahead"]
            else:
                own.requests += n["requests"]
                own.sectors += n["sectors"]
                own.least_sectors += n["least"]
        for pc, (_, lanes, parted) in self.counts.blocks.items():
            block = self._basic_blocks[pc]
            at = line(where.get(block.branch) or where.get(pc))
            at.parted += parted
            for place, name in block.arithmetic:
                at = line(where.get(place) or where.get(pc))
                at.flop += _FLOP.get(name, 0) * lanes
                at.special += lanes if name in ("special", "divide or root") else 0
        for (pc, what, file, number), (requests, _) in self.counts.syncs.items():
            at = line(where.get(pc - 1) or (file, number))
            at.syncs += requests
            at.tensor_flop += TENSOR_FLOP.get(what, 0) * requests
        return [found[key] for key in sorted(found)]

    @cached_property
    def total(self) -> Line:
        """All lines together, those of the emulator's own functions included."""
        whole = Line("", 0)
        for n in self.lines:
            for name in Line.__dataclass_fields__:
                if name not in ("file", "line", "text"):
                    setattr(whole, name, getattr(whole, name) + getattr(n, name))
        return whole

    @cached_property
    def mix(self) -> dict[str, int]:
        """{class: instructions issued by warps}, as far as they can be seen: not integers, addresses and jumps."""
        mix = Counter()
        for (_, access, shared, _), n in self.counts.accesses.items():
            space = ("global ", "shared ")[shared] if access in ("load", "store") else ""
            mix[space + access] += n["requests"]
        for pc, block in self._basic_blocks.items():
            for _, name in block.arithmetic:
                mix[name if name in ("special", "float64") else f"float32 {name}"] += self.counts.blocks[pc][0]
        for (_, what, *_), (requests, _) in self.counts.syncs.items():
            if what == "ldmatrix":
                continue  # counted as an access
            mix[_CLASS.get(what, "shuffle" if "shfl" in what else "vote")] += requests
        return dict(mix.most_common())

    @property
    def lanes_at_work(self) -> float:
        """Lanes of a warp that execute together, on average over the basic blocks that warps execute: at most 32."""
        steps, lanes, _ = (sum(n) for n in zip(*self.counts.blocks.values(), strict=True))
        return lanes / steps

    @cached_property
    def not_counted(self) -> set[str]:
        """Instructions that took part in the launch and whose arithmetic and memory are not in any count."""
        known = ("__sync", "__shfl", "__ballot", "__all", "__any", "__match", "ldmatrix", *TENSOR_FLOP, *_CLASS)
        return {what for _, what, *_ in self.counts.syncs if not what.startswith(known)}

    @cached_property
    def reads_by_descriptor(self) -> bool:
        """Whether tensor cores have read shared memory themselves, as wgmma does: those reads are in no count."""
        return any(what.startswith("wgmma.mma_async") for _, what, *_ in self.counts.syncs)

    @property
    def bytes_moved(self) -> int:
        """Bytes between the multiprocessors and the memory system if no cache held anything: sectors of 32 bytes."""
        return 32 * self.total.sectors

    @property
    def bytes_needed(self) -> int:
        """Bytes that must move even with a perfect cache: each element that is read, and each that is written, once."""
        return sum(
            a.itemsize * (np.count_nonzero(a.reads) + np.count_nonzero(a.writes)) for a in self.arguments.values()
        )

    @property
    def card(self) -> cards.Card:
        """The card that is meant if none is named: an A100, or an H100 for a file written for capability 9.0."""
        written_for = str(getattr(self.counts.source, "capability", None) or "")
        return cards.H100 if written_for.startswith("90") else cards.A100

    def needs(self, capability: str | None = None) -> tuple[int, int] | None:
        """(registers of a thread, static shared bytes of a block) as NVRTC compiles the kernel; None without NVRTC.

        capability: default, that of `card`. Raises minast.Error if the kernel does not compile for a GPU.
        """
        own = getattr(self.counts.source, "capability", None)  # "90a": nothing else will do
        return registers.needs(self.counts.source, self.kernel, own or capability or self.card.capability)

    def occupancy(self, card: cards.Card | None = None) -> tuple[int, int, str]:
        """(blocks, warps that a multiprocessor holds at a time, what limits them).

        Without NVRTC registers limit nothing. Raises minast.Error if the kernel does not compile for a GPU.
        """
        card = card or self.card
        needed = self.needs(card.capability)
        used, static = needed or (0, self._static_shared)
        threads = int(np.prod(self.block))
        blocks, limit = cards.blocks_per_sm(card, threads, used, static + self.counts.shared_bytes)
        return blocks, blocks * -(-threads // 32), limit

    def roofline(self, card: cards.Card | None = None) -> dict[str, float]:
        """{resource: seconds that it takes at the card's published peak}; the longest is the roof. No measurement.

        memory counts `bytes_needed`, the best case; shared memory its turns; the rest what was executed.
        """
        total, card = self.total, card or self.card
        return {
            "memory": self.bytes_needed / card.memory,
            "shared memory": total.turns / (card.sms * card.clock),
            "float32": total.flop / card.float32_peak,
            "special functions": total.special / card.special_peak,
            "tensor cores": total.tensor_flop / card.tensor_peak,
        }

    def __str__(self) -> str:
        return report_text.launch(self)

    @cached_property
    def _basic_blocks(self):
        return disassembly.basic_blocks(self.counts.library, self.counts.blocks)

    @cached_property
    def _places(self):
        wanted = {pc - 1 for pc, *_ in (*self.counts.accesses, *self.counts.syncs)} | set(self.counts.blocks)
        for block in self._basic_blocks.values():
            wanted |= {block.branch, *(pc for pc, _ in block.arithmetic)}
        return disassembly.lines(self.counts.library, sorted(wanted))

    @property
    def _static_shared(self):
        return self.counts.static_shared


class Report:
    """The launches inside of `emulation(report=True)`, in their order; on a GPU nothing is counted."""

    def __init__(self) -> None:
        self.launches: list[LaunchReport] = []

    def add(self, counts: Counts) -> None:
        """Called by the emulator after each launch that ended well."""
        self.launches.append(LaunchReport(counts))

    def __len__(self) -> int:
        return len(self.launches)

    def __iter__(self) -> Iterator[LaunchReport]:
        return iter(self.launches)

    def __getitem__(self, i: int) -> LaunchReport:
        """Raises minast.Error where there is no such launch."""
        try:
            return self.launches[i]
        except IndexError:
            raise Error(f"the report has {len(self)} launches, so there is none at {i}: only kernels on NumPy arrays, "
                        "which ran to their end, are counted") from None  # fmt: skip

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.launches)) or "no kernel was launched in the emulator"


_FLOP = {"fma": 2, "add or multiply": 1}
_CLASS = dict.fromkeys(TENSOR_FLOP, "tensor core")
_CLASS |= {f"__syncthreads{s}": "barrier" for s in ("", "_count", "_and", "_or")} | {"__syncwarp": "warp barrier"}
_CLASS |= {f"wgmma.{s}": "warpgroup order" for s in ("fence", "commit_group", "wait_group")}
_CLASS |= {f"setmaxnreg.{s}": "setmaxnreg" for s in ("inc", "dec")}


def _texts(source):
    """{(file, line): its text} of a source with its includes pasted in."""
    texts, file, number = {}, "", 0
    for line in source.splitlines():
        if line.startswith("#line "):
            _, first, name = line.split(maxsplit=2)
            file, number = name.strip('"'), int(first)
            continue
        texts[file, number] = line.strip()
        number += 1
    return texts
