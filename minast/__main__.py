"""The console command: `minast VERB ...` is `python -m minast.VERB ...`."""

import difflib
import importlib
import os

from . import cli
from .errors import Error
from .version import __version__

COMMANDS = {
    "train": "train a classifier on a folder of sounds, a manifest, or a known data set",
    "predict": "name what is heard in audio files",
    "evaluate": "measure how good a model is on labelled clips",
    "scan": "write a table of what happens when, in long recordings and archives",
    "calibrate": "make probabilities mean what they say, and choose a threshold for each class",
    "embed": "write the embeddings of audio files, or an index of an archive",
    "search": "find what sounds like a recording, in an index",
    "probe": "fit a classifier of your own to an index and labels, in seconds",
    "listen": "say what is heard as it is heard: from a microphone, or a stream on standard input",
    "export": "write a checkpoint for other programs: ONNX, or a Hugging Face folder",
    "convert": "turn pretrained ViT, DeiT or AST weights into a checkpoint",
    "data": "download a data set; say what is in one, and what is wrong with it",
    "stats": "measure the mean and standard deviation of a data set's features",
    "report": "write the page of a training run, or one that compares several",
    "bench": "measure speed and memory",
}
MODULES = {"bench": "bench.__main__"}  # packages; every other command is the module of its name
COMPLETION = "--print-completion"


def main(argv: list[str] | None = None) -> None:
    """Run a command and exit with its status. argv: a verb and its arguments (default: the process's)."""
    cli.run(dispatch, argv)


def dispatch(argv):
    """-> the exit status of the command that the arguments begin with"""
    verb, *rest = argv or ["--help"]
    if verb in ("-h", "--help"):
        print(usage())
        return 0
    if verb == "--version":
        print(f"minast {__version__}")
        return 0
    if verb == COMPLETION:
        print(completion(*rest[:1]))
        return 0
    return module(verb).main(rest)


def module(verb):
    """The module of a command; minast.Error, with the nearest name, for one that does not exist."""
    if verb not in COMMANDS:
        close = difflib.get_close_matches(verb, COMMANDS, 1, 0.6)
        hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(COMMANDS)}."
        raise Error(f"there is no command {verb!r}: {hint}")
    return importlib.import_module(f"{__package__}.{MODULES.get(verb, verb)}")


def usage():
    """What `minast --help` prints."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {verb:{width}}  {line}" for verb, line in COMMANDS.items())
    shell = os.path.basename(os.environ.get("SHELL", ""))
    script = f"minast {COMPLETION} {shell if shell in ('zsh', 'fish') else 'bash'}"
    switch_on = f"{script} | source" if shell == "fish" else f'eval "$({script})"'
    return f"""usage: minast COMMAND ...

Audio Spectrogram Transformers from scratch: train, use and study them.

commands:
{commands}

`minast COMMAND --help` lists a command's arguments; `minast --version` prints the version.
Shell completion, in this session or your shell's start-up file:  {switch_on}"""


def completion(shell="bash"):
    """The script that makes a shell complete `minast`'s commands, flags and file names."""
    try:
        import shtab
    except ImportError:
        raise Error("shell completion needs shtab: pip install shtab.") from None
    if shell not in shtab.SUPPORTED_SHELLS:
        raise Error(f"there is no completion for {shell!r}: choose one of {', '.join(shtab.SUPPORTED_SHELLS)}.")
    root = cli.argparse.ArgumentParser(prog="minast")
    root.add_argument("--version", action="version", version=__version__)
    root.add_argument(COMPLETION, choices=shtab.SUPPORTED_SHELLS)
    verbs = root.add_subparsers()
    for verb, line in COMMANDS.items():
        parser = verbs.add_parser(verb, help=line, parents=[module(verb).parser()], add_help=False)
        data = next((action for action in parser._actions if action.metavar == "DATA"), None)
        for action in parser._actions:
            if action is data or (data and action.nargs == "+" and not action.option_strings):  # DATA may be next
                action.complete = names_and_files(shtab, data.suggestions)
                continue
            action.choices = getattr(action, "suggestions", action.choices)
            if action.nargs != 0 and action.type is None and action.choices is None:  # a text: most are paths
                action.complete = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE
    return shtab.complete(root, shell)


def names_and_files(shtab, names):
    """A completion for shtab: in bash, names or files; in other shells, files alone."""
    function = f"_minast_data_files() {{ compgen -f -- $1; compgen -W '{' '.join(names)}' -- $1; }}"
    return {**shtab.FILE, "bash": "_minast_data_files", "preamble": {"bash": function}}


if __name__ == "__main__":
    main()
