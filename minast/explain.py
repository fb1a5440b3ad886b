"""What does the model look at? Attention maps, attention rollout, gradient-weighted attention, input x gradient.

All of these are computed from the model's own forward and backward pass: its layer functions are wrapped, so that
attention also shows its probabilities A and the gradient dA of one class's logit by them. Nothing of the model changes,
its gradients `dw` neither. Results are NumPy arrays.

How such pictures mislead. They always show something, also for weights drawn by chance (Adebayo et al. 2018, "Sanity
checks for saliency maps"): redraw the weights and see whether the map changes. Rollout knows no class. A map of the
wrong class looks as convincing as one of the right class. And no map says what the model would do without a patch:
`deletion` asks that, of inputs that are then unlike all that it was trained on. Shapes: as in layers.py, L layers.
"""

import math

import numpy as np

from .bfloat16 import to_float32
from .config import PATCH
from .errors import Error
from .features import frame_count, hz_of, sizes
from .layers import array_module, unfold_backward

TOKENS = 2048  # that go through the model at once: the probabilities of a layer take heads * tokens^2 numbers a clip


# -- maps ----------------------------------------------------------------------------------------------------------


def attention_maps(model, x):
    """A = softmax(q k^T / sqrt(D)) of each layer.   x (B, T, F) normalised -> L arrays (B, H, tokens, tokens)

    A[b, h, i, j] is the share of token j in what head h gathers for token i; rows sum to 1. Of the last layer only the
    rows of the prefix tokens reach the head, and only they are computed: (B, H, P, tokens). Prefix tokens come first,
    then patch f * grid_time + t. For 10 s and AST base a clip takes 0.8 GB: prefer `rollout`, which keeps no heads.
    """
    return _by_layer(model, x, "forward", lambda seen, at: seen.forward(x[at]))


def attention_gradients(model, x, classes=None):
    """dA, the gradient of a class's logit by each probability, shapes as `attention_maps`.   classes: see `relevance`

    dA = do v^T, where do is the gradient by the head's output o = A v: the step in attention's backward pass before
    softmax. Each probability counts as free, so that rows need not sum to 0.
    """
    chosen = _classes(model, x, classes)
    last_first = _by_layer(model, x, "backward", lambda seen, at: seen.input_grad(x[at], _one_hot(model, chosen[at])))
    return last_first[::-1]


def rollout(model, x):
    """Attention rollout: mean over prefix tokens of (B_L ... B_2 B_1), B = (A + I) / 2.   x (B, T, F) -> (B, gf, gt)

    A is the mean over heads. B's rows sum to 1, those of the product too: what the patches lack is the share of the
    prefix tokens. The half of I stands for the residual stream. Source: Abnar and Zuidema 2020, "Quantifying attention
    flow in transformers". Misleading: it knows attention alone, neither values, MLPs nor the head, so that it is the
    same for each class, and after many layers of flat attention nearly the same for each patch.
    """

    def heads_mean(part):
        maps = []
        _watched(model, forward=lambda p: maps.append(p.mean(axis=1, keepdims=True))).forward(part)
        return model.numpy(roll(maps))

    rows = np.concatenate([heads_mean(x[at]) for at in _parts(model, x)])
    return patch_grid(model.config, rows)


def roll(maps):
    """The product that `rollout` names, from the last layer to the first: one row times a matrix each.

    maps: L arrays (B, H, tokens, tokens), the last may hold its first P rows only -> (B, tokens); rows sum to 1
    """
    rows = None
    for p in reversed(maps):
        p = p.mean(axis=1)  # (B, tokens or P, tokens)
        if rows is None:
            xp, (P, tokens) = array_module(p), p.shape[1:]
            rows = 0.5 * p + 0.5 * xp.eye(P, tokens, dtype=p.dtype)
        else:
            rows = 0.5 * (rows @ p) + 0.5 * rows
    return rows.mean(axis=1)


def relevance(model, x, classes=None):
    """Gradient-weighted attention: R = (I + G_L) ... (I + G_1), G = mean over heads of max(dA * A, 0).

    x (B, T, F) normalised -> (B, gf, gt): the prefix tokens' rows of R (their mean), at the patches. Never negative.
    dA is the gradient of one class's logit by A: dA * A is about what the logit would lose without that probability, in
    logits; products of layers are of mixed order, so only compare patches of one clip. classes: a class number, one a
    clip, or None for the likeliest. Source: Chefer, Gur, Wolf, ICCV 2021, "Generic attention-model explainability",
    the rule R <- R + G R for self-attention, here from the last layer to the first, which needs rows alone.
    Misleading: it drops all that speaks against the class, and asks for no class whether it is there at all.
    """
    chosen, xp, P = _classes(model, x, classes), model.xp, model.config.prefix_tokens

    def prefix_rows(part, classes):
        rows = xp.eye(P, model.config.tokens, dtype=model.dtype)[None]  # (1, P, tokens): the prefix rows of I

        def backward(p, dp):  # the last layer comes first, its p has the rows of the prefix tokens alone
            nonlocal rows
            weighted = xp.maximum(p * dp, 0).mean(axis=1)  # (B, tokens or P, tokens)
            rows = rows + rows[:, :, : weighted.shape[1]] @ weighted

        _watched(model, backward=backward).input_grad(part, _one_hot(model, classes))
        return model.numpy(rows.mean(axis=1))

    rows = np.concatenate([prefix_rows(x[at], chosen[at]) for at in _parts(model, x)])
    return patch_grid(model.config, rows)


