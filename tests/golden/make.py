"""Write the golden files with PyTorch, Kaldi and transformers: the only place in this repository that imports them.

Run it in a scratch environment, from the repository's root; nothing else here needs what it installs:

    python -m venv /tmp/golden && . /tmp/golden/bin/activate
    pip install torch --index-url https://download.pytorch.org/whl/cpu
    pip install numpy transformers kaldi-native-fbank
    pip download --no-deps torchaudio -d /tmp/golden
    python tests/golden/make.py /tmp/golden/torchaudio*.whl

It writes, beside itself, always the same bytes from the same library versions (torch 2.13, torchaudio 2.11,
transformers 5.23, kaldi-native-fbank 1.23, NumPy 2.4):

    features.npz     log-mel of `cases.wave` for three rates and two windows, by torchaudio's Kaldi code in float64,
                     after checks against transformers and against Kaldi's own C++ code
    two_tokens.npz   logits, embedding, tokens after each block, losses and every gradient of a 12-layer AST in float64,
    one_token.npz    by autograd, after a check of the two-token model against transformers' AST
    layers.npz       layer norm, GELU, attention, unfold, the losses at +-1000: values and gradients
    optim.npz        weights after each of ten steps of Adam and AdamW, clipped gradients, learning rates

Inputs are not stored: `cases.py` makes them again. This file shares no code with minast.
"""

import sys
import types
import warnings
import zipfile
from functools import cache
from pathlib import Path

import cases
import kaldi_native_fbank
import numpy as np
import torch
import torch.nn.functional as F
from transformers import ASTConfig, ASTForAudioClassification
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

HERE = Path(__file__).parent
FLOOR = 1.1920928955078125e-07
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)


def tensor(a):
    return torch.tensor(a, requires_grad=np.asarray(a).dtype.kind == "f")


def arrays(tensors):
    return {name: t.detach().numpy() if torch.is_tensor(t) else np.asarray(t) for name, t in tensors.items()}


def save(name, tensors):
    path = HERE / f"{name}.npz"
    np.savez_compressed(path, **arrays(tensors))
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {len(tensors)} arrays")


# -- features --------------------------------------------------------------------------------------------------


