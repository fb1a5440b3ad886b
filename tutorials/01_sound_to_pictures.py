# %% [markdown]
# # 1. Sound to pictures
#
# ![You are here](pictures/here_01.svg)
#
# The Audio Spectrogram Transformer (AST, [Gong, Chung, Glass 2021](https://arxiv.org/abs/2104.01778)) never hears a
# sound. It looks at a picture of it: a **log-mel spectrogram**, time to the right, pitch upwards, colour for power.
# After this notebook you can make that picture with NumPy alone and say for each step what would go wrong without it.
#
# **Needs:** NumPy, and complex numbers as $e^{i\varphi} = \cos\varphi + i\sin\varphi$. No knowledge of audio.

# %%
import numpy as np

import minast
import show
from exercises import sound_to_pictures as check
from figures import sound_to_pictures as draw
from minast import features
from minast.datasets.synthetic import generate

show.style()

# %% [markdown]
# ## 1.1 A sound is a list of numbers
#
# A microphone measures air pressure many times a second. The count a second is the **sample rate**, in hertz (Hz); here
# 16 000 Hz, AST's rate. One measurement is a **sample**; minast keeps samples as floats between -1 and 1, where 1 is
# **full scale**, the loudest that a file can hold. The list of samples is the **waveform**.
#
# minast makes ten everyday sounds from random numbers, so that nothing has to be downloaded. Three of them, each made
# louder for the player until its largest sample is 0.9; the array `wave` below is as soft as it was:

# %%
rate = 16000
sounds = {label: generate.clip(i, seed=4, rate=rate)[0] for i, label in enumerate(generate.LABELS)}
for label in ("bird", "siren", "speech"):
    show.audio(sounds[label], rate, label, normalise=True)

wave = sounds["bird"]
print(wave.dtype, wave.shape, f"{len(wave) / rate:.2f} s, from {wave.min():.3f} to {wave.max():.3f}")

# %%
loudest = draw.waveform(wave, rate, "bird")

# %% [markdown]
# How strong is it? The power of a wave is the mean of its squares. Ears, and engineers, compare powers by their ratio, so
# they are given in **decibels** (dB): ten times the base-10 logarithm of a ratio of powers. Ten times the power is 10
# dB more, half the power 3 dB less. The **level** relative to full scale is
#
# $$ \text{level} = 10 \log_{10} \frac1S \sum_{t=0}^{S-1} x_t^2 = 20 \log_{10} \sqrt{\frac1S \sum_t x_t^2} \quad \text{dB}. $$
#
# The square root of the mean of the squares is the **RMS**. Since $\log a^2 = 2 \log a$, an amplitude gets the factor
# 20 where a power gets 10. A square wave of amplitude 1, whose samples are all 1 or -1, has 0 dB, everything softer
# less. (Level is a property of the samples. How *loud* a sound is to an ear depends on its frequencies as well: two
# tones of one level can be far from equally loud.)

# %%
for label in ("bird", "siren", "speech"):
    print(f"{label:7s} {10 * np.log10(np.mean(sounds[label].astype(float) ** 2)):6.1f} dB")
print(f"half the power: {10 * np.log10(0.5):.2f} dB, half the amplitude: {20 * np.log10(0.5):.2f} dB")

# %% [markdown]
# ### Exercise 1.1 ★ Set the level
#
# Write `at_level(wave, level)`: the waveform times the one factor that gives it that level, in dB. wave (S,), not
# silent, to (S,).
#
# <details><summary>Hint</summary>
#
# Which level has it now, and how many dB are missing? A factor $g$ on the samples adds $20 \log_{10} g$ dB: solve for
# $g$.
#
# </details>
#
# [Solution](solutions/sound_to_pictures.py)


# %%
def at_level(wave, level):
    return ...  # your code: replace this line


# %%
check.at_level(at_level)

# %% [markdown]
# ## 1.2 What a sample rate cannot hold
#
# Samples are taken at the times $n / r$, with $r$ the rate. A tone of frequency $f$ has the samples $\cos(2\pi f n /
# r)$. Now take the tone of frequency $r - f$. For whole $n$,
#
# $$ \cos\frac{2\pi (r - f) n}{r} = \cos\left(2\pi n - \frac{2\pi f n}{r}\right) = \cos\frac{2\pi f n}{r}, $$
#
# since the cosine repeats after $2\pi$ and is even. Both tones have the very same samples: above half the rate nothing
# new can be told apart. That limit, 8 000 Hz here, is the **Nyquist frequency**. A recorder filters out what lies above
# it before it samples; otherwise a 9 000 Hz tone turns up as 7 000 Hz, which is called **aliasing**.

