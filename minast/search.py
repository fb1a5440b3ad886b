"""Find what sounds like a recording, in an index that python -m minast.embed made.

  python -m minast.search owl.wav index/
  python -m minast.search owl.wav fox.wav index/ --top 50 --out found.csv
  python -m minast.search long.wav index/ --at 12.5

Every segment of the index is compared with a segment of QUERY, by the cosine of their embeddings: from 1, the same, to
-1. Of a query longer than a segment the loudest one is taken, or the one that begins --at SECONDS; which, is said.
Several queries are searched for one by one. The table has the columns file, start, end, label, verdict, query,
similarity: fill in label, and its rows can be added to a table of labels, such as a page of scan gives.

The index knows the checkpoint that it was made with. Queries go through the same one: if it has moved, say where it is
by --checkpoint.
"""

import sys

import numpy as np

from . import cli
from .checkpoint import load
from .console.arguments import MANY, number, whole
from .embeddings.index import Index
from .embeddings.nearest import loudest, most_similar, segment_at
from .embeddings.taken import taken_from
from .errors import Error
from .scoring import segment_embeddings
from .storage.files import writable_file
from .storage.tables import write_table
from .streaming import remote
from .streaming.session import DAY
from .streaming.sound import OpenSound
from .text import counted, visible

COLUMNS = ("file", "start", "end", "label", "verdict", "query", "similarity")  # the first as in a table of labels


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    if args.out:
        if not args.out.lower().endswith(".csv"):
            raise Error(f"--out is {visible(args.out)}: it is the table to write, so its name must end in .csv.")
        writable_file(args.out)
    index = Index(args.index)
    embed, spectrograms = encoder_of(index, args)
    taken, embeddings = [], []
    for name in args.queries:
        try:
            query = query_of(name, index.features, spectrograms, args.at)
        except Error as error:
            cli.complain(error)
            continue
        taken.append((name, query.start, query.end))
        embeddings.append(embed(query.x[None])[0])
    if not taken:
        raise Error("none of the queries can be read.")
    rows, similar = compared(index, np.array(embeddings), args.top)
    results = [
        {
            "query": name,
            "start": round(start, 3),
            "end": round(end, 3),
            "found": [found(index, int(row), float(value)) for row, value in zip(*each, strict=True)],
        }
        for (name, start, end), *each in zip(taken, rows, similar, strict=True)
    ]
    if args.out:
        write_table(args.out, COLUMNS, lines(results))
    if args.json:
        cli.print_json(results)
    else:
        show(results, index, args.out)
    return 2 if len(taken) < len(args.queries) else 0


def parser():
    """The command line."""
    p = cli.Parser("search", __doc__)
    p.add_argument("queries", nargs="+", metavar="QUERY", help="audio files, or their addresses (s3://...)")
    p.add_argument("index", metavar="INDEX", help="a folder written by embed")
    p.add_argument("--top", type=whole(1, MANY), default=10, metavar="N", help="segments to find (default: 10)")
    p.add_argument("--at", type=number(0, DAY), metavar="SECONDS", help="where the segment of the query begins")
    p.add_argument("--out", metavar="OUT.csv", help="write a table")
    p.add_argument("--json", action="store_true", help="print one JSON array, an object a query")
    p.add_argument("--checkpoint", metavar="CHECKPOINT", help="the index's checkpoint (default: where it was then)")
    cli.add_backend(p)
    return p


def encoder_of(index, args):
    """What turns the model's inputs into embeddings such as the index has, and where spectrograms are computed."""
    model, _ = load(index.checkpoint(args.checkpoint), args.backend)
    model = taken_from(model, index.about["block"], index.about["pool"])
    return segment_embeddings(model), model.backend.spectrograms(index.features.rate)


def query_of(name, features, spectrograms, at):
    """The segment of a query. Raises minast.Error."""
    with remote.local(name) as path:
        sound = OpenSound(path, features, spectrograms=spectrograms)
        for note in sound.notes:
            cli.note(f"{visible(name)}: {note.text}")
        query = loudest(sound) if at is None else segment_at(sound, at)
    if query is None:
        raise Error(f"{visible(name)}: --at is {at:g} s, but the recording has {sound.seconds:.3f} s.")
    return query


def compared(index, embeddings, top):
    """The most similar rows, with a progress bar."""
    from tqdm import tqdm

    with tqdm(total=index.rows, desc="search", unit="row", disable=None, leave=False, delay=1) as bar:
        return most_similar(index, embeddings, top, bar.update)


def found(index, row, similarity):
    """A row as a dictionary."""
    file, start, end = index.place(row)
    return {"file": file, "start": round(start, 3), "end": round(end, 3), "similarity": round(similarity, 6)}


def lines(results):
    """The rows of the table."""
    for result in results:
        for row in result["found"]:
            yield (row["file"], row["start"], row["end"], "", "", result["query"], row["similarity"])


def show(results, index, out):
    """Print what was found, or where it is."""
    for result in results:
        query = visible(result["query"])
        print(f"{query}: the segment from {result['start']:.2f} to {result['end']:.2f} s is looked for")
        for row in result["found"] if not out else ():
            print(f"  {row['similarity']:7.4f}  {row['start']:9.2f} to {row['end']:9.2f} s  {visible(row['file'])}")
    if out:
        count = counted(sum(len(result["found"]) for result in results), "segment")
        print(f"{visible(out)}: {count}, of {index.rows} in {visible(index.path)}; the column label is to be filled in")
    sys.stdout.flush()


if __name__ == "__main__":
    cli.run(main)
