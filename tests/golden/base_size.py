"""The base size once: an AST of 87 M weights and 1214 tokens through every format, against transformers.

  python tests/golden/base_size.py [FOLDER]        needs torch and transformers, and 2 GB of disk

Not part of the suite. Prints, for each file, the seconds (best of three) and the peak of memory that loading takes in a
process of its own (from Linux's /proc), and how far minast's logits are from transformers'.
"""

import subprocess
import sys
import tempfile
from collections import OrderedDict
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
import pretrained_cases as cases  # noqa: E402  a neighbour

BASE = {
    "dim": 768,
    "depth": 12,
    "heads": 12,
    "mel_bins": 128,
    "frames": 1024,
    "fstride": 10,
    "tstride": 10,
    "classes": 527,
}
LOAD = """
import sys, time
import numpy, minast
from minast import pretrained
began, cpu = time.perf_counter(), time.process_time()
model = pretrained.load(sys.argv[1], **eval(sys.argv[2]))[0]
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
size = model.w.flat.nbytes / 2**20
print(f"{seconds:.2f} s ({cpu:.2f} s of one core), peak {peak:.0f} MiB, {peak - size:.0f} beyond the weights")
"""


def main(folder):
    import torch
    from make_pretrained import ast_model, tensors

    torch.set_grad_enabled(False)
    w = cases.weights(BASE["dim"], BASE["depth"], 1212, classes=527)
    for x in w.values():  # as large as trained ones: at 768 inputs the small models' weights would saturate
        if x.ndim == 2:
            x *= 0.25
    root = "audio_spectrogram_transformer."
    hf = cases.to_hf(w, root, old=True)
    for dtype in ("F32", "F16", "BF16"):
        cases.write_safetensors(folder / f"ast_{dtype}.safetensors", hf, dtype)
    module = {("module." if "mlp_head" in name else "module.v.") + name: x for name, x in w.items()}
    torch.save(OrderedDict(tensors(module)), folder / "ast.pth")
    torch.save(OrderedDict(tensors(module)), folder / "ast_stream.pth", _use_new_zipfile_serialization=False)
    vit = {name: x for name, x in w.items() if "mlp_head" not in name and name != "dist_token"}
    vit["pos_embed"] = cases.numbers("square", (1, 577, 768))
    vit["patch_embed.proj.weight"] = cases.numbers("colours", (768, 3, 16, 16))
    np.savez(folder / "vit.npz", **cases.to_jax(vit, 12))
    np.savez(folder / "vit_fp16.npz", **{k: x.astype(np.float16) for k, x in cases.to_jax(vit, 12).items()})
    for path in sorted(folder.glob("*.*")):
        options = {"classes": 527} if path.suffix == ".npz" else {}
        run = [sys.executable, "-c", LOAD, str(path), repr(options)]
        runs = [subprocess.run(run, capture_output=True, text=True, check=True, cwd=HERE.parents[1]) for _ in range(3)]
        best = min((r.stdout.strip() for r in runs), key=lambda line: float(line.split()[0]))
        print(f"{path.name:22} {path.stat().st_size / 2**20:5.0f} MiB  {best}", flush=True)

    from minast import pretrained

    x = cases.spectrogram(1, 1024, 128)
    for name, eps, head_eps in (("ast_F32.safetensors", 1e-12, 1e-12), ("ast.pth", 1e-6, 1e-5)):
        model = ast_model(**BASE, layer_norm_eps=eps)
        model.classifier.layernorm.eps = head_eps
        model.load_state_dict(tensors(cases.to_hf(w, root, old=False)), strict=True)
        wanted = model(torch.from_numpy(x)).logits.numpy()
        double = model.double()(torch.from_numpy(x).double()).logits.numpy()
        del model
        ours = pretrained.load(folder / name)[0]
        got = ours.forward(x)
        print(
            f"{name}: {ours.parameters:,} weights, {ours.config.tokens} tokens, {got.shape[1]} classes, logits within "
            f"{np.abs(wanted).max():.2f}; minast - transformers {np.abs(got - wanted).max():.1e}; from transformers in "
            f"float64: minast {np.abs(got - double).max():.1e}, transformers {np.abs(wanted - double).max():.1e}"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