def input_relevance(model, x, classes=None):
    """Input x gradient: x * d logit / d x, signed, in logits.   x (B, T, F) normalised -> (B, T, F)

    The first-order change of the class's logit were an entry set to 0, which is the training data's mean, not silence.
    Where no patch looks it is exactly 0. classes: as in `relevance`. Misleading: noisy from bin to bin, since gradients
    of deep networks are; near 0 where x is near its mean, however much the model relies on it.
    """
    chosen, x = _classes(model, x, classes), model._checked(x)
    seen = _watched(model)
    return np.concatenate(
        [model.numpy(x[at] * seen.input_grad(x[at], _one_hot(model, chosen[at]))) for at in _parts(model, x)]
    )


# -- patches and spectrograms --------------------------------------------------------------------------------------


def patch_grid(config, rows):
    """What belongs to the patches of something that has a number a token.   (..., P + N) -> (..., gf, gt)"""
    return rows[..., config.prefix_tokens :].reshape(*rows.shape[:-1], *config.grid)


def on_spectrogram(config, patches):
    """Each frame and bin gets the mean of the patches that see it, 0 if none does.   (B, gf, gt) -> (B, T, F)"""
    patches = np.asarray(patches, np.result_type(patches, np.float32))
    if patches.ndim != 3 or patches.shape[1:] != config.grid:
        raise Error(
            f"the patch values have shape {patches.shape}: this model's are (clips, {config.grid[0]} along "
            f"frequency, {config.grid[1]} along time)."
        )
    cache = ((len(patches), config.frames, config.mel_bins), config.fstride, config.tstride, PATCH)

    def spread(values):  # unfold's adjoint sums what all patches say about an entry
        return unfold_backward(np.repeat(values.reshape(len(values), -1, 1), PATCH * PATCH, axis=2), cache)

    return spread(patches) / np.maximum(spread(np.ones_like(patches)), 1)


def deletion(model, x, values, classes, shares, fill=0.0, block=(8, 16)):
    """Logits of a class as ever more of the input is deleted, what `values` calls most relevant first.

    x (B, T, F) normalised; values (B, T, F), any map; shares: of the area to delete, each 0 to 1; fill: what stands in
    its place, a number or anything that broadcasts to x. Deleted are blocks of `block` frames x bins by the mean of
    their values, so that different maps delete equal areas of equal shape. -> (len(shares), B)
    Compare with random `values`; a good map falls faster. With another `fill` the answer may be another.
    """
    x, chosen = model.numpy(model._checked(x)), _classes(model, x, classes)
    if np.shape(values) != x.shape:
        raise Error(f"the map has shape {np.shape(values)}, the input {x.shape}: they must be the same.")
    (B, T, F), (dt, df) = x.shape, block
    gt, gf = T // dt, F // df  # what is left over at the ends is never deleted
    mean = np.asarray(values)[:, : gt * dt, : gf * df].reshape(B, gt, dt, gf, df).mean(axis=(2, 4)).reshape(B, -1)
    rank = np.argsort(np.argsort(-mean, axis=1, kind="stable"), axis=1).reshape(B, gt, gf)  # 0: the most relevant
    out = np.empty((len(shares), B))
    for row, share in zip(out, shares, strict=True):
        gone = np.zeros(x.shape, bool)
        gone[:, : gt * dt, : gf * df] = (rank < round(share * gt * gf)).repeat(dt, axis=1).repeat(df, axis=2)
        row[:] = model.numpy(model.forward(np.where(gone, fill, x)))[np.arange(B), chosen]
    return out


def heard(wave, values, rate=16000):
    """The sound that a map leaves: each time and frequency weighed by the map, 1 where it is largest.

    wave (S,), values (T, F), not negative, of `log_mel(wave, rate)` -> (S,). The gain of a frequency is interpolated
    between mel bins, that of a moment between frames; phases stay. Misleading: the ear takes for "what the model used"
    what may be a patch's whole width (16 frames, 16 bins) around it.
    """
    from scipy.signal import istft, stft

    frame, shift, fft_size = sizes(rate)
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or len(values) != frame_count(len(wave), rate) or not values.min() >= 0:
        raise Error(
            f"the map has shape {values.shape} and its least value is {values.min() if values.size else 'none'}: it "
            f"must be ({frame_count(len(wave), rate)} frames of this sound, mel bins) and not negative."
        )
    hz, seconds, spectrum = stft(wave, rate, nperseg=fft_size, noverlap=fft_size - shift)  # (bins, frames)
    T, F = values.shape
    gain = values / (values.max() or 1)
    gain = np.stack([np.interp(seconds, (np.arange(T) * shift + frame / 2) / rate, g) for g in gain.T])  # (F, frames)
    gain = np.stack([np.interp(hz, hz_of(np.arange(F), rate, F), g) for g in gain.T], axis=1)  # (bins, frames)
    return istft(gain * spectrum, rate, nperseg=fft_size, noverlap=fft_size - shift)[1][: len(wave)]


