"""Convert the pretrained weights of an image or audio transformer into a minast checkpoint.

  python -m minast.convert audioset_10_10_0.4593.pth ast.npz --labels class_labels_indices.csv
  python -m minast.convert folder_of_a_hugging_face_ast/ ast.npz
  python -m minast.convert ViT-B_16.npz start.npz --classes 10 --frames 512

Reads the official ViT .npz, DeiT and official AST .pth, Hugging Face ViT, DeiT and AST (.safetensors, or the folder
with its config.json, also if its weights are split), and minast checkpoints, to change their classes or input length.
Reports how each array was used, and what had to be assumed because the source does not say it. An audio model
keeps its head unless --classes or --labels ask for another number of classes, or --fresh-head is given.
"""

import os
from argparse import ArgumentTypeError

from . import cli
from .backend import BACKENDS
from .checkpoint import description, is_checkpoint, open_checkpoint, save
from .console.arguments import MANY, SEEDS, whole
from .datasets.content import pack
from .errors import Error
from .pretrained import load
from .pretrained.adapt import RGB
from .pretrained.known_clips import trained_before
from .pretrained.weights import POSITIONS
from .storage.files import writable_file
from .text import counted, visible


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    check_name(args.out)
    if os.path.exists(args.out) and os.path.exists(args.source) and os.path.samefile(args.source, args.out):
        raise Error(f"{args.out} is the source itself: give the converted checkpoint another name.")
    options = {name: value for name, value in vars(args).items() if name not in ("source", "out")}
    writable_file(args.out)
    model, info, report = load(args.source, backend=BACKENDS[0], **options)
    before = trained_before(args.source)  # evaluate must go on leaving these clips out
    notes = info.notes if before is None else {**info.notes, "trained_before": pack(before)}
    if has_decisions(args.source):
        cli.note(
            "calibration and thresholds are left out: they are for the source as it is. Run python -m minast.calibrate "
            "again."
        )
    if os.path.isfile(args.out):
        cli.note(f"{args.out} was there already, and is replaced.")
    save(args.out, model, info.labels, info.features, info.loss, notes=notes)
    c = model.config
    print(report)
    tokens = f"{c.prefix_tokens} + {c.grid[0]} x {c.grid[1]} tokens from {c.frames} frames"
    classes = counted(c.classes, "class", "classes")
    print(f"{visible(args.out)}: {model.parameters / 1e6:.2f} M weights, {classes}, {tokens}")
    return 0


def has_decisions(source):
    """Whether the source is a checkpoint with calibration and thresholds, which do not fit another head or length."""
    if not is_checkpoint(source):
        return False
    with open_checkpoint(source) as archive:
        return description(archive).get("decisions") is not None


def check_name(out):
    """Raises minast.Error for a name that says something else than what is written."""
    if not out:
        raise Error("OUT.npz is empty: name the checkpoint to write.")
    stem, ending = os.path.splitext(out)
    if os.path.isdir(out) or not os.path.basename(out):
        raise Error(f"{out} is a folder: name the checkpoint to write, as {os.path.join(out, 'model.npz')}.")
    if ending.lower() == ".onnx":
        raise Error(
            f"{out}: convert writes minast checkpoints (.npz): python -m minast.export CHECKPOINT {out} writes ONNX."
        )
    if ending.lower() != ".npz":
        raise Error(f"{out}: what is written is a minast checkpoint, a .npz file: call it {stem or out}.npz.")


def grid(text):
    """12x101 -> (12, 101)"""
    try:
        rows, columns = map(whole(1, MANY), text.lower().split("x"))
    except (ValueError, ArgumentTypeError):
        raise ArgumentTypeError(f"is {text[:40]!r}: it must be rows and columns, as 12x101") from None
    return rows, columns


def parser():
    """The command line."""
    p = cli.Parser("convert", __doc__)
    p.add_argument("source", metavar="SOURCE", help="a .npz, .pth or .safetensors file, or a Hugging Face folder")
    p.add_argument("out", metavar="OUT.npz", help="the checkpoint to write")
    p.add_argument("--classes", type=whole(1, MANY), metavar="N", help="number of classes (default: the source's)")
    p.add_argument("--labels", metavar="FILE", help="class names, one per line, or AudioSet's class_labels_indices.csv")
    p.add_argument("--fresh-head", action="store_true", help="start a new head even if the source's head would fit")
    p.add_argument("--loss", choices=("bce", "ce"), help="turn logits into scores by sigmoid (bce) or softmax (ce)")
    p.add_argument(
        "--frames",
        type=whole(16, MANY),
        metavar="N",
        help="input length in frames of 10 ms (default: the source's; for a ViT 1024)",
    )
    p.add_argument(
        "--fstride",
        type=whole(1, MANY),
        metavar="N",
        help="patch stride in mel bins (default: the source's; for a ViT 10)",
    )
    p.add_argument(
        "--tstride",
        type=whole(1, MANY),
        metavar="N",
        help="patch stride in frames (default: the source's; for a ViT 10)",
    )
    p.add_argument(
        "--mel-bins",
        type=whole(16, 4096),
        metavar="N",
        help="number of mel filters (default: the source's; for a ViT 128)",
    )
    p.add_argument("--depth", type=whole(1, 1000), metavar="N", help="keep the lowest N blocks (default: all)")
    p.add_argument(
        "--positions",
        choices=POSITIONS,
        default="cut",
        help="position embeddings for another number of patches: cut takes the middle of a shorter axis and stretches "
        "to a longer one, as AST does; interpolate resizes both; fresh draws new ones (default: cut)",
    )
    p.add_argument(
        "--rgb", choices=RGB, default="sum", help="how to merge the filters of the three colour channels (default: sum)"
    )
    p.add_argument(
        "--gelu",
        choices=("erf", "tanh"),
        help="exact (erf) or approximate (tanh) GELU (default: the config.json's, else erf)",
    )
    p.add_argument(
        "--heads",
        type=whole(1, 4096),
        metavar="N",
        help="number of attention heads, if the source does not say and they are not 64 wide",
    )
    p.add_argument(
        "--grid",
        "--source-grid",  # its name in version 0.1
        type=grid,
        metavar="FxT",
        help="grid of the source's position embeddings, as 12x101, if neither it nor a published AST says",
    )
    p.add_argument(
        "--seed", type=whole(0, SEEDS), metavar="N", default=0, help="random seed of a new head (default: 0)"
    )
    return p


if __name__ == "__main__":
    cli.run(main)
