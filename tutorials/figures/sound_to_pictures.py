"""Figures of 01_sound_to_pictures."""

import matplotlib.pyplot as plt
import numpy as np

import look


def waveform(wave, rate, name):
    """All of a waveform, and ten milliseconds about its loudest sample.   -> the number of that sample"""
    _, (left, right) = look.figure(1, 2, 2.6)
    seconds = np.arange(len(wave)) / rate
    loudest = int(np.abs(wave).argmax())
    part = slice(max(loudest - 80, 0), max(loudest - 80, 0) + 160)
    look.lines(seconds, {"": wave}, left, f"{name}: all of it", "time (s)", "sample (full scale = 1)", linewidth=0.4)
    zoom = {"marker": ".", "markersize": 3, "linewidth": 0.8}
    look.lines(1000 * seconds[part], {"": wave[part]}, right, "10 ms of it: 160 samples", "time (ms)", **zoom)
    plt.show()
    return loudest


def same_samples(rate, low, high, n):
    """Two tones that have the same samples.   low, high in Hz; n: numbers of the samples"""
    _, axes = look.figure(height=2.4)
    fine = np.linspace(n[0], n[-1], 1000)
    tones = {f"{hz} Hz": np.cos(2 * np.pi * hz / rate * fine) for hz in (low, high)}
    look.lines(fine / rate * 1000, tones, axes, "Two tones, the same samples", "time (ms)", "pressure", names=False)
    axes.plot(n / rate * 1000, np.cos(2 * np.pi * low / rate * n), "k.", markersize=8, label="samples of either")
    look.beside(axes)
    plt.show()


def windows(windows, lobes, hz, rate):
    """Windows in time, and what a pure tone becomes.   windows, lobes: {name: array}"""
    _, (left, right) = look.figure(1, 2, 3)
    length = len(next(iter(windows.values())))
    look.lines(np.arange(length) / rate * 1000, windows, left, "Three windows", "time (ms)", "weight", names=False)
    near = hz < 400
    limits = {"xlim": (0, 400), "ylim": (-90, 3)}
    shown = {name: lobe[near] for name, lobe in lobes.items()}
    look.lines(hz[near], shown, right, "What a pure tone becomes", "distance from the tone (Hz)", limits=limits,
               ylabel="dB below its top", linewidth=0.9)  # fmt: skip
    plt.show()


def two_spectra(hz, weak, pair):
    """A weak tone beside a loud one, and two close tones, through each window.   weak, pair: {name: dB}"""
    _, (left, right) = look.figure(1, 2, 3)
    limits = {"xlim": (500, 4000), "ylim": (-110, 0)}
    look.lines(hz, weak, left, "A weak tone at 3000 Hz beside a loud one", "frequency (Hz)", "dB", names=False,
               limits=limits, linewidth=0.8)  # fmt: skip
    limits = {"xlim": (800, 1260), "ylim": (-50, 0)}
    look.lines(hz, pair, right, "Two tones, 1000 and 1070 Hz", "frequency (Hz)", limits=limits, linewidth=1)
    plt.show()


def power_spectrograms(powers, seconds, top_hz):
    """Spectrograms over frequency in Hz, not mel, each on its own scale.   powers: {title: (T, bins)}"""
    _, axes = look.figure(1, len(powers), 3, sharey=True)
    for ax, (title, power) in zip(axes, powers.items(), strict=True):
        decibels = 10 * np.log10(np.maximum(power.T, 1e-9))
        place = {"origin": "lower", "extent": (*seconds, 0, top_hz)}
        look.heatmap(decibels, "spectrogram", "power (dB)", ax, title, "time (s)", **place)
    axes[0].set_ylabel("frequency (Hz)")
    plt.show()


def mel_scale(features):
    """The mel scale, with equal steps of it marked."""
    hz = np.linspace(0, 8000, 400)
    _, axes = look.figure(height=2.8, width=6)
    look.lines(
        hz, {"": features.mel_from_hz(hz)}, axes, "Equal steps in mel are ever larger in Hz", "frequency (Hz)", "mel"
    )
    for mel in range(0, 2801, 400):
        edge = features.hz_from_mel(mel)
        axes.plot([0, edge, edge], [mel, mel, 0], "k:", linewidth=0.7)
    plt.show()


def filterbanks(few, many, hz):
    """A few filters whole, and the lowest of many with a dot for each FFT bin.   few, many (bins, filters)"""
    _, (top, bottom) = look.figure(2, 1, 4.6)
    title = f"{few.shape[1]} filters, to see the triangles"
    look.lines(hz, dict(enumerate_names(few)), top, title, ylabel="weight", names=False, linewidth=0.8)
    title = f"the lowest {many.shape[1]} of AST's 128, a dot for each FFT bin"
    look.lines(hz[:17], dict(enumerate_names(many[:17])), bottom, title, "frequency (Hz)", "weight", names=False,
               limits={"xlim": (0, 500)}, marker=".", markersize=5, linewidth=0.8)  # fmt: skip
    for ax in (top, bottom):
        ax.set_ylim(0, 1.05)
    plt.show()


def enumerate_names(columns):
    """Pairs (name, column), the names unique and without meaning."""
    return ((f"_{i}", column) for i, column in enumerate(columns.T))


def empty_filter(corners, bins, empty):
    """Triangles and FFT bins.   corners (filters, 3) in Hz, bins in Hz, empty: number of the filter without any"""
    _, axes = look.figure(height=2.6)
    for m, three in enumerate(corners):
        axes.plot(three, [0, 1, 0], color=look.CYCLE[m == empty], linewidth=2.2 if m == empty else 1)
        white = {"facecolor": "w", "edgecolor": "none", "pad": 1}
        axes.text(three[1], 1.05, m, ha="center", color=look.CYCLE[m == empty], bbox=white)
    for one in bins:
        axes.axvline(one, color="k", linestyle=":", linewidth=1)
    title = f"Filters 0 to {len(corners) - 1}, FFT bins dotted: number {empty} catches none"
    axes.set(title=title, xlabel="frequency (Hz)", ylabel="weight", xlim=(0, 165), ylim=(0, 1.18))
    plt.show()
