"""Which files are sound, and what to say of one that cannot be read."""

import os

from ..storage.signatures import recognised
from . import pyav

EXTENSIONS = (  # read always
    *(".wav", ".flac", ".ogg", ".mp3", ".opus", ".oga", ".aif", ".aiff", ".au", ".w64", ".caf"),
    *(".aifc", ".mp2", ".rf64", ".snd", ".sph", ".wave"),
)
CONVERTIBLE = (  # sound, too, but read only where PyAV is installed
    *(".m4a", ".m4b", ".mp4", ".mov", ".3gp", ".aac", ".ac3", ".amr", ".ape", ".wma", ".wv"),
    *(".avi", ".mka", ".mkv", ".mpc", ".tta", ".webm", ".spx"),
)
RAW = (".raw", ".pcm", ".vox", ".gsm", ".al", ".ul", ".sln", ".lpcm")  # samples alone: no rate, no coding, no channels


def refusal(path: str, head: bytes, why: str) -> str:
    """What is wrong with a file that nothing here can decode, and what to do about it; without the file's name.

    head: its first bytes. why: the decoder's reason.
    """
    suffix = os.path.splitext(path)[1].lower()
    if found := recognised(head):
        return f"this is not sound: it is {found}."
    if suffix in RAW:
        return (
            f"a {suffix} file holds samples alone, and does not say their rate and coding: say them while converting "
            "it, for example `ffmpeg -f s16le -ar 16000 -ac 1 -i IN OUT.wav`."
        )
    if suffix in CONVERTIBLE and not pyav.installed():
        return (
            f"this cannot be decoded as audio ({why}). `ffmpeg -i IN OUT.wav` converts it; `pip install av` (PyAV) "
            "lets minast read it as it is."
        )
    return (
        f"this cannot be decoded as audio ({why}): give a wav, flac, ogg or mp3 file, or convert it with "
        "`ffmpeg -i IN OUT.wav`."
    )
