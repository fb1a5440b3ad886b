"""What is heard, as it is heard: from a microphone, or from a stream on standard input.

  python -m minast.listen best.npz --hop 0.5 --min-score 0.8
  python -m minast.listen best.npz - < street.wav
  arecord -f S16_LE -r 16000 -t raw | python -m minast.listen best.npz - --format s16le --rate 16000
  ffmpeg -i rtsp://camera/1 -f wav - | python -m minast.listen best.npz -

Prints an event a line, as JSON with start, end (s), label and score, as soon as it is known: when the label is no
longer heard. Events are those of python -m minast.scan, and so are the flags that say what one is: a file piped in
gives the same events. Several channels are averaged; where they cancel, which scan sees before it begins, a note says
so at the end. On a terminal a line shows what is heard at the moment. The
latency is counted from the arrival of a segment's last sample to its scores. A whole file that is piped in arrives
faster than the model hears it: its latency is mostly the wait for the model. Ctrl-C ends it, with the last events
written and exit status 0.
"""

import json
import os
import sys

import numpy as np

from . import cli
from .console import early, signals
from .console.arguments import whole
from .errors import Error
from .live import pcm
from .live.hearing import Hearing
from .live.microphone import Microphone
from .live.source import Pipe
from .scan import add_events, read_info, settings_of
from .scoring import BATCH
from .streaming.work import Scanner, rounded
from .text import counted, visible

BEHIND = 5.0  # s: a microphone whose sound waits longer for the model is said to


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    refuse(args)
    info = read_info(args.checkpoint)
    scanner = Scanner(settings_of(args, info))
    if info.notes.get("random_head"):
        cli.note("the head of this model is random, not trained yet: these scores mean nothing.")
    scanner.scores(np.zeros((1, info.features.frames, info.features.mel_bins), np.float32))  # the first pass is slow
    source = open_source(args, info.features.rate)
    heard = []

    def stop(number, frame):
        heard.append(number)
        if len(heard) > 1:
            early.leave(number, frame)
        source.stop()

    with Screen(info.labels, source, args.verbose) as screen, signals.handled(stop), source:
        hearing = Hearing(scanner, source, screen.segment)
        try:
            hearing.run(screen.event)
        except Error:
            if not source.stopped or hearing.latencies:  # stopped before the first frame: nothing is wrong
                raise
        finally:
            screen.close()
            summary(hearing, source, screen.events)
    return 0 if not heard or heard[0] == signals.signal.SIGINT else 128 + heard[0]


def parser():
    """The command line."""
    p = cli.Parser("listen", __doc__)
    p.add_argument("checkpoint", metavar="CHECKPOINT", help=cli.CHECKPOINT)
    text = "read standard input, a wav file or raw samples (default: listen to the microphone)"
    p.add_argument("input", nargs="?", metavar="-", help=text)
    add_events(p)
    g = p.add_argument_group("sound")
    g.add_argument("--device", metavar="NAME", help="the microphone: its number, or a part of its name")
    g.add_argument("--format", choices=pcm.RAW, help="of raw samples on standard input, which have no header")
    text = "sample rate of raw samples in Hz (default: the model's)"
    g.add_argument("--rate", type=whole(pcm.MIN_RATE, pcm.MAX_RATE), metavar="HZ", help=text)
    text = "of raw samples (default: 1)"
    g.add_argument("--channels", type=whole(1, pcm.MOST_CHANNELS), metavar="N", help=text)
    p.add_argument("--verbose", action="store_true", help="also say the best label and the latency of each segment")
    p.set_defaults(batch=BATCH)
    cli.add_backend(p)
    return p


def refuse(args):
    """minast.Error for flags that do not go together, before the model is read."""
    if args.input not in (None, "-"):
        raise Error(
            f"{visible(args.input)}: listen takes a microphone, or - for standard input; files are read by "
            "python -m minast.scan CHECKPOINT FILE --out events.csv."
        )
    if args.input is None and (args.format or args.rate or args.channels):
        raise Error("--format, --rate and --channels are for samples on standard input: add a - after CHECKPOINT.")
    if args.input == "-" and args.device:
        raise Error("--device is for a microphone: leave out either it or the -.")
    if args.input == "-" and not args.format and (args.rate or args.channels):
        raise Error("--rate and --channels are for raw samples: say also what they are, by --format.")
    if args.input == "-" and sys.stdin.isatty():
        raise Error("standard input is a terminal: pipe sound into it, or leave out the - to use the microphone.")


