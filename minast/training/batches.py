"""From the features of clips to the batches of a run: which clips, in which order, how augmented.

Every random number comes from (seed, purpose, epoch, place of the clip in it), so that a run can stop at any step and
continue as if it had not, also with another number of processes: there is no generator whose state would have to be
saved.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from .. import augment
from ..config import FeatureConfig, TrainConfig
from ..errors import Error
from ..features import log_mel, normalise, pad_or_trim, sizes
from .waveforms import NO_WAVES, Waveforms, mixes_waveforms

ORDER, AUGMENT, PATCHES = 1, 2, 3  # purposes


def order(clips: int, config: TrainConfig, epoch: int) -> np.ndarray:
    """The clips of an epoch, counted from 0, in random order.   -> (clips,) indices"""
    return permutation(clips, config.seed, epoch)


@lru_cache(maxsize=2)  # two million numbers take 16 MB and 50 ms: as long as a step
def permutation(clips: int, seed: int, epoch: int) -> np.ndarray:
    """`order`, made once an epoch; read-only."""
    found = np.random.default_rng([seed, ORDER, epoch]).permutation(clips)
    found.flags.writeable = False
    return found


def steps_per_epoch(clips: int, batch: int) -> int:
    """Full batches in an epoch; clips that do not fill one are left out, unless there are no others."""
    return max(1, clips // batch)


def training_batch(
    mels: Sequence[np.ndarray],
    targets: np.ndarray,
    chosen: Sequence[int],
    features: FeatureConfig,
    config: TrainConfig,
    epoch: int,
    step: int,
    waves: Waveforms = NO_WAVES,
    draws: str = "batch",
    part: slice | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The clips `chosen`, augmented as `config` says, in AST's order (see augment.py).

    mels: log-mels (T, F) of all n training clips, such as a FeatureCache. targets (n, K). epoch, and step within it,
    are counted from 0 and seed the augmentation. waves: waveforms, where `config` mixes them; the log-mel of a mixture
    is computed once, at the end. A clip that is not mixed with anything has its log-mel from `mels`: AST subtracts the
    mean of its waveform as well, but so does `log_mel` of each frame.
    draws "clip": the random numbers of a clip come from its place in the epoch, so that a `part` of the batch, that of
    one of several processes, is the same whoever makes it, and needs no other clips. "batch": those of the whole batch
    come from one generator, as in version 0.3 and before; a part is then cut from the whole.
    -> x (B, frames, F) float32, normalised; y (B, K) float32, soft where clips are mixed
    Raises minast.Error if waveforms are needed and not there.
    """
    if mixes_waveforms(config) and (waves.clips is None or (config.background and waves.background is None)):
        raise Error("this augmentation mixes waveforms: pass `waves`, or use mixup_of='power' without a background.")
    part = slice(0, len(chosen)) if part is None else part
    source, on = (mels, targets, features, config, waves), epoch >= config.augment_from
    if draws == "batch":
        rng = np.random.default_rng([config.seed, AUGMENT, epoch, step])
        made = [one_clip(i, on, rng, *source) for i in chosen]
        x = changed(np.stack([mel for mel, _ in made]), on, rng, features, config)[part]
        made = made[part]
    else:
        places = range(step * len(chosen), (step + 1) * len(chosen))[part]
        generators = [np.random.default_rng([config.seed, AUGMENT, epoch, place]) for place in places]
        made = [one_clip(i, on, rng, *source) for i, rng in zip(chosen[part], generators, strict=True)]
        pairs = zip(made, generators, strict=True)
        x = np.concatenate([changed(mel[None], on, rng, features, config) for (mel, _), rng in pairs])
    return x, np.stack([y for _, y in made]).astype(np.float32)


