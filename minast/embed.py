"""Embeddings of sounds, for search, clustering or another classifier.

  python -m minast.embed model.npz my_sounds/ --out embeddings.npz
  python -m minast.embed model.npz street.wav --per segment --out street.npz
  python -m minast.embed model.npz recordings/ --out index/ --hop 5
  find /archive -name '*.flac' | python -m minast.embed model.npz - --out index/ --workers 8
  python -m minast.embed model.npz recordings/ --out index/ --resume      # go on after a crash

An embedding is the vector of D numbers that the model's head classifies. A file longer than the model's input is cut
into segments, the last one flush with its end. Files may be of any length: they are read in blocks.

--out FOLDER makes an index, of archives of any size: an embedding in 16 bits for each segment, one every --hop seconds,
which python -m minast.search and python -m minast.probe take. A recording that cannot be read costs no other: it is
listed, with the reason, in FOLDER/skipped.csv. Until the index is complete, results are kept in FOLDER.part.

--out OUT.npz writes one file for numpy.load: embeddings (n, D), of files the mean over their segments; files (n names);
with --per segment, starts and ends in seconds; about, a JSON text with checkpoint, model, features, version.
"""

import contextlib
import json
import os
import sys
from dataclasses import asdict

import numpy as np

from . import cli
from .checkpoint import config_from, description, info_from, is_checkpoint, open_checkpoint
from .classifier import Classifier
from .console.arguments import MANY, whole
from .embeddings import index, taken
from .embeddings.work import Settings
from .errors import Error
from .features import hop_seconds
from .scoring import segment_embeddings, segment_times
from .storage.files import atomic, writable_file, writable_folder
from .storage.npz import write_arrays
from .streaming import remote, session
from .streaming.core import Ended, scored
from .streaming.inputs import recordings
from .streaming.work import digest_of
from .text import counted, visible
from .version import __version__

TO_FOLDER = ("hop", "resume", "cluster")  # flags of an index; and workers


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    refuse(args)
    return one_file(args) if args.out.endswith(".npz") else an_index(args)


def parser():
    """The command line."""
    p = cli.Parser("embed", __doc__)
    p.add_argument("checkpoint", metavar="CHECKPOINT", help=cli.CHECKPOINT)
    p.add_argument("paths", nargs="+", metavar="PATH", help=session.PATHS)
    p.add_argument("--out", required=True, metavar="OUT", help="the folder of an index, or a .npz file, to write")
    g = p.add_argument_group("what is embedded")
    session.add_hop(g)
    text = "of a .npz: what a row is of (default: file)"
    g.add_argument("--per", choices=("file", "segment"), help=text)
    text = "take the embeddings after the model's block number N, from 1 (default: the last one)"
    g.add_argument("--block", type=whole(1, MANY), metavar="N", help=text)
    text = "the prefix tokens, which the model's head sees, the mean of all tokens, or both (default: prefix)"
    g.add_argument("--pool", choices=taken.POOLS, default="prefix", help=text)
    session.add_archives(p, "an index")
    cli.add_backend(p)
    return p


def refuse(args):
    """minast.Error for what cannot be done, before anything is computed."""
    session.refuse(args)
    ending = os.path.splitext(args.out)[1]
    if ending and ending != ".npz" and not os.path.isdir(args.out) and not args.out.endswith(("/", os.sep)):
        raise Error(
            f"--out is {visible(args.out)}: embeddings are written into the folder of an index, named with a / at its "
            "end, or into one file, then its name must end in .npz."
        )
    if ending == ".npz":
        given = [name for name in TO_FOLDER if getattr(args, name)] + ["workers"] * (args.workers > 1)
        if given:
            raise Error(f"--{given[0]} is for an index: let --out name a folder.")
        if os.path.exists(args.out) and os.path.exists(args.checkpoint) and os.path.samefile(args.out, args.checkpoint):
            raise Error(f"--out {args.out} is the checkpoint itself: give the embeddings another name.")
        if is_checkpoint(args.out):
            raise Error(f"--out {args.out} is a checkpoint: give the embeddings another name, or remove it first.")
    elif args.per == "file":
        raise Error("--per file is for a .npz: an index has a row a segment.")


# -- an index ------------------------------------------------------------------------------------------------------


def an_index(args):
    """-> exit status"""
    begun = os.path.exists(session.part_of(args.out))
    if args.resume and not begun and os.path.exists(os.path.join(args.out, index.ABOUT)):
        cli.note(f"{visible(args.out)} is there, and no stopped work beside it: there is nothing to go on with.")
        return 0
    index.refuse_folder(args.out, begun)
    with open_checkpoint(args.checkpoint) as opened:
        about = description(opened)
        config, info = config_from(opened.path, about), info_from(opened.path, about)
    block = taken.checked_block(config, args.block)
    settings = Settings(
        checkpoint=os.path.abspath(args.checkpoint),
        digest=digest_of(args.checkpoint),
        hop=session.frames_of(args.hop, info.features),
        batch=args.batch,
        backend=args.backend,
        block=block,
        pool=args.pool,
    )
    step = hop_seconds(info.features.rate)
    common = {
        "CHECKPOINT": settings.digest,
        "PATH": args.paths,
        "--hop": round(settings.hop * step, 6),
        "--block": block,
        "--pool": args.pool,
        "--batch": args.batch,
    }
    writable_folder(os.path.dirname(os.path.abspath(args.out.rstrip("/" + os.sep))))
    complaints = session.Complaints()
    with session.journal_of(args, common, "an index", complaints) as journal:
        print(
            f"{session.size_of(journal)}; segments of {info.features.frames * step:g} s, one every "
            f"{settings.hop * step:g} s; {config.dim} numbers each, {words(config, block, args.pool)}",
            flush=True,
        )
        speed = session.work(args, settings, journal, "embeddings")
        return finish(args, config, info, settings, journal, speed) or complaints.status