def fbank_transformers(wave, rate, window, bins=128):
    frame, fft = rate // 40, 1 << (rate // 40 - 1).bit_length()
    with warnings.catch_warnings(action="ignore"):  # "at least one mel filter has all zero values": AST's has
        bank = {"mel_scale": "kaldi", "norm": None, "triangularize_in_mel_space": True}
        filters = mel_filter_bank(fft // 2 + 1, bins, 20, rate / 2, rate, **bank)
    taper = window_function(frame, window, periodic=False)
    options = {"frame_length": frame, "hop_length": rate // 100, "fft_length": fft, "power": 2.0, "center": False}
    options |= {"preemphasis": 0.97, "mel_filters": filters, "log_mel": "log", "mel_floor": FLOOR}
    return spectrogram(wave, taper, **options, remove_dc_offset=True, dtype=np.float64).T


def fbank_torchaudio(wave, rate, window):
    """The function that the official AST calls, with the options it passes (and the window)."""
    options = {"htk_compat": True, "use_energy": False, "dither": 0.0, "frame_shift": 10, "num_mel_bins": 128}
    options |= {"sample_frequency": rate, "window_type": {"hann": "hanning"}.get(window, window)}
    return torchaudio_kaldi().fbank(torch.tensor(wave, dtype=torch.float64)[None], **options).numpy()


def fbank_kaldi(wave, rate, window, bins):
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq, options.frame_opts.dither = rate, 0.0
    options.frame_opts.window_type = {"hann": "hanning"}.get(window, window)
    options.mel_opts.num_bins = bins
    fbank = kaldi_native_fbank.OnlineFbank(options)
    fbank.accept_waveform(rate, wave.tolist())
    fbank.input_finished()
    return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


@cache
def torchaudio_kaldi():
    """torchaudio/compliance/kaldi.py alone, out of the wheel: the package around it does not load everywhere."""
    source = zipfile.ZipFile(sys.argv[1]).read("torchaudio/compliance/kaldi.py")
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")  # only its mfcc would use the package
    module = types.ModuleType("torchaudio_kaldi")
    exec(compile(source, "kaldi.py", "exec"), module.__dict__)
    return module


def features():
    out = {}
    for rate, bins in cases.RATES.items():
        wave = cases.wave(rate)
        for window in cases.WINDOWS:
            mel = fbank_torchaudio(wave, rate, window)
            theirs, kaldi = fbank_transformers(wave, rate, window), fbank_kaldi(wave, rate, window, bins)
            assert mel.shape == theirs.shape and mel.dtype == np.float64
            errors = abs(mel - theirs).max(), abs(kaldi - fbank_transformers(wave, rate, window, bins)).max()
            print(f"features {rate} Hz {window} {mel.shape}: from torchaudio, transformers differs by {errors[0]:.1e};")
            print(f"    from transformers, Kaldi in float32 with {bins} filters differs by {errors[1]:.1e}")
            assert errors[0] < 1e-6 and errors[1] < 1e-3  # float32 edges of narrow triangles are what Kaldi differs by
            out[f"{window}_{rate}"] = mel.astype(np.float32)
    save("features", out)


# -- model -----------------------------------------------------------------------------------------------------


def weight_shapes(c):
    d, grid = c["dim"], [(c[k] - 16) // c.get(s, 10) + 1 for k, s in (("mel_bins", "fstride"), ("frames", "tstride"))]
    out = {"cls_token": (d,), "dist_token": (d,)} if c["prefix_tokens"] == 2 else {"cls_token": (d,)}
    out["pos_embed"] = (len(out) + grid[0] * grid[1], d)
    linear = {"patch_embed.proj": (d, 256), "mlp_head.1": (c["classes"], d)}
    norms = ["norm", "mlp_head.0"]
    for i in range(12):
        linear |= {f"blocks.{i}.attn.qkv": (3 * d, d), f"blocks.{i}.attn.proj": (d, d)}
        linear |= {f"blocks.{i}.mlp.fc1": (4 * d, d), f"blocks.{i}.mlp.fc2": (d, 4 * d)}
        norms += [f"blocks.{i}.norm1", f"blocks.{i}.norm2"]
    for name, shape in linear.items():
        out |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        out |= {f"{name}.weight": (d,), f"{name}.bias": (d,)}
    return out


def ast(w, x, c, eps, head_eps):
    """-> logits, embedding, the tokens before the first and after every block.   x (B, T, F)"""
    d, prefix = c["dim"], [w[name] for name in ("cls_token", "dist_token") if name in w]

    def linear(name, x):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(name, x, eps):
        return F.layer_norm(x, (d,), w[f"{name}.weight"], w[f"{name}.bias"], eps)

    kernel = w["patch_embed.proj.weight"].reshape(d, 1, 16, 16)
    strides = (c.get("fstride", 10), c.get("tstride", 10))
    x = F.conv2d(x.transpose(1, 2)[:, None], kernel, w["patch_embed.proj.bias"], strides)  # (B, D, gf, gt)
    x = x.flatten(2).transpose(1, 2)  # (B, gf gt, D)
    x = torch.cat([*(token.expand(len(x), 1, d) for token in prefix), x], dim=1) + w["pos_embed"]
    tokens = [x]
    for i in range(12):
        b = f"blocks.{i}"
        qkv = linear(f"{b}.attn.qkv", norm(f"{b}.norm1", x, eps)).unflatten(2, (3, c["heads"], -1))
        h = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))  # (B, H, T, D / H)
        x = x + linear(f"{b}.attn.proj", h.transpose(1, 2).flatten(2))
        h = linear(f"{b}.mlp.fc1", norm(f"{b}.norm2", x, eps))
        x = x + linear(f"{b}.mlp.fc2", F.gelu(h, approximate="tanh" if c.get("gelu") == "tanh" else "none"))
        tokens.append(x)
    embedding = norm("norm", x, eps)[:, : len(prefix)].mean(dim=1)
    return linear("mlp_head.1", norm("mlp_head.0", embedding, head_eps)), embedding, tokens


def check_against_transformers(w, x, c):
    """The same weights in transformers' AST, at its one eps for all norms, must give the same logits."""
    sizes = {"hidden_size": c["dim"], "intermediate_size": 4 * c["dim"], "num_attention_heads": c["heads"]}
    sizes |= {"num_hidden_layers": 12, "num_mel_bins": c["mel_bins"], "max_length": c["frames"]}
    sizes |= {"num_labels": c["classes"]}
    settings = ASTConfig(**sizes, frequency_stride=10, time_stride=10, layer_norm_eps=1e-12, attn_implementation="sdpa")
    model = ASTForAudioClassification(settings).double().eval()
    names = {"audio_spectrogram_transformer.": "", "embeddings.patch_embeddings.projection": "patch_embed.proj"}
    names |= {"embeddings.cls_token": "cls_token", "embeddings.distillation_token": "dist_token"}
    names |= {"embeddings.position_embeddings": "pos_embed", "layers.": "blocks.", "layernorm_before": "norm1"}
    names |= {"layernorm_after": "norm2", "attention.o_proj": "attn.proj", "classifier.dense": "mlp_head.1"}
    names |= {"classifier.layernorm": "mlp_head.0", "layernorm.": "norm."}
    state, used = model.state_dict(), set()
    for key, value in state.items():
        name = key
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        part = next((i for i, p in enumerate("qkv") if f"attention.{p}_proj" in name), None)
        if part is not None:
            name = name.replace(f"attention.{'qkv'[part]}_proj", "attn.qkv")
            value.copy_(w[name].detach().chunk(3)[part])
        else:
            value.copy_(w[name].detach().reshape(value.shape))
        used.add(name)
    assert used == set(w), used ^ set(w)
    model.load_state_dict(state)
    with torch.no_grad():
        theirs, ours = model(x).logits, ast(w, x, c, 1e-12, 1e-12)[0]
    worst = float((theirs - ours).abs().max() / theirs.abs().max())
    print(f"two_tokens: this file's AST and transformers' differ by {worst:.1e} of the largest logit")
    assert worst < 1e-12


def loss_of(kind, logits, y):
    y = torch.tensor(y)
    return F.binary_cross_entropy_with_logits(logits, y) if kind == "bce" else F.cross_entropy(logits, y)


def model(name):
    c, (x, targets) = cases.MODELS[name]["config"], cases.batch(name)
    w = {n: tensor(cases.weight(name, n, shape)) for n, shape in weight_shapes(c).items()}
    x = tensor(x)
    if name == "two_tokens":
        check_against_transformers(w, x.detach(), c)
    logits, embedding, tokens = ast(w, x, c, c.get("encoder_eps", 1e-6), c.get("head_eps", 1e-5))
    out = {"logits": logits, "embedding": embedding, "tokens": torch.stack(tokens), "names": np.array(list(w))}
    for kind in cases.MODELS[name]["losses"]:
        loss = loss_of(kind, logits, targets[kind])
        dlogits, dx, *dw = torch.autograd.grad(loss, [logits, x, *w.values()], retain_graph=True)
        out |= {f"{kind}/loss": loss, f"{kind}/dlogits": dlogits, f"{kind}/dx": dx}
        out[f"{kind}/dw"] = torch.cat([g.flatten() for g in dw])  # in the order of `names`: one array zips better
    save(name, out)


# -- layers alone ----------------------------------------------------------------------------------------------


def unfold(x):
    """(B, T, F) -> (B, N, 256), patch and token order of a convolution over (frequency, time)."""
    return F.unfold(x.transpose(1, 2)[:, None], 16, stride=cases.STRIDES).transpose(1, 2)


def layers():
    out = {}

    def layer(name, f, inputs, dy_name):
        t = {n: tensor(a) for n, a in inputs.items()}
        dy = t.pop(dy_name)
        y = f(**t)
        out[f"{name}/y"] = y
        out.update({f"{name}/d{n}": g for n, g in zip(t, torch.autograd.grad(y, t.values(), dy), strict=True)})

    def attention(qkv):
        q, k, v = qkv.unflatten(2, (3, cases.HEADS, -1)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    x = cases.inputs("layernorm", cases.LAYERNORM)
    layer("layernorm", lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b, 1e-6), x, "dy")
    x = cases.inputs("gelu", cases.GELU)
    x["x"] = 4 * x["x"]  # into both tails
    layer("gelu_erf", F.gelu, x, "dy")
    layer("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), x, "dy")
    layer("attention", attention, cases.inputs("attention", cases.ATTENTION), "do")
    x = cases.inputs("unfold", cases.UNFOLD)
    layer("unfold", unfold, x, "dpatches")
    columns = torch.tensor(x["dpatches"]).transpose(1, 2)
    folded = F.fold(columns, cases.UNFOLD["x"][:0:-1], 16, stride=cases.STRIDES)[:, 0].transpose(1, 2)
    assert torch.allclose(folded, out["unfold/dx"], rtol=0, atol=1e-14)

    logits, targets = cases.losses()
    for kind, y in targets.items():
        t = tensor(logits)
        loss = loss_of(kind, t, y)
        out |= {f"{kind}/loss": loss, f"{kind}/dlogits": torch.autograd.grad(loss, t)[0]}
    save("layers", out)


# -- optimizers ------------------------------------------------------------------------------------------------


def optim():
    w0, gradients = cases.optimizer_inputs()
    out = {}
    for name, o in cases.OPTIMIZERS.items():
        w = torch.nn.Parameter(torch.tensor(w0))
        kind = torch.optim.AdamW if o["decoupled"] else torch.optim.Adam
        optimizer = kind([w], lr=cases.LR, betas=o["betas"], weight_decay=o["weight_decay"])
        steps = []
        for g in gradients:
            w.grad = torch.tensor(g)
            optimizer.step()
            steps.append(w.detach().clone())
        out[name] = torch.stack(steps)
    clipped, norms = [], []
    for g in gradients:
        w = torch.nn.Parameter(torch.tensor(w0))
        w.grad = torch.tensor(g)
        norms.append(torch.nn.utils.clip_grad_norm_([w], cases.CLIP))
        clipped.append(w.grad)
    out |= {"norms": torch.stack(norms), "clipped": torch.stack(clipped)}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    # the official code: MultiStepLR(optimizer, list(range(start, 1000, every)), gamma), stepped after each epoch from 1
    multistep = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(range(10, 1000, 5)), gamma=0.5)
    out["milestones"] = [_advance(optimizer, multistep) for _ in range(25)]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    out["cosine"] = [_advance(optimizer, cosine) for _ in range(21)]
    save("optim", out)


def _advance(optimizer, scheduler):
    """The learning rate of this epoch; moves on to the next."""
    lr = scheduler.get_last_lr()[0]
    optimizer.step()
    scheduler.step()
    return lr


if __name__ == "__main__":
    features()
    for name in cases.MODELS:
        model(name)
    layers()
    optim()
    total = sum(path.stat().st_size for path in HERE.glob("*.npz"))
    print(f"{total / 1000:.0f} kB in all")
    assert total <= 1_000_000
