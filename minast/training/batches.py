"""From stored features to what a training step takes: which clips, in which order, how augmented.

Every random number comes from (seed, purpose, epoch, step), so that a run can stop at any step and go on as if it had
not: there is no generator whose state would have to be kept.
"""

import numpy as np

from .. import augment
from ..features import normalise, pad_or_trim, segments

ORDER, AUGMENT = 1, 2  # purposes


def order(clips, config, epoch):
    """The clips of an epoch in random order.   -> (clips,) whole numbers"""
    return np.random.default_rng([config.seed, ORDER, epoch]).permutation(clips)


def steps_per_epoch(clips, batch):
    """Whole batches in an epoch; a rest is left out, unless it is all there is."""
    return max(1, clips // batch)


def training_batch(store, targets, chosen, features, config, epoch, step):
    """-> x (B, frames, F) normalised, y (B, K) soft targets."""
    rng = np.random.default_rng([config.seed, AUGMENT, epoch, step])
    on = epoch >= config.augment_from
    mels, rows = [], []
    for i in chosen:
        mel, y = augment.crop(store[i], features.frames, rng), targets[i]
        if on and config.mixup and rng.random() < config.mixup:
            j = int(rng.integers(len(store)))
            share = augment.mixup_share(rng)
            mel = augment.mix(mel, augment.crop(store[j], features.frames, rng), share)
            y = share * y + (1 - share) * targets[j]
        if on and config.gain:
            mel = augment.gain(mel, config.gain, rng)
        mels.append(pad_or_trim(mel, features.frames))
        rows.append(y)
    x = np.stack(mels)
    if on and config.freq_mask:
        x = augment.mask(x, config.freq_mask, 2, rng)
    if on and config.time_mask:
        x = augment.mask(x, config.time_mask, 1, rng)
    x = normalise(x, features.mean, features.std)
    if on and config.noise:
        x = augment.noise(x, rng)
    if on and config.roll:
        x = augment.roll(x, config.roll, rng)
    return x, np.stack(rows).astype(np.float32)


def hits(scores, y):
    """Clips whose highest score is one of their labels (the strongest, for mixed ones).   scores, y (B, K) -> int"""
    return int((y[np.arange(len(y)), scores.argmax(axis=1)] >= y.max(axis=1)).sum())


def model_inputs(mel, features):
    """All windows of one clip, padded and normalised.   (T, F) -> (W, frames, F)"""
    return normalise(segments(mel, features.frames), features.mean, features.std)