# -- the model, watched --------------------------------------------------------------------------------------------


class Watched:
    """Layer functions of any backend; attention also calls forward(p) and backward(p, dp), both (B, H, rows, T).

    With a `bias` (of qkv, which the kernels of 16-bit types add themselves) p and dp are those of the sums, in float32.
    """

    def __init__(self, layers, forward=None, backward=None):
        self.layers, self.forward, self.backward = layers, forward, backward

    def __getattr__(self, name):
        return getattr(self.layers, name)

    def attention_forward(self, qkv, heads, **bias):
        seen = _with_bias(qkv, **bias)  # first: a kernel leaves queries with their bias
        o, cache = self.layers.attention_forward(qkv, heads, **bias)
        if self.forward:
            self.forward(_probabilities(*_split(seen, 3, heads)[:2]))
        return o, (seen, heads, cache)

    def attention_backward(self, do, cache, **options):
        qkv, heads, cache = cache
        if self.backward:
            q, k, v = _split(qkv, 3, heads)
            self.backward(_probabilities(q, k), _split(_with_bias(do), 1, heads)[0] @ v.swapaxes(-1, -2))
        return self.layers.attention_backward(do, cache, **options)

    def class_attention_forward(self, q, kv, heads, **bias):
        C, both = q.shape[-1], bias.get("bias")
        queries = _with_bias(q, None if both is None else both[:C])
        keys = _with_bias(kv, None if both is None else both[C:])
        o, cache = self.layers.class_attention_forward(q, kv, heads, **bias)
        if self.forward:
            self.forward(_probabilities(_split(queries, 1, heads)[0], _split(keys, 2, heads)[0]))
        return o, (queries, keys, heads, cache)

    def class_attention_backward(self, do, cache):
        q, kv, heads, cache = cache
        if self.backward:
            k, v = _split(kv, 2, heads)
            p = _probabilities(_split(q, 1, heads)[0], k)
            self.backward(p, _split(_with_bias(do), 1, heads)[0] @ v.swapaxes(-1, -2))
        return self.layers.class_attention_backward(do, cache)


def _with_bias(x, bias=None):
    """x + bias; x itself if there is none. 16-bit numbers become float32."""
    x = to_float32(x) if x.dtype.itemsize == 2 else x
    return x if bias is None else x + bias


def _split(x, parts, heads):
    """(B, T, parts H D) -> (parts, B, H, T, D)"""
    B, T, C = x.shape
    return x.reshape(B, T, parts, heads, C // parts // heads).transpose(2, 0, 3, 1, 4)


def _probabilities(q, k):
    """softmax(q k^T / sqrt(D)).   q (B, H, rows, D), k (B, H, T, D) -> (B, H, rows, T)"""
    xp = array_module(q)
    p = (q * q.shape[-1] ** -0.5) @ k.swapaxes(-1, -2)
    p -= p.max(axis=-1, keepdims=True)
    xp.exp(p, out=p)
    p /= p.sum(axis=-1, keepdims=True)
    return p


def _watched(model, forward=None, backward=None):
    """The same model with `Watched` attention; it adds its gradients to an array of its own."""
    return model.with_layers(Watched(model.layers, forward, backward))


def _parts(model, x):
    """Slices of clips that go through the model together, few enough that `forward` does not cut them again."""
    clips = len(model._checked(x))
    if not clips:
        raise Error("there are no clips in the input: it must hold at least one.")
    tokens = min(TOKENS, (model.backend.batch_numbers or math.inf) / model.config.dim)
    step = max(1, int(tokens // model.config.tokens))
    return [slice(i, i + step) for i in range(0, clips, step)]


def _by_layer(model, x, hook, run):
    """What attention tells `hook` (p forwards, dp backwards), by layer in the order it ran, clips put together."""
    parts = []
    for at in _parts(model, x):
        found = []
        run(_watched(model, **{hook: lambda *told, found=found: found.append(model.numpy(told[-1]))}), at)
        parts.append(found)
    return [np.concatenate(layer) for layer in zip(*parts, strict=True)]


def _one_hot(model, classes):
    """The gradient by the logits that picks one class a clip.   (B,) -> (B, K)"""
    return np.eye(model.config.classes, dtype=model.dtype)[classes]


def _classes(model, x, classes):
    """One class number a clip: (B,)"""
    clips, K = len(model._checked(x)), model.config.classes
    if classes is None:
        return model.numpy(model.forward(x)).argmax(axis=1)
    chosen = np.asarray(classes)
    if chosen.dtype.kind not in "iu" or chosen.shape not in ((), (clips,)):
        raise Error(f"classes are {classes!r}: give one class number, or one for each of the {clips} clips.")
    if chosen.size and not (chosen.min() >= 0 and chosen.max() < K):
        raise Error(f"classes are {classes!r}: the model has the {K} classes 0 to {K - 1}.")
    return np.broadcast_to(chosen, (clips,))