def words(config, block, pool):
    """What embeddings are taken from."""
    prefix = "[CLS]" if config.prefix_tokens == 1 else "the two prefix tokens"
    what = {"prefix": prefix, "mean": "the mean of all tokens", "both": f"{prefix} and the mean of all tokens"}[pool]
    return f"{what} after block {block} of {config.depth}"


def finish(args, config, info, settings, journal, speed):
    """Write the index, and remove the journal.   -> exit status"""
    skipped = session.skipped(journal)
    session.refuse_nothing(args.out, journal, skipped)
    about = {
        "checkpoint": settings.checkpoint,
        "encoder": taken.digest_of_encoder(settings.checkpoint),
        "block": settings.block,
        "pool": settings.pool,
        "width": config.dim,
        "features": info.features,
        "hop": settings.hop,
        "folder": os.getcwd(),
    }
    found = index.write(args.out, journal, about, skipped)
    journal.remove()
    print(
        f"{visible(args.out)}: {counted(sum(found['shards']), 'embedding')} of {found['width']} numbers from "
        f"{counted(found['files'], 'recording')}, {session.at_speed(found['seconds'], speed)}"
    )
    if skipped:
        table = visible(os.path.join(args.out, index.SKIPPED))
        cli.note(f"{counted(len(skipped), 'recording')} could not be read: {table} says why.")
    return 0


# -- one file ------------------------------------------------------------------------------------------------------


def one_file(args):
    """-> exit status"""
    per, wrong = args.per or "file", []
    writable_folder(os.path.dirname(args.out) or ".")
    writable_file(args.out)

    def complain(error):
        wrong.append(error)
        cli.complain(error)

    files = [name for name, _ in recordings(args.paths, complain)]
    classifier = Classifier.load(args.checkpoint, args.backend)
    model = taken.taken_from(classifier.model, args.block, args.pool)
    clips, readable, seconds = embed_files(classifier, model, files, per, args.batch)
    if not readable:
        raise Error(f"{args.out} is not written: no file can be read ({len(files)} tried).")
    about = {
        "checkpoint": args.checkpoint,
        "model": asdict(classifier.model.config),
        "features": asdict(classifier.features),
        "per": per,
        "block": taken.checked_block(classifier.model.config, args.block),
        "pool": args.pool,
        "version": __version__,
    }
    table = arrays(clips, readable, seconds, classifier.features, per)
    with atomic(args.out) as f:
        write_arrays(f, {**table, "about": np.array(json.dumps(about))})
    rows, width = table["embeddings"].shape
    what, source = counted(rows, "embedding"), counted(len(readable), "file")
    print(f"{visible(args.out)}: {what} of {width} numbers, one per {per}, from {source}")
    return 2 if wrong or len(readable) < len(files) else 0


def embed_files(classifier, model, files, per, batch):
    """-> n arrays (W, D), one a readable file; the names and lengths (s) of these files. Others are complained about.

    model: whose embeddings these are. per: "file" leaves one row of each.
    """
    from tqdm import tqdm

    found, rows = [], []
    with (
        contextlib.ExitStack() as copies,
        tqdm(total=len(files), desc="embeddings", unit="file", disable=None, leave=False) as bar,
    ):

        def open_sound(name):
            return classifier.open(copies.enter_context(remote.local(name)))

        for each in scored(segment_embeddings(model), files, open_sound, batch=batch):
            if not isinstance(each, Ended):
                rows.append(each.row)
                continue
            bar.update()
            with tqdm.external_write_mode(sys.stderr):
                for note in each.sound.notes if each.sound else ():
                    cli.note(f"{each.key}: {note.text}")
                if each.error:
                    cli.complain(each.error)
            if not each.error:
                clip = np.mean(rows, axis=0, keepdims=True) if per == "file" else np.array(rows)
                found.append((clip, each.key, each.sound.seconds))
            rows = []
    return [[row[i] for row in found] for i in range(3)]


def arrays(clips, files, seconds, features, per):
    """What the .npz holds: embeddings (rows, D) float32, files (rows,); per segment also starts and ends (rows,) s"""
    found = {"embeddings": np.concatenate(clips), "files": np.repeat(np.array(files, str), [len(c) for c in clips])}
    if per == "segment":
        times = [segment_times(s, features) for s in seconds]
        found["starts"], found["ends"] = (np.concatenate(each) for each in zip(*times, strict=True))
    return found


if __name__ == "__main__":
    cli.run(main)
