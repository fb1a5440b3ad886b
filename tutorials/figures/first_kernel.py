"""Figures of 07_first_kernel."""

import matplotlib.pyplot as plt
import numpy as np

import look

SECTOR = 32  # bytes


def who_writes(block, thread):
    """Which block and which thread wrote each element.   block, thread (n,)"""
    _, axes = look.figure(2, 1, 2.8, sharex=True)
    for ax, values, unit in zip(axes, (block, thread), ("blockIdx.x", "threadIdx.x"), strict=True):
        look.heatmap(values[None], "count", unit, ax, ylabel=unit, bar=False)  # the numbers stand in it
        for i, v in enumerate(values):
            ax.text(i, 0, v, ha="center", va="center", color="k" if v > 0.6 * values.max() else "w", fontsize=9)
        ax.set(yticks=[])
    axes[0].set_title("Who writes element i: 4 blocks of 8 threads")
    axes[1].set_xlabel("element i of y")
    plt.show()


def requests(addresses, columns=1, height=4.0):
    """The addresses of a warp's 32 lanes, and the sectors they touch.   addresses: {title: bytes (32,)} -> sectors"""
    rows = -(-len(addresses) // columns)
    _, axes = look.figure(rows, columns, height, squeeze=False, sharey=True)
    found = {}
    for ax, (name, byte) in zip(axes.flat, addresses.items(), strict=True):
        sectors = np.unique(byte // SECTOR)
        for s in sectors:
            ax.axvspan(SECTOR * s, SECTOR * s + SECTOR, color=look.CYCLE[4], alpha=0.35, lw=0)
        ax.scatter(byte, np.arange(32), s=9, color=look.CYCLE[0], zorder=3)
        ax.set(title=f"{name}: {len(sectors)} sectors, {128 / (SECTOR * len(sectors)):.1%} of their bytes used")
        found[name] = len(sectors)
    for ax in axes[:, 0]:
        ax.set_ylabel("lane")
    for ax in axes[-1]:
        ax.set_xlabel("byte address, from the array's start (shaded: sectors)")
    plt.show()
    return found


def tree(trace):
    """What shared memory holds after each step of a tree.   trace (steps, threads): ones summed"""
    _, ax = look.figure(height=2.8)
    image = ax.imshow(np.log2(trace), cmap=look.KINDS["count"], vmin=0, vmax=len(trace))
    for step in range(len(trace)):
        half = len(trace[0]) >> (step + 1)
        ax.plot([half - 0.5] * 2, [step - 0.5, step + 0.5], color="w", lw=2)
    ax.set(xlabel="thread t, which owns part[t]", ylabel="step", title="part after each step, starting from ones")
    ax.grid(False)
    ax.figure.colorbar(
        image, ax=ax, ticks=range(len(trace) + 1), format=lambda v, _: f"{2**v:.0f}", label="ones in part[t]"
    )
    plt.show()


def butterfly(seen):
    """Whose values each lane holds after each exchange.   seen (5, 32): a bit for each lane"""
    _, axes = look.figure(1, 5, 2.4, sharey=True)
    for ax, row, step in zip(axes, seen, (16, 8, 4, 2, 1), strict=True):
        held = row[:, None] >> np.arange(32, dtype=np.uint32) & 1
        look.heatmap(held, "share", "", ax, f"after step {step}", "lane summed", bar=False, vmax=1.3, aspect="equal")
    axes[0].set_ylabel("lane")
    plt.show()


def banks(wanted):
    """How many lanes want each bank.   wanted: {pitch: (32,)}"""
    _, axes = look.figure(1, len(wanted), 2.4, sharey=True)
    for ax, (pitch, lanes) in zip(axes, wanted.items(), strict=True):
        ax.bar(range(32), lanes, color=look.CYCLE[1] if lanes.max() > 1 else look.CYCLE[2])
        ax.set(title=f"pitch {pitch}: {lanes.max()} turn{'s' if lanes.max() > 1 else ''}", xlabel="bank", ylim=(0, 4.5))
    axes[0].set_ylabel("lanes that want it")
    plt.show()