def open_source(args, rate):
    """The microphone, or standard input; what was understood is said. rate: the model's, Hz"""
    if args.input is None:
        source = Microphone(rate, args.device)
        cli.note(f"listening to {visible(source.name)} at {source.rate} Hz: Ctrl-C ends it.")
        return source
    number, raw = sys.stdin.fileno(), None
    if args.format:
        width = 2 if args.format == "s16le" else 4
        raw = pcm.Form(args.rate or rate, args.channels or 1, "i" if args.format == "s16le" else "f", width)

    def read(count):
        try:
            return os.read(number, count)
        except OSError as error:
            raise Error(f"standard input cannot be read: {error.strerror or error}.") from None

    form, before = pcm.understood(read, raw)
    cli.note(f"standard input is {'raw samples' if raw else 'a wav file'}: {form.name}.")
    return Pipe(pcm.blocks(read, form, before), form.rate)


class Screen:
    """What the user sees: events on standard output, all else on standard error.

    labels: the model's. verbose: whether each segment is said.
    """

    def __init__(self, labels, source, verbose):
        from tqdm import tqdm

        self.labels, self.source, self.verbose, self.events, self._tqdm = labels, source, verbose, 0, tqdm
        self._lost = self._late = False  # whether that was said
        self.bar = tqdm(bar_format="{desc}", disable=None, leave=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Remove the line of the moment."""
        self.bar.close()

    def event(self, event):
        """Print an event, at once."""
        start, end, label, score = rounded(event)
        row = {"start": start, "end": end, "label": self.labels[label], "score": score}
        with self._tqdm.external_write_mode():
            print(json.dumps(row), flush=True)
        self.events += 1

    def segment(self, segment, row, latency):
        """Show what is heard now."""
        best = int(row.argmax())
        text = f"{visible(self.labels[best], 60)} {row[best]:.2f}, latency {1000 * latency:.0f} ms"
        if self.verbose:
            self.note(f"{segment.start:.2f} to {segment.end:.2f} s: {text}")
        if self.source.overruns and not self._lost:
            self._lost = True
            self.note(f"at about {segment.end:.1f} s the microphone's buffer ran over: some sound was lost.")
        if self.source.live and latency > BEHIND and not self._late:
            self._late = True
            self.note(f"the model is slower than the sound, and {latency:.0f} s behind: use a larger --hop.")
        self.bar.set_description_str(f"{segment.end:7.1f} s  {text}")

    def note(self, text):
        """A sentence on standard error, above the line of the moment."""
        with self._tqdm.external_write_mode(sys.stderr):
            cli.note(text)


def summary(hearing, source, events):
    """Say what there was, how late it was known, and what was lost."""
    late = hearing.latencies
    if source.overruns:
        cli.note(
            f"the microphone's buffer ran over {counted(source.overruns, 'time')}: the machine was too busy; later "
            "events are early by what was lost."
        )
    if source.live and not source.stopped:
        cli.note(f"{visible(source.name)} gives no more sound: it was unplugged, or taken by another program.")
    if source.level and source.level.loudest_if_cancelled() is not None:
        cli.note(
            f"the {source.level.channels} channels cancel each other out (opposite polarity), so that little was "
            "heard: hand on one of them alone."
        )
    if not late:
        if source.stopped:  # else an error says why
            cli.note(f"nothing was heard: {source.name} gave less than a frame of sound.")
        return
    median, p99 = np.percentile(late, (50, 99)) * 1000
    device = f", and {1000 * source.extra:.0f} ms in the microphone's buffer" if source.extra else ""
    cli.note(
        f"{counted(events, 'event')} in {hearing.seconds:.1f} s of sound; latency of {counted(len(late), 'segment')}: "
        f"median {median:.0f} ms, p99 {p99:.0f} ms{device}."
    )


if __name__ == "__main__":
    cli.run(main)
