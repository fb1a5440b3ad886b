"""Reports of training runs: one page for a run, or one that compares several.

  python -m minast.report runs/coffee-nano
  python -m minast.report runs/esc10-folds runs/esc10-other --out comparison.html

Of one run, report.html is written again into its folder, from its report.json. A run of an earlier version, which has
none, is scored first, on the data that it was trained with. Several runs, or folders of runs such as those of
cross-validation, are compared on one page: settings that differ, curves, results with intervals, and the differences
on the clips that all of them tested. That page is comparison.html in the folder that was named, or in runs/ where
several were. The pages are single files, to be opened in any browser, also without a network.
"""

import os

from . import cli, pages, scoring
from .checkpoint import Info, load, load_state
from .errors import Error
from .model import AST
from .pages.compare import COMPARISON, compare_page
from .pages.record import contents
from .storage.files import atomic, below, common_folder, writable_file, writable_folder
from .text import counted, visible
from .training.feature_cache import FeatureCache
from .training.reporting import write_report
from .training.result import Result
from .training.resume import same_data
from .training.run import Settings, TrainingData
from .training.run_folder import BEST, LAST, RUNS


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    folders = list(dict.fromkeys(folder for path in args.runs for folder in runs_in(path)))
    out = args.out or default_out(args.runs, folders)
    if not out.lower().endswith(".html"):
        raise Error(f"--out is {visible(out)}: it is the page to write, so its name must end in .html.")
    writable_file(out)
    if len(folders) == 1:
        print(one(folders[0], out, args.backend))
        return 0
    records, lacking = [], []
    above = os.path.dirname(common_folder(folders))
    for folder in folders:
        try:
            records.append({**record_of(folder, args.backend), "name": below(folder, above)})
        except Error as error:
            cli.complain(error)
            lacking.append(f"{folder} is not compared: {error}")
    if not records:
        raise Error(f"none of the {counted(len(folders), 'run')} can be compared.")
    with atomic(out, "w", encoding="utf-8") as f:
        f.write(compare_page(records, lacking))
    print(f"{visible(out)}: {counted(len(records), 'run')} compared")
    return 2 if lacking else 0


def parser():
    """The command line."""
    p = cli.Parser("report", __doc__)
    p.add_argument("runs", nargs="+", metavar="RUN", help="folders that train has written, or folders of these")
    p.add_argument(
        "--out",
        metavar="FILE.html",
        help=f"the page to write (default: {pages.HTML} in the run's folder; of several, {COMPARISON} in "
        f"the folder of runs that was named, or in {RUNS}/ where several were)",
    )
    cli.add_backend(p)
    return p


def runs_in(path):
    """The run in a folder, or all runs in the folders below it. Raises minast.Error if there is none."""
    if not os.path.isdir(path):
        raise Error(f"{path}: there is no such folder: a run is the folder that train has written.")
    found = []
    for folder, inner, files in os.walk(path):
        inner.sort()
        if pages.JSON in files or BEST in files:
            found.append(folder)
            inner.clear()
    if not found:
        raise Error(f"{path}: there is no run here, which would have {BEST} and {pages.JSON}.")
    return found


def default_out(named, folders):
    """Where the page goes: into the folder that was named, or into runs/ where several were, not beside other files."""
    if len(folders) == 1:
        return os.path.join(folders[0], pages.HTML)
    return os.path.join(named[0] if len(named) == 1 else writable_folder(RUNS), COMPARISON)


def record_of(folder, backend=None):
    """What the report.json of a run holds; made first where there is none."""
    path = os.path.join(folder, pages.JSON)
    return pages.load_record(path) if os.path.exists(path) else score(folder, backend)


def one(folder, out, backend):
    """Write the page of one run.   -> a line that says so"""
    if not os.path.exists(os.path.join(folder, pages.JSON)):
        score(folder, backend)
        if os.path.realpath(out) == os.path.realpath(os.path.join(folder, pages.HTML)):
            return f"{visible(out)}: the run was scored again"
    record = pages.load_record(os.path.join(folder, pages.JSON))
    try:
        shown = players(folder, record, backend)
    except Error as error:
        cli.note(f"pictures and sounds are left out: {error}")
        shown = {}
    with atomic(out, "w", encoding="utf-8") as f:
        f.write(pages.run_page(record, shown))
    return f"{visible(out)}: written from {pages.JSON}"


def players(folder, record, backend):
    """Pictures and sounds of a run's worst mistakes, from its checkpoint and its data."""
    model, info, settings = opened(folder, backend)
    data = same_data(settings, info, skip_bad=True)
    held = list(data.of("valid", "test"))
    clips = {content or clip.name: clip for content, clip in zip(contents(held), held, strict=True)}
    wanted = [record["clips"][entry["clip"]] for entry in record["mistakes"]]
    if missing := [clip["name"] for clip in wanted if (clip["content"] or clip["name"]) not in clips]:
        raise Error(f"{data.name}: {visible(missing[0])} is not among its test clips any more.")
    mels = FeatureCache([clips[clip["content"] or clip["name"]] for clip in wanted], info.features, settings.cache)
    numbers = [entry["clip"] for entry in record["mistakes"]]
    return pages.players(
        model,
        info,
        record,
        {i: mels[n] for n, i in enumerate(numbers)},
        {i: mels.clips[n] for n, i in enumerate(numbers)},
    )


def opened(folder, backend) -> tuple[AST, Info, Settings]:
    """The model that a run quotes, and the run's settings. Raises minast.Error that says what is missing."""
    for name in (BEST, LAST):
        if not os.path.exists(os.path.join(folder, name)):
            raise Error(f"{folder} has no {name}: without it a run cannot be scored again.")
    model, info = load(os.path.join(folder, BEST), backend)
    model.cuda_graphs = True
    state = load_state(os.path.join(folder, LAST))
    if "settings" not in state:
        raise Error(f"{os.path.join(folder, LAST)} was not written by a training run.")
    return model, info, Settings.from_saved(state["settings"])


def score(folder, backend):
    """Score a run that has no report.json, and write it.   -> what it holds"""
    model, info, settings = opened(folder, backend)
    _, last = load(os.path.join(folder, LAST), backend)
    dataset = same_data(settings, info, skip_bad=True)
    data = TrainingData.read(dataset, info.features, settings.cache, skip_bad=True)
    data.settle()
    mels, epoch = data.test or data.valid, info.history[-1]["epoch"]
    chosen = data.split == "validation" or epoch < last.history[-1]["epoch"]  # versions up to 0.3 chose on test clips
    split = "test" if data.test or not chosen else "validation"
    about = {"split": split, "loss": data.dataset.scored_as, "epoch": epoch, "step": 0}
    about["seconds"] = last.history[-1].get("seconds", 0.0)
    result = Result.of(scoring.clip_scores(model, info, mels), data.dataset, mels.clips, **about)
    return write_report(folder, settings, data, model, info, result, chosen, last.history)


if __name__ == "__main__":
    cli.run(main)