# %%
n = np.arange(16)
low, high = np.cos(2 * np.pi * 7000 / rate * n), np.cos(2 * np.pi * 9000 / rate * n)
print("largest difference between the samples:", np.abs(low - high).max().round(12))
assert np.allclose(low, high)

draw.same_samples(rate, 7000, 9000, n)

# %% [markdown]
# ## 1.3 Frames: short enough to stand still
#
# A sound changes; a pitch belongs to a stretch of time. So the waveform is cut into **frames** of 25 ms, short enough
# that a voice hardly changes within one, long enough to hold a few periods of a low voice. A new frame starts every
# 10 ms, so neighbours overlap by 15 ms and no event falls between two frames. At 16 kHz that is a **length** of 400
# samples and a **shift** of 160.
#
# How many frames does a waveform of $S$ samples have? Frame $i$ covers the samples from $160\,i$ to $160\,i + 399$, and
# must end inside.
#
# ### Exercise 1.2 ★ Predict, then count
#
# One second has 16 000 samples, and a frame starts every 160 of them. Before you read on, write down how many frames it
# has. Then write `frame_count(samples, length, shift)`: how many whole frames there are in a waveform of any length,
# also one that is shorter than a frame.
#
# <details><summary>Hint</summary>
#
# Frame $i$ fits if $160\,i + 400 \le S$. Solve for the last $i$ that does, round down, and remember that counting starts
# at 0. With `//`, a negative number is rounded down as well, away from 0.
#
# </details>
#
# [Solution](solutions/sound_to_pictures.py)


# %%
def frame_count(samples, length, shift):
    return ...  # your code: replace this line


# %%
check.frame_count(frame_count)

# %% [markdown]
# Frames need no copying. `sliding_window_view` gives every window of 400 samples as a view of the same memory, and
# `[::160]` keeps each 160th. (How a view can overlap itself is the subject of notebook 2.)

# %%
length, shift, fft_size = features.sizes(rate)
frames = np.lib.stride_tricks.sliding_window_view(wave, length)[::shift]
print(f"length {length}, shift {shift}, FFT {fft_size}; frames {frames.shape}")
print(
    f"{1000 * length / rate:g} ms every {1000 * shift / rate:g} ms: neighbours share {1000 * (length - shift) / rate:g} ms"
)
print("same memory as the waveform:", np.shares_memory(frames, wave))
for seconds_long in (1, 5, 10):
    print(f"{seconds_long:2} s: {features.frame_count(seconds_long * rate, rate)} frames")
assert frames.shape == (98, 400) and features.frame_count(10 * rate, rate) == 998

# %% [markdown]
# One second gives 98 frames, not 100: the last two would reach over the end. In general $T = 1 + \lfloor (S - 400) / 160
# \rfloor$, if there is a whole frame at all.
#
# ## 1.4 Which frequencies are in a frame?
#
# To ask how much of a tone is in a frame, multiply the frame by that tone and add up. Where the two swing together
# all products are positive and the sum is large; otherwise they cancel. A tone may start anywhere in its cycle, so we
# need two questions, a cosine and a sine; $e^{-i\varphi} = \cos\varphi - i\sin\varphi$ asks both at once. With
# frequencies that fit $0, 1, 2, \dots$ times into $N$ samples, this is the **discrete Fourier transform** (DFT):
#
# $$ X_k = \sum_{n=0}^{N-1} x_n\, e^{-2\pi i k n / N}, \qquad k = 0, \dots, N - 1. $$
#
# **Bin** $k$ stands for the frequency $k\,r/N$ Hz. For real $x$ the second half says nothing new:
# $e^{-2\pi i (N-k) n/N} = e^{-2\pi i n}\, e^{2\pi i k n/N} = \overline{e^{-2\pi i k n/N}}$, so $X_{N-k} =
# \overline{X_k}$, and the $N/2 + 1$ bins up to Nyquist are enough. It is a matrix times the frame:

