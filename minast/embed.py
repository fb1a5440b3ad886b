"""Embeddings of sounds, for search, clustering or another classifier.

  python -m minast.embed model.npz my_sounds/ --out embeddings.npz
  python -m minast.embed model.npz street.wav --per segment --out street.npz

An embedding is the vector of D numbers that the model's head classifies. A file longer than the model's input is cut
into segments, the last one flush with its end, and its embedding is the mean over them. Files may be of any length:
they are read in blocks. The .npz, for numpy.load, holds: embeddings (n, D); files (n names); with --per segment, starts
and ends in seconds; about, a JSON text with checkpoint, model, features, version.
"""

import json
import os
import sys
from dataclasses import asdict

import numpy as np

from . import cli
from .checkpoint import is_checkpoint
from .classifier import Classifier
from .console.arguments import MANY, whole
from .datasets.tree import scan
from .errors import Error
from .scoring import BATCH, by_clip, segment_embeddings, segment_times
from .storage.files import atomic, writable_file, writable_folder
from .storage.npz import write_arrays
from .text import visible
from .training.prefetch import Prefetcher
from .version import __version__


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    refuse(args)
    writable_folder(os.path.dirname(args.out) or ".")
    writable_file(args.out)
    files, failed = named_files(args.sounds)
    classifier = Classifier.load(args.checkpoint, args.backend)
    clips, readable, seconds = embed_files(classifier, files, args.per, args.batch)
    if not readable:
        raise Error(f"{args.out} is not written: none of the {len(files)} files can be read.")
    about = {
        "checkpoint": args.checkpoint,
        "model": asdict(classifier.model.config),
        "features": asdict(classifier.features),
        "per": args.per,
        "version": __version__,
    }
    table = arrays(clips, readable, seconds, classifier.features, args.per)
    with atomic(args.out) as f:
        write_arrays(f, {**table, "about": np.array(json.dumps(about))})
    rows, width = table["embeddings"].shape
    what, source = cli.counted(rows, "embedding"), cli.counted(len(readable), "file")
    print(f"{visible(args.out)}: {what} of {width} numbers, one per {args.per}, from {source}")
    return 2 if failed or len(readable) < len(files) else 0


def parser():
    """The command line."""
    p = cli.Parser("embed", __doc__)
    p.add_argument("checkpoint", metavar="CHECKPOINT", help=cli.CHECKPOINT)
    p.add_argument("sounds", nargs="+", metavar="FILE_OR_FOLDER", help="audio files, and folders searched for them")
    p.add_argument("--out", required=True, metavar="OUT.npz", help="the file to write")
    p.add_argument("--per", choices=("file", "segment"), default="file", help="what a row is of (default: file)")
    p.add_argument(
        "--batch",
        type=whole(1, MANY),
        metavar="N",
        default=BATCH,
        help=f"segments computed together (default: {BATCH})",
    )
    cli.add_backend(p)
    return p


def refuse(args):
    """minast.Error for what cannot be done, before anything is computed."""
    if not args.out.endswith(".npz"):
        raise Error(f"--out is {args.out!r}: embeddings are written as .npz, so its name must end in .npz.")
    if os.path.exists(args.out) and os.path.exists(args.checkpoint) and os.path.samefile(args.out, args.checkpoint):
        raise Error(f"--out {args.out} is the checkpoint itself: give the embeddings another name.")
    if is_checkpoint(args.out):
        raise Error(f"--out {args.out} is a checkpoint: give the embeddings another name, or remove it first.")


def named_files(arguments):
    """-> the audio files that are named, or lie in a folder that is; the number of arguments without any"""
    files, failed = [], []

    def complain(error):
        cli.complain(error)
        failed.append(error)

    for path in arguments:
        found = in_folder(path, complain) if os.path.isdir(path) else [path]
        if not found:
            complain(Error(f"{path}: there are no audio files in this folder."))
        files += found
    if not files:
        raise Error("there is nothing to embed: name audio files, or folders that hold some.")
    return files, len(failed)


def in_folder(path, complain):
    """The audio files of a folder and its sub-folders; what else may be sound is said."""
    top = scan(path, complain)
    for kind, why in (("convertible", "need conversion"), ("unknown", "are of a kind that is not read")):
        if left := top.all(kind):
            some = ", ".join(os.path.basename(each) for each in left[:3]) + (", ..." if len(left) > 3 else "")
            cli.note(f"{path}: left out are {len(left)} files that {why}: {some}.")
    return top.all("sounds")


def embed_files(classifier, files, per, batch):
    """-> n arrays (W, D), one a readable file; the names and lengths (s) of these files. Others are complained about.

    Files are opened in the background. per: "file" leaves one row of each.
    """
    from tqdm import tqdm

    read = []  # (file, seconds) of each array of embeddings; None for a file that failed midway

    def open_one(path):
        try:
            return classifier.open(path)
        except Error as error:
            return error

    def complain(error):
        with tqdm.external_write_mode(sys.stderr):
            cli.complain(error)

    def inputs(path, sound):
        try:
            yield from sound.segments()
            read.append((path, sound.seconds))
        except Error as error:  # it was readable when it was opened
            read.append(None)
            complain(error)

    def clips(found, bar):
        for path, sound in zip(files, found, strict=True):
            bar.update()
            if isinstance(sound, Error):
                complain(sound)
                continue
            with tqdm.external_write_mode(sys.stderr):
                for note in sound.notes:
                    cli.note(f"{path}: {note.text}")
            yield inputs(path, sound)

    with (
        Prefetcher(open_one, files) as found,
        tqdm(total=len(files), desc="embeddings", unit="file", disable=None, leave=False) as bar,
    ):
        rows = [
            clip.mean(axis=0, keepdims=True) if per == "file" and len(clip) else clip
            for clip in by_clip(segment_embeddings(classifier.model), clips(found, bar), batch)
        ]
    kept = [(clip, *about) for clip, about in zip(rows, read, strict=True) if about]
    return [[row[i] for row in kept] for i in range(3)]


def arrays(clips, files, seconds, features, per):
    """What the .npz holds: embeddings (rows, D) float32, files (rows,); per segment also starts and ends (rows,) s"""
    found = {"embeddings": np.concatenate(clips), "files": np.repeat(np.array(files, str), [len(c) for c in clips])}
    if per == "segment":
        times = [segment_times(s, features) for s in seconds]
        found["starts"], found["ends"] = (np.concatenate(each) for each in zip(*times, strict=True))
    return found


if __name__ == "__main__":
    cli.run(main)
