"""Published figures of GPUs, and how many blocks of a kernel one multiprocessor holds. Nothing here is measured.

Sources: NVIDIA, "A100 Tensor Core GPU Architecture" (2020) and the A100 data sheet; NVIDIA, "H100 Tensor Core GPU
Architecture" (2022) and the H100 data sheet; CUDA C++ Programming Guide, tables "Technical Specifications per Compute
Capability" and "Throughput of Native Arithmetic Instructions".
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """One GPU at one clock; what a multiprocessor (SM) does is per clock. memory: bytes/s; sizes in bytes."""

    name: str
    capability: str
    sms: int
    clock: float  # Hz
    float32_lanes: int  # multiply-adds
    tensor_flop: int  # 16-bit operands, float32 sums, not sparse
    memory: float
    shared_bytes: int  # most of an SM, all its blocks together
    special: int = 16  # exponentials, square roots, reciprocals
    shared_per_clock: int = 128  # 32 banks of 4 bytes
    registers: int = 65536
    threads: int = 2048
    blocks: int = 32

    @property
    def float32_peak(self) -> float:
        """FLOP/s; a multiply-add is two."""
        return self.sms * self.float32_lanes * 2 * self.clock

    @property
    def tensor_peak(self) -> float:
        """FLOP/s of the tensor cores with 16-bit operands."""
        return self.sms * self.tensor_flop * self.clock

    @property
    def shared_peak(self) -> float:
        """Bytes/s from the shared memories of all multiprocessors together."""
        return self.sms * self.shared_per_clock * self.clock

    @property
    def special_peak(self) -> float:
        """Exponentials (and the like) per second."""
        return self.sms * self.special * self.clock


# Boost clock 1410 MHz: 108 x 64 x 2 x 1.41 GHz = 19.5 TFLOP/s and 108 x 2048 x 1.41 GHz = 312 TFLOP/s, as published.
A100 = Card("A100 SXM4 80 GB", "80", 108, 1.41e9, 64, 2048, 2.039e12, 164 * 1024)

# NVIDIA states two boost clocks: 1830 MHz for 16-bit tensor cores (989 TFLOP/s), 1980 MHz for float32 outside of them
# (67 TFLOP/s). Here all is at 1830 MHz, so float32 peaks at 61.8. The tensor peak is that of wgmma, not of mma.sync.
H100 = Card("H100 SXM5 80 GB", "90", 132, 1.83e9, 128, 4096, 3.35e12, 228 * 1024)


def blocks_per_sm(card: Card, threads: int, registers: int, shared: int) -> tuple[int, str]:
    """(blocks that a multiprocessor holds at a time, what limits them).

    threads: of a block; registers: of a thread, 0 for unknown; shared: bytes of a block, to which 1 KB of the system's
    is added. Registers are given to a warp in units of 256, from four equal parts of the register file.
    """
    warps = -(-threads // 32)
    limits = {
        "threads": card.threads // (warps * 32),
        "blocks": card.blocks,
        "shared memory": card.shared_bytes // (shared + 1024),
    }
    if registers:
        each = -(-registers * 32 // 256) * 256
        limits["registers"] = card.registers // 4 // each * 4 // warps
    limit = min(limits, key=limits.get)
    return limits[limit], limit