def one_clip(
    i: int,
    on: bool,
    rng: np.random.Generator,
    mels: Sequence[np.ndarray],
    targets: np.ndarray,
    features: FeatureConfig,
    config: TrainConfig,
    waves: Waveforms,
) -> tuple[np.ndarray, np.ndarray]:
    """Clip i, a piece of it if it is long, mixed with others if augmentation is `on`.   -> (frames, F), (K,)"""
    start = augment.place(len(mels[i]), features.frames, rng)
    mel, y, wave = mels[i][start : start + features.frames], targets[i], None
    if on and config.mixup and rng.random() < config.mixup:
        j = int(rng.integers(len(mels)))
        share = augment.mixup_share(rng)
        second = augment.place(len(mels[j]), features.frames, rng)
        if config.mixup_of == "waveform":
            wave = augment.mix_waves(piece(waves, i, start, features), piece(waves, j, second, features), share)
        else:
            mel = augment.mix(mel, mels[j][second : second + features.frames], share)
        y = share * y + (1 - share) * targets[j]
    if on and config.background and rng.random() < config.background:
        wave = piece(waves, i, start, features) if wave is None else wave
        under = augment.excerpt(waves.background[int(rng.integers(len(waves.background)))], len(wave), rng)
        wave = augment.mix_background(wave, under, rng.uniform(*augment.SNR))
    if wave is not None:
        mel = log_mel(wave, features.rate, features.mel_bins, features.window)
    if on and config.gain:
        mel = augment.gain(mel, config.gain, rng)
    return pad_or_trim(mel, features.frames), smoothed(y, config)


def changed(
    x: np.ndarray, on: bool, rng: np.random.Generator, features: FeatureConfig, config: TrainConfig
) -> np.ndarray:
    """Log-mels of clips, normalised; masked, noisy and shifted if augmentation is `on`.   (B, frames, F) -> the same"""
    if on and config.freq_mask:
        x = augment.mask(x, config.freq_mask, 2, rng)
    if on and config.time_mask:
        x = augment.mask(x, config.time_mask, 1, rng)
    x = normalise(x, features.mean, features.std)
    if on and config.noise:
        x = augment.noise(x, rng)
    if on and config.roll:
        x = augment.roll(x, config.roll, rng)
    return x


def smoothed(y: np.ndarray, config: TrainConfig) -> np.ndarray:
    """Targets with label smoothing e: (1 - e) y + e / K for "ce", (1 - e) y + e / 2 for "bce".   y (K,) -> the same

    Each is the mixture with the target of someone who knows nothing: all K classes alike, or yes and no alike for each.
    Source: Szegedy et al. 2016, "Rethinking the inception architecture", section 7.
    """
    e = config.label_smoothing
    return (1 - e) * y + e / (len(y) if config.loss == "ce" else 2) if e else y


def piece(waves: Waveforms, i: int, start: int, features: FeatureConfig) -> np.ndarray:
    """The samples of the frames from `start` on that a model's input holds, of training clip i; fewer at its end."""
    frame, shift, _ = sizes(features.rate)
    return waves.clips[i][start * shift : (start + features.frames - 1) * shift + frame]


def patches_kept(
    clips: int,
    patches: int,
    config: TrainConfig,
    epoch: int,
    step: int,
    draws: str = "batch",
    part: slice | None = None,
) -> np.ndarray | None:
    """Patchout: which of its `patches` each clip of a batch keeps, as `AST.loss_and_grad` takes it; None without.

    -> (clips, n) int32, n = (1 - config.patchout) patches, rounded, at least 1: drawn for each clip on its own, without
    regard to their places (unstructured). epoch, and step within it, from 0, seed the draw. draws, part: as in
    `training_batch`.
    Source: Koutini et al. 2022, "Efficient training of audio transformers with patchout", section 2.3.
    """
    if not config.patchout:
        return None
    n, part = max(1, round((1 - config.patchout) * patches)), slice(0, clips) if part is None else part
    if draws == "batch":
        numbers = np.random.default_rng([config.seed, PATCHES, epoch, step]).random((clips, patches), np.float32)[part]
    else:
        places = range(step * clips, (step + 1) * clips)[part]
        seeds = ([config.seed, PATCHES, epoch, place] for place in places)
        numbers = np.stack([np.random.default_rng(seed).random(patches, np.float32) for seed in seeds])
    order = numbers.argpartition(n - 1, axis=1)
    return np.sort(order[:, :n], axis=1).astype(np.int32)


def hits(scores: np.ndarray, y: np.ndarray) -> int:
    """Clips whose highest score is one of their labels (the strongest, for mixed ones).   scores, y (B, K) -> int

    A clip without labels has no right guess: its targets are all the same, 0 or what label smoothing makes of it.
    """
    best, guessed = y.max(axis=1), y[np.arange(len(y)), scores.argmax(axis=1)]
    return int(((guessed >= best) & ((best > y.min(axis=1)) | (best > 0.5))).sum())