# %%
N = 512
n = np.arange(N)
tones = np.exp(-2j * np.pi * np.outer(np.arange(N // 2 + 1), n) / N)  # (257, 512): one tone a row
frame = np.zeros(N)
frame[:length] = frames[loudest // shift - 1]  # a frame with the bird in it, and zeros up to 512

by_matrix = tones @ frame
by_numpy = np.fft.rfft(frame)
print(f"{len(by_matrix)} bins, {rate / N} Hz apart")
print(f"largest difference to np.fft.rfft: {np.abs(by_matrix - by_numpy).max():.0e}")
assert np.allclose(by_matrix, by_numpy, atol=1e-12)

# %% [markdown]
# For all $N$ bins the matrix takes $N^2$ multiplications. The **fast Fourier transform** (FFT) gets the same numbers
# with $\frac N2 \log_2 N$. Split the sum into even and odd $n$:
#
# $$ X_k = \sum_{m} x_{2m}\, e^{-2\pi i k m/(N/2)} + e^{-2\pi i k/N} \sum_m x_{2m+1}\, e^{-2\pi i k m/(N/2)} = E_k + e^{-2\pi i k/N} O_k. $$
#
# $E$ and $O$ are DFTs of half the length, and they repeat after $N/2$, while $e^{-2\pi i (k + N/2)/N} = -e^{-2\pi i
# k/N}$. So one $E_k$ and one $O_k$ serve two bins, $X_k$ and $X_{k + N/2}$, for one multiplication. Do the same to the
# halves until one sample is left: $\log_2 N$ times $N/2$ multiplications. That wants a power of two. The FFT does not
# (today's libraries take any length, nearly as fast); the speech toolkit [Kaldi](https://kaldi-asr.org), whose features
# AST took over, rounds up to the next one, hence 512 for 400, with zeros behind the frame.


# %%
def fft(x):
    if len(x) == 1:
        return x.astype(complex)
    even, odd = fft(x[::2]), fft(x[1::2])
    odd = odd * np.exp(-2j * np.pi * np.arange(len(odd)) / len(x))
    return np.concatenate([even + odd, even - odd])


assert np.allclose(fft(frame), np.fft.fft(frame), atol=1e-12)
print(f"multiplications: matrix {N * N}, FFT {N // 2 * int(np.log2(N))}")

# %% [markdown]
# The zeros after sample 400 add no information. They do not change the sum at any frequency; they only let us read it
# at 512 evenly spaced frequencies instead of 400.
#
# ## 1.5 Why a window: leakage
#
# Cutting out a frame has a price. Take a pure tone $x_n = e^{2\pi i f_0 n}$, with $f_0$ in cycles a sample: times $r$
# that is Hz, and bin $k$ is $f = k/N$. (A real cosine is half the sum of two such tones, at $f_0$ and $-f_0$.) Multiply
# the frame of $L$ samples by weights $w_n$, the **window**. Just cutting is the window of ones. At any frequency $f$,
# on a bin or between two, the transform is
#
# $$ X(f) = \sum_{n=0}^{L-1} w_n\, e^{2\pi i f_0 n} e^{-2\pi i f n} = \sum_{n} w_n\, e^{-2\pi i (f - f_0) n} = W(f - f_0). $$
#
# So a pure tone does not show as a line but as the window's own transform $W$, moved to $f_0$. For the window of ones,
# $W$ is a geometric sum with $q = e^{-2\pi i f}$:
#
# $$ D(f) = \frac{1 - q^L}{1 - q} = e^{-\pi i f (L-1)}\, \frac{\sin \pi L f}{\sin \pi f}, $$
#
# where $1 - e^{-i\varphi} = e^{-i\varphi/2}\, 2i \sin(\varphi/2)$ was used for numerator and denominator. It has a
# **main lobe** between its first zeros at $f = \pm 1/L$ (40 Hz for 400 samples), and **side lobes** beyond: $\sin \pi L
# f$ goes on swinging. The power of the tone **leaks** all over the spectrum. The windows that are used instead go down
# gently towards their ends, here Hann ($a = 0.5$) and Hamming ($a = 0.54$):
#
# $$ w_k = a - (1 - a) \cos\frac{2\pi k}{L - 1}, \qquad k = 0, \dots, L - 1. $$
#
# These are the weights in minast:

# %%
show.source(features.window_function)

# %%
windows = {
    "none": np.ones(length),
    "Hamming": features.window_function("hamming", length),
    "Hann": features.window_function("hann", length),
}


def decibels(amplitude):
    return 20 * np.log10(np.maximum(np.abs(amplitude), 1e-9))


hz = np.arange(2**17 + 1) * rate / 2**18
lobes = {  # W(f) on a very fine grid, 0 dB at its top
    name: decibels(np.fft.rfft(w, 2**18) / w.sum()) for name, w in windows.items()
}
draw.windows(windows, lobes, hz, rate)

# %% [markdown]
# Three numbers say what a window is worth: how wide the main lobe is, how high the highest side lobe, and how low the
# side lobes get far away.

# %%
rows = []
for name, lobe in lobes.items():
    valley = np.flatnonzero(np.diff(lobe) > 0)[0]  # where the main lobe ends
    values = hz[valley], lobe[valley:].max(), lobe[hz > 4000].max()
    rows.append((name, *(round(float(v), 1) for v in values)))
header = ["window", "main lobe, half width (Hz)", "highest side lobe (dB)", "highest beyond 4000 Hz (dB)"]
show.table(rows, header)
assert [row[2] for row in rows] == [-13.3, -42.7, -31.5]

# %% [markdown]
# Why does subtracting a cosine help so much? A cosine is $\frac12(e^{i\varphi} + e^{-i\varphi})$, and multiplying by
# $e^{2\pi i k \delta}$ moves a spectrum by $\delta$, as the tone above moved $W$ by $f_0$. With $\delta = 1/(L-1)$,
#
# $$ W(f) = a\,D(f) - \tfrac{1-a}{2}\big(D(f - \delta) + D(f + \delta)\big). $$
#
# The phase factor of $D(f \mp \delta)$ is $e^{-\pi i (f \mp \delta)(L-1)} = e^{\pm \pi i} e^{-\pi i f (L-1)} =
# -e^{-\pi i f (L-1)}$, since $\delta (L - 1) = 1$. Write $S(f) = \sin(\pi L f)/\sin(\pi f)$, and take the phase that all
# three now share in front:
#
# $$ W(f) = e^{-\pi i f (L-1)} \Big( a\,S(f) + \tfrac{1-a}{2}\big(S(f - \delta) + S(f + \delta)\big) \Big). $$
#
# The neighbours are moved by almost exactly one side lobe, so where $S(f)$ is positive they are negative: the side
# lobes cancel. The main lobe gets twice as wide, since the neighbours' own main lobes reach from $-2\delta$ to
# $2\delta$. How well do the side lobes cancel? Take $\delta = 1/L$ (it is $1/(L-1)$), so that $\sin \pi L (f \pm
# \delta) = -\sin \pi L f$, and $\sin \pi f \approx \pi f$, good for small $f$:
#
# $$
# \begin{aligned}
# |W(f)| &\approx \frac{|\sin \pi L f|}{\pi} \left| \frac{a}{f} - \frac{1-a}{2}\Big(\frac{1}{f - \delta} + \frac{1}{f + \delta}\Big) \right| \\
# &= \frac{|\sin \pi L f|}{\pi} \left| \frac{a}{f} - \frac{(1-a) f}{f^2 - \delta^2} \right| \\
# &= \frac{|\sin \pi L f|}{\pi}\, \frac{|(2a - 1) f^2 - a\,\delta^2|}{f\,|f^2 - \delta^2|}.
# \end{aligned}
# $$
#
# Hann has $2a = 1$: the first term of the numerator is gone, and the side lobes fall with the third power of the
# distance. Hamming keeps a little of it on purpose. Far away that leaves a fall with the first power only; but the
# numerator is zero at $f = \delta \sqrt{a / (2a - 1)} = 2.6\,\delta$, in the middle of what is Hann's highest side
# lobe. Lower near by, higher far away. The cell holds the exact form against the sum itself.

# %%
f = hz[1:2000] / rate  # cycles a sample; not 0, where S is 0 / 0


def S(f):
    return np.sin(np.pi * length * f) / np.sin(np.pi * f)


f = f + 1e-9  # nor exactly on delta
delta = 1 / (length - 1)
for name, a in (("Hamming", 0.54), ("Hann", 0.5)):
    three = a * S(f) + (1 - a) / 2 * (S(f - delta) + S(f + delta))
    direct = np.abs(np.exp(-2j * np.pi * np.outer(f[::40], np.arange(length))) @ windows[name])
    error = np.abs(np.abs(three[::40]) - direct).max()
    print(f"{name}: three copies of S against the sum itself: {error:.0e}")
    assert error < 1e-6
print(f"Hamming's zero: {np.sqrt(0.54 / (2 * 0.54 - 1)):.1f} delta")

# %% [markdown]
# ### Exercise 1.3 ★★ Measure: the best raised cosine
#
# Hann takes $a = 0.5$, Hamming 0.54. Which $a$ has the lowest highest side lobe of all? Write
# `lowest_side_lobe(length)`: that $a$, to three digits, found by measuring. It is not far from Hamming's, who rounded.
#
# <details><summary>Hint</summary>
#
# The cell with the table above measures the highest side lobe of one window: the transform on a fine grid (`2**16`
# points do), the first place where it rises again, the largest value beyond. Make a function of $a$ of it and try all
# $a$ from 0.5 to 0.6 in steps of 0.001, or finer.
#
# </details>
#
# [Solution](solutions/sound_to_pictures.py)


# %%
def lowest_side_lobe(length):
    return ...  # your code: replace this line


# %%
check.lowest_side_lobe(lowest_side_lobe)

# %% [markdown]
# Now see it matter. A loud tone at 1010 Hz and a weak one at 3000 Hz, 70 dB softer (a ten-millionth of the power, as a
# whisper beside a shout). Then two equally loud tones only 70 Hz apart.

# %%
t = np.arange(length) / rate
weak = np.sin(2 * np.pi * 1010 * t) + 10 ** (-70 / 20) * np.sin(2 * np.pi * 3000 * t)
pair = np.sin(2 * np.pi * 1000 * t) + np.sin(2 * np.pi * 1070 * t + 1.0)
fine_hz = np.fft.rfftfreq(8192, 1 / rate)
beside_weak, beside_pair, above = {}, {}, {}
for name, w in windows.items():
    spectrum = beside_weak[name] = decibels(np.fft.rfft(weak * w, 8192) / w.sum())
    beside_pair[name] = decibels(np.fft.rfft(pair * w, 8192) / w.sum())
    beside = (np.abs(fine_hz - 3000) > 150) & (np.abs(fine_hz - 3000) < 500)
    above[name] = spectrum[np.abs(fine_hz - 3000) < 20].max() - spectrum[beside].max()
draw.two_spectra(fine_hz, beside_weak, beside_pair)
for name, value in above.items():
    print(f"{name}: the weak tone stands {abs(value):.0f} dB {'above' if value > 0 else 'below'} what is around it")
assert above["Hann"] > 20 > 0 > max(above["Hamming"], above["none"])

# %% [markdown]
# Only with Hann does the weak tone stand clear; Hamming's side lobes, which hardly fall, hide it as well as those of
# no window at all. In return, the two close tones can be told apart only without a window. That is the trade: a
# narrow main lobe is paid for with high side lobes. Sounds have a large range of powers, so leakage is the greater
# evil, and speech and audio systems window.
#
# AST's paper says Hamming, its official code uses Hann. `minast.log_mel` does Hamming unless told otherwise. A model
# must be given the window that it was trained with, so minast writes it into the **checkpoint**, the file that holds a
# trained model.
#
# ## 1.6 Two small repairs within each frame
#
# **The mean goes.** A constant offset is no sound; a cheap sound card adds one. Its window lobe would cover the
# lowest bins.
#
# **Pre-emphasis.** Most natural sounds have far more power at low frequencies. A simple filter evens that out:
#
# $$ y_n = x_n - 0.97\, x_{n-1}, \qquad y_0 = x_0 - 0.97\, x_0. $$
#
# The first sample of a frame has no predecessor in it and takes its own place. For a tone $x_n = e^{2\pi i f n}$ it
# gives $y_n = (1 - 0.97\, e^{-2\pi i f})\, x_n$: the tone comes out multiplied by $1 - 0.97\, e^{-2\pi i f}$. At $f =
# 0$ that is $0.03$, at Nyquist ($f = 1/2$) it is $1.97$. The window comes after both repairs.

# %%
f = np.linspace(0, 0.5, 500)
gain = decibels(1 - features.PREEMPHASIS * np.exp(-2j * np.pi * f))
show.lines(f * rate, {"": gain}, title="Pre-emphasis", xlabel="frequency (Hz)", ylabel="gain (dB)", height=2.4)
ends = [abs(1 - features.PREEMPHASIS * np.exp(-2j * np.pi * at)) for at in (0, 0.5)]
print(f"times {ends[0]:.2f} at 0 Hz, times {ends[1]:.2f} at Nyquist")
print(f"{gain[0]:.1f} dB at 0 Hz, {gain[-1]:+.1f} dB at Nyquist")

# %% [markdown]
# ## 1.7 The spectrogram
#
# Everything so far, for all frames at once. $|X_k|^2$ is the **power** of bin $k$; its phase, the angle of $X_k$, tells
# where in its cycle a tone began, which depends on where the frame happens to start. It is thrown away.


# %%
def power_spectrogram(wave, window="hamming"):
    wave = wave.astype(float)
    frames = np.lib.stride_tricks.sliding_window_view(wave, length)[::shift]  # (T, 400)
    x = frames - frames.mean(axis=1, keepdims=True)
    previous = np.concatenate([x[:, :1], x[:, :-1]], axis=1)
    y = (x - features.PREEMPHASIS * previous) * features.window_function(window, length)
    return np.abs(np.fft.rfft(y, fft_size)) ** 2  # (T, 257)


power = {label: power_spectrogram(w) for label, w in sounds.items()}
chosen = {label: power[label] for label in ("bird", "siren", "speech")}
draw.power_spectrograms(chosen, (0.0075, 0.9875), rate / 2)

# %% [markdown]
# You can read this. Each chirp of the bird is a short line that falls. The siren's pitch goes up and down, and so does
# a fainter line at twice its frequency, an **overtone**. The vowels of the speech are stacks of bright bands; the
# hissing between them, an s or f, fills all frequencies for a moment: a vertical stripe. Without the logarithm of the
# dB only the loudest spots would show. Two things are still wrong with it. The picture is 257 bins high, and most of
# what the ear tells apart is squeezed into the lowest quarter.
#
# ## 1.8 The mel scale
#
# From 200 to 300 Hz is a big step to the ear, from 5200 to 5300 Hz hardly one. The **mel** scale was made from
# listening tests so that equal steps sound equal. The form that AST uses is
#
# $$ m = 1127\, \ln\left(1 + \frac{h}{700}\right), \qquad h = 700\,(e^{m/1127} - 1), $$
#
# for $h$ in Hz; the second is the first solved for $h$. Well below 700 Hz, $\ln(1 + \epsilon) \approx \epsilon$ makes
# it a straight line; well above it is a logarithm, and equal steps are equal ratios, as with octaves, each of which
# doubles the frequency. The 1127 makes 1000 Hz come out as 1000 mel, to within a hundredth.

# %%
draw.mel_scale(features)
hz = np.linspace(0, 8000, 400)
top = features.mel_from_hz(8000)
print(f"1000 Hz = {features.mel_from_hz(1000):.2f} mel")
for low, high in ((200, 300), (5200, 5300)):
    print(f"from {low} to {high} Hz: {features.mel_from_hz(high) - features.mel_from_hz(low):.0f} mel")
print(f"half of the scale, {top / 2:.0f} mel, lies below {features.hz_from_mel(top / 2):.0f} Hz")
assert np.allclose(features.hz_from_mel(features.mel_from_hz(hz)), hz)

# %% [markdown]
# ## 1.9 The filterbank, by hand
#
# A mel **filter** is a triangle of weights over the FFT bins, and the value of a mel **bin** is the weighted sum of
# the powers under its triangle. For 128 filters take 130 edges, equally spaced in mel from 20 Hz to Nyquist. Filter
# $m$ rises from edge $m$ to edge $m + 1$ and falls to edge $m + 2$, so that neighbours overlap by half:
#
# $$ B_{km} = \max\left(0, \min\left( \frac{\mu_k - e_m}{e_{m+1} - e_m}, \frac{e_{m+2} - \mu_k}{e_{m+2} - e_{m+1}} \right)\right), $$
#
# with $\mu_k$ the mel value of FFT bin $k$. The triangles are straight in mel, not in Hz; that is how Kaldi does it,
# the speech toolkit whose features AST took over.

# %%
edges = np.linspace(features.mel_from_hz(20), features.mel_from_hz(rate / 2), 130)
mu = features.mel_from_hz(np.arange(fft_size // 2) * rate / fft_size)  # FFT bins 0 to 255, without Nyquist

bank = np.zeros((fft_size // 2 + 1, 128))
for m in range(128):
    rising = (mu - edges[m]) / (edges[m + 1] - edges[m])
    falling = (edges[m + 2] - mu) / (edges[m + 2] - edges[m + 1])
    bank[:-1, m] = np.maximum(0, np.minimum(rising, falling))

difference = np.abs(bank - features.mel_filterbank()).max()
print("by hand", bank.shape, f"largest difference to minast's: {difference:.0e}")
assert difference < 1e-12

# %%
draw.filterbanks(features.mel_filterbank(rate, 12), bank[:, :24], np.arange(257) * rate / fft_size)
peaks = bank.max(axis=0)
print(f"tallest dot, mean: lowest 24 filters {peaks[:24].mean():.2f}, top 24 {peaks[-24:].mean():.2f}")

# %% [markdown]
# The 12 triangles overlap by half. The lowest of AST's 128 are hardly triangles: most catch a single FFT bin, and
# seldom with their peaks.
#
# ## 1.10 The empty filter
#
# FFT bins are 31.25 Hz apart, and the first mel filters are narrower than that. Some triangle may fall between two
# bins:

# %%
print("empty filters:", np.flatnonzero(bank.sum(axis=0) == 0))
print("filters that see a single FFT bin:", np.count_nonzero((bank > 0).sum(axis=0) == 1))
print("edges of filter 3:", features.hz_from_mel(edges[3:6]).round(2), "Hz")
print("FFT bins 2 and 3:", 2 * rate / fft_size, 3 * rate / fft_size, "Hz")
assert np.flatnonzero(bank.sum(axis=0) == 0).tolist() == [3]

corners = [features.hz_from_mel(edges[m : m + 3]) for m in range(8)]
draw.empty_filter(corners, np.arange(6) * rate / fft_size, empty=3)

# %% [markdown]
# Filter 3 reaches from 62.96 to 93.01 Hz and holds neither bin: its value is 0 for every sound in the world. That is
# no bug to be repaired: published AST weights were trained with that dead row. It is a thing to know before you
# wonder about a constant line in a picture.
#
# ### Exercise 1.4 ★★ Find the dead rows of any model
#
# Write `empty_filters(rate, fft_size, mel_bins)`: which filters catch no FFT bin? Return their numbers, counted from 0.
# Take the bins 0 to `fft_size // 2 - 1`; a bin that lies exactly on the edge of a filter is not inside. The `mel_bins +
# 2` edges run from 20 Hz to `rate / 2`. `features.mel_from_hz` is at hand; `features.mel_filterbank` would be cheating.
#
# <details><summary>Hint</summary>
#
# Bring edges and bins to mel. Filter $m$ reaches from edge $m$ to edge $m + 2$: is any bin strictly between them? Two
# loops do; a comparison of `bins[:, None]` with `edges[:-2]` and `edges[2:]` is shorter.
#
# </details>
#
# [Solution](solutions/sound_to_pictures.py)


# %%
def empty_filters(rate, fft_size, mel_bins):
    return ...  # your code: replace this line


# %%
check.empty_filters(empty_filters)

# %%
rows = []
for r in (8000, 16000, 22050, 32000, 44100):
    empty = np.flatnonzero(features.mel_filterbank(r).sum(axis=0) == 0)
    rows.append((r, features.sizes(r)[2], ", ".join(map(str, empty)) or "none"))
show.table(rows, ["rate (Hz)", "FFT length", "empty filters of 128"])

# %% [markdown]
# The FFT length is the smallest power of two that holds 25 ms. From 22 050 Hz on the bins lie close enough for every
# filter.
#
# ## 1.11 The logarithm, and its floor
#
# Power is heard in ratios, and a network likes numbers of moderate size, so the last step is a natural logarithm.
# Its unit is the **nat**. A factor of 10 in power is $\ln 10 = 2.30$ nats or 10 dB, so 1 nat is 4.34 dB. Doubling all
# samples of a recording multiplies all powers by 4 and *adds* the same $\ln 4 = 1.39$ to the whole picture: level
# becomes an offset, and the shape stays.
#
# The logarithm of silence would be minus infinity. So powers are first raised to at least $2^{-23} \approx 1.19 \cdot
# 10^{-7}$, the step from 1 to the next 32-bit float, and silence is $\ln 2^{-23} = -15.94$. That is also the value of
# the empty filter.

# %%
print(
    f"a factor of 10 in power: {np.log(10):.2f} nats, 10 dB; 1 nat is {10 / np.log(10):.2f} dB; ln 4 = {np.log(4):.2f}"
)
print(f"the floor: 2^-23 = {features.LOG_FLOOR:.2e}, its logarithm {np.log(features.LOG_FLOOR):.2f}")
assert features.LOG_FLOOR == 2**-23 == np.finfo(np.float32).eps

# %%
summed = power["bird"] @ bank  # (98, 257) @ (257, 128): all filters of all frames at once
mel = np.log(np.maximum(summed, features.LOG_FLOOR))
print("log-mel", mel.shape, f"from {mel.min():.2f} to {mel.max():.2f} nats")
print("row 3 is", np.unique(mel[:, 3]).round(4))

difference = np.abs(mel - minast.log_mel(wave))
print(f"against minast.log_mel: largest difference {difference.max():.0e}")
assert mel.shape == (98, 128) and difference.max() < 1e-2

louder = minast.log_mel(2 * wave) - minast.log_mel(wave)
audible = minast.log_mel(wave) > -10
print(f"twice the amplitude adds {np.median(louder[audible]):.4f} nats; ln 4 = {np.log(4):.4f}")

# %% [markdown]
# That is the whole of AST's ear. minast computes in float32, a block of frames at a time so that everything stays in
# the processor's cache, but line by line it does the same (`taper` is the window, `bank` the filters):

# %%
show.source(minast.log_mel, start="taper, bank", stop="threads.run")

# %% [markdown]
# ## 1.12 What the model sees
#
# All ten sounds, as 98 frames by 128 mel bins. Cover the titles and guess.

# %%
show.spectrograms({label: minast.log_mel(w) for label, w in sounds.items()})

# %% [markdown]
# Where there is sound at the lowest pitches, as in the engine's, a thin dark line crosses it near the bottom: filter 3.
#
# The paper calls the input of a clip of $t$ seconds a "128 x 100t spectrogram": 128 mel bins, 100 frames a second.
# Exactly it is $100\,t - 2$ frames, as we counted: 998 for 10 s. A model, though, wants one fixed size. AST takes 1024
# frames for the clips of 10 s in [AudioSet](https://research.google.com/audioset/), the collection of sounds that it was
# trained on. What a model has learned
# are its **weights**, a large set of numbers, and three conventions belong to the weights that AST's authors published:
#
# 1. Of a longer clip the first frames are kept; a shorter one is **padded at its end with the number 0**. Zero is not
#    silence: silence is -15.94, and 0 lies near the top of the bird's range, which was printed above.
# 2. Then it is normalised: $(x - \text{mean})/(2 \cdot \text{std})$, with mean and deviation over all training clips.
#    Twice the deviation looks like a slip and is AST's choice: values get a deviation of one half.
# 3. In this order.
#
# ### Exercise 1.5 ★ Predict, then write
#
# First, on paper: does the padding come out above or below the mean of the training clips, and silence? Then write
# `model_input(mel, frames, mean, std)`: mel (T, F) to (frames, F), cut or padded, then normalised. The cell after the
# check prints both values.
#
# <details><summary>Hint</summary>
#
# `np.concatenate` with zeros, or a zero array into which the frames are copied. And mind what `a / 2 * b` does.
#
# </details>
#
# [Solution](solutions/sound_to_pictures.py)


# %%
def model_input(mel, frames, mean, std):
    return ...  # your code: replace this line


# %%
check.model_input(model_input)

# %%
settings = minast.FeatureConfig()  # AudioSet's mean and deviation
mean, std = settings.mean, settings.std
x = features.normalise(features.pad_or_trim(minast.log_mel(wave), 120), mean, std)
ends = features.normalise(np.array([np.log(features.LOG_FLOOR), 0.0]), mean, std)
print(f"AudioSet: mean {mean:.2f} nats, deviation {std:.2f} nats")
print(f"x (frames, mel bins) = {x.shape}; silence becomes {ends[0]:.3f}, padding {ends[1]:.3f}")
assert x.shape == (120, 128) and np.allclose(ends, [-1.278, 0.467], atol=5e-4)

show.spectrogram(x, "bird, 98 frames padded to 120: a model's input", unit="normalised log power")

# %% [markdown]
# The padding is a bright, flat block. A model that is trained with it learns to ignore it; one that meets another padding
# than it was trained with sees a sound that never was.
#
# ## What to remember
#
# * A waveform at rate $r$ holds frequencies up to $r/2$. A frame of 25 ms every 10 ms gives about 100 frames a second.
# * Cutting a frame smears each tone into the window's own transform. Windows trade a wider peak for less leakage;
#   Hann falls off fast, Hamming is lowest near by.
# * The log-mel spectrogram: |FFT|$^2$, triangles that are equally spaced in mel, natural logarithm with a floor at
#   -15.94.
# * Level is an offset in it. At 16 kHz with 128 filters row 3 is dead.
# * Padding with 0 comes before normalisation by twice the deviation, and belongs to the weights as much as the
#   numbers in them.
#
# ## Where this is in minast
#
# * [minast/features.py](../minast/features.py): `log_mel`, `mel_filterbank`, `window_function`, `fit`, `normalise`;
#   held against torchaudio's Kaldi features by [tests/model/test_golden.py](../tests/model/test_golden.py) and against the
#   definition, one filter at a time, by [tests/sound/test_features.py](../tests/sound/test_features.py).
# * [minast/audio/](../minast/audio/): files of any format and rate to a waveform.
# * [minast/datasets/synthetic/generate.py](../minast/datasets/synthetic/generate.py), [sounds.py](../minast/datasets/synthetic/sounds.py): how the ten
#   sounds are made.
# * [solutions/sound_to_pictures.py](solutions/sound_to_pictures.py): the exercises, solved.
#
# ## Next
#
# [2. Patches](02_patches.ipynb): how the picture is cut into the pieces that a transformer reads as words.
