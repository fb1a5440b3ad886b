"""Write a checkpoint for other programs: as one .onnx file, or as a Hugging Face folder.

  python -m minast.export best.npz best.onnx                   input: the normalised log-mel
  python -m minast.export best.npz best.onnx --waveform        input: the waveform; the features are in the graph
  python -m minast.export best.npz best_hf/                    for transformers' AutoModelForAudioClassification

The .onnx (operator set 17, float32, any batch size) gives logits and probabilities; labels, sample rate, thresholds and
the features' settings are in its metadata. It is run once with onnxruntime, where that is installed, and compared with
minast. --int8 stores the encoder's matrices in 8 bits: a quarter of the size, at some cost in accuracy, which
python -m minast.bench exported CHECKPOINT DATA measures. A folder is written for models that transformers can
express: two prefix tokens, Hann window, 16 kHz; others are refused with the reason.
"""

import os

from . import cli
from .backend import BACKENDS
from .checkpoint import load
from .errors import Error
from .exports import hugging_face, onnx_file
from .exports.graph import OPSET
from .storage.files import writable_file, writable_folder
from .text import counted, size, visible

OTHERS = (".npz", ".pt", ".pth", ".bin", ".safetensors", ".json", ".tflite", ".zip")  # endings that are no folder's


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    to_file = refuse(args)
    model, info = load(args.checkpoint, BACKENDS[0] if args.backend is None else args.backend)
    if info.notes.get("random_head"):
        cli.note("the head of this model is random, not trained yet: its probabilities mean nothing.")
    if to_file:
        write_onnx(args, model, info)
    else:
        write_folder(args, model, info)
    return 0


def parser():
    """The command line."""
    p = cli.Parser("export", __doc__)
    p.add_argument("checkpoint", metavar="CHECKPOINT", help=cli.CHECKPOINT)
    p.add_argument("out", metavar="OUT", help="the .onnx file to write, or the Hugging Face folder")
    text = "an .onnx that takes the waveform, not the log-mel: the features are in the graph"
    p.add_argument("--waveform", action="store_true", help=text)
    p.add_argument("--int8", action="store_true", help="an .onnx with the encoder's matrices in 8 bits")
    cli.add_backend(p)
    return p


def refuse(args):
    """minast.Error for what cannot be written, before anything is computed.   -> whether OUT is an .onnx file"""
    out = args.out
    ending = os.path.splitext(out)[1].lower()
    if not out or (ending in OTHERS and not os.path.isdir(out)):
        raise Error(f"OUT is {visible(out)!r}: name a file that ends in .onnx, or a folder for transformers.")
    if ending == ".onnx":
        from .exports.graph import onnx

        onnx()
        if args.int8:
            onnx_file.runtime()
        writable_file(out)
        return True
    if os.path.isfile(out):
        raise Error(f"{visible(out)} is a file: name a file that ends in .onnx, or a folder for transformers.")
    for flag in ("waveform", "int8"):
        if getattr(args, flag):
            raise Error(f"--{flag} is for .onnx files: OUT is {visible(out)}, a folder for transformers.")
    return False


def write_onnx(args, model, info):
    """Build, check, compare, write."""
    proto = onnx_file.build(model, info, args.waveform)
    if args.int8:
        proto = onnx_file.quantized(proto)
    data = onnx_file.checked_bytes(proto)
    compared = compare(args, data, model, info)
    if os.path.isfile(args.out):
        cli.note(f"{visible(args.out)} was there already, and is replaced.")
    onnx_file.write(args.out, data)
    f, c = info.features, model.config
    takes = (
        f"waveform (batch, samples) at {f.rate} Hz, of which the first {onnx_file.samples_heard(f)} are heard"
        if args.waveform
        else f"log_mel (batch, {c.frames}, {c.mel_bins}), normalised"
    )
    kind = "int8 matrices" if args.int8 else "float32"
    print(f"{visible(args.out)}: {size(len(data))}, operator set {OPSET}, {kind}, checked by onnx")
    print(f"  input    {takes}")
    print(f"  outputs  logits and probabilities (batch, {c.classes}), {scores_of(info)}")
    print(f"  {compared}")


def compare(args, data, model, info):
    """A sentence on how far onnxruntime is from minast. Raises minast.Error if that is another function."""
    try:
        onnx_file.runtime()
    except Error:
        return "not run: that needs onnxruntime (pip install '.[onnx]' in the checkout)"
    apart = onnx_file.difference(data, model, info, args.waveform)
    if not apart <= (onnx_file.APART_INT8 if args.int8 else onnx_file.APART):  # NaN is refused, too
        raise Error(
            f"{visible(args.out)} is not written: onnxruntime's logits differ from minast's by {apart:.2g} of the "
            "largest: the checkpoint is damaged, or this onnxruntime has an error."
        )
    return f"run by onnxruntime on noise: its logits differ from minast's by {apart:.1g} of the largest"


def scores_of(info):
    """In words, what the probabilities are."""
    decisions = getattr(info, "decisions", None)
    extra = "" if decisions is None else ", calibrated" if decisions.calibrates else ", which needed no calibration"
    return f"of {info.head}{extra}" + ("" if decisions is None else "; thresholds in the metadata")


def write_folder(args, model, info):
    """Write the three files, or say in one sentence why transformers cannot have the model."""
    found = hugging_face.refusals(model.config, info.features, info.loss)
    if found:
        raise Error(
            f"{args.checkpoint}: transformers cannot express this model: it has {'; it has '.join(found)}. An .onnx "
            "file can: python -m minast.export CHECKPOINT OUT.onnx --waveform."
        )
    writable_folder(args.out)
    if os.path.exists(os.path.join(args.out, hugging_face.WEIGHTS)):
        cli.note(f"the model that was in {visible(args.out)} is replaced.")
    hugging_face.write(args.out, model, info)
    c, f, decisions = model.config, info.features, getattr(info, "decisions", None)
    print(f"{visible(args.out)}: {', '.join((hugging_face.WEIGHTS, hugging_face.CONFIG, hugging_face.PREPROCESSOR))}")
    print(
        f"  {model.parameters / 1e6:.2f} M weights, {counted(c.classes, 'class', 'classes')}, {info.head}, {f.rate} Hz"
    )
    if c.encoder_eps != c.head_eps:
        print(
            "  the final norm is scaled, so that transformers' one epsilon acts as the model's two: logits are the same"
        )
    if decisions is not None:
        kept = "its calibration is in the last layer; " if decisions.calibrates else ""
        cli.note(f"{kept}transformers knows no thresholds: those of the checkpoint are left out.")


if __name__ == "__main__":
    cli.run(main)
