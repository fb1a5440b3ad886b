"""Solutions of the exercises of 01_sound_to_pictures."""

import numpy as np

from minast import features


def at_level(wave, level):
    now = 20 * np.log10(np.sqrt(np.mean(wave**2)))
    return wave * 10 ** ((level - now) / 20)  # the missing dB, as a factor of an amplitude


def frame_count(samples, length, shift):
    if samples < length:  # floor division of a negative number would give something below one
        return 0
    return 1 + (samples - length) // shift  # the first frame, and as many shifts as still fit


def lowest_side_lobe(length):
    k = np.arange(length)

    def highest(a):
        w = a - (1 - a) * np.cos(2 * np.pi * k / (length - 1))
        lobe = np.abs(np.fft.rfft(w, 2**16)) / w.sum()
        valley = np.flatnonzero(np.diff(lobe) > 0)[0]  # where the main lobe ends
        return lobe[valley:].max()

    return min(np.arange(0.5, 0.6, 0.0005), key=highest)


def empty_filters(rate, fft_size, mel_bins):
    edges = np.linspace(features.mel_from_hz(20), features.mel_from_hz(rate / 2), mel_bins + 2)
    bins = features.mel_from_hz(np.arange(fft_size // 2) * rate / fft_size)
    # inside[k, m]: does FFT bin k lie strictly between the outer edges of filter m?
    inside = (bins[:, None] > edges[:-2]) & (bins[:, None] < edges[2:])
    return np.flatnonzero(~inside.any(axis=0))


def model_input(mel, frames, mean, std):
    mel = mel[:frames]
    padding = np.zeros((frames - len(mel), mel.shape[1]))  # zeros, and before the normalisation: AST's choice
    return (np.concatenate([mel, padding]) - mean) / (2 * std)
