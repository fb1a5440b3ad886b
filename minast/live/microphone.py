"""The microphone, through PortAudio."""

from ..errors import Error, reason
from .source import Source


class Microphone(Source):
    """A microphone, heard at the model's rate if it can have it, else at its own.

    rate: Hz, the model's. device: its number or a part of its name (default: the system's). Raises minast.Error without
    the package sounddevice, without PortAudio, and for a device that is missing or cannot be opened.
    """

    live = True

    def __init__(self, rate: int, device: str | None = None):
        self._lib = sounddevice()
        self._device = int(device) if device is not None and device.isdecimal() else device
        try:
            about = self._lib.query_devices(self._device, "input")
        except Exception as error:  # PortAudioError, ValueError: none, several, or another one
            raise Error(
                f"there is no microphone to listen to ({reason(error)}): python -m sounddevice lists what there is, "
                "--device chooses one."
            ) from None
        try:
            self._lib.check_input_settings(device=self._device, channels=1, dtype="float32", samplerate=rate)
        except Exception:
            rate = int(about["default_samplerate"])
        super().__init__(rate, about["name"])

    def __enter__(self):
        try:
            self._stream = self._lib.InputStream(
                samplerate=self.rate,
                device=self._device,
                channels=1,
                dtype="float32",
                latency="low",
                callback=self._heard,
                finished_callback=self.end,
            )
            self._stream.start()
        except Exception as error:
            raise Error(f"the microphone {self.name} cannot be opened: {reason(error)}.") from None
        self.extra = float(self._stream.latency)
        return self

    def __exit__(self, *_):
        self._stream.close()

    def _heard(self, samples, count, clock, status):
        """Called by PortAudio, in its thread."""
        self.overruns += bool(status.input_overflow)
        self.put(samples.copy())


def sounddevice():
    """The package. Raises minast.Error where it, or the library below it, is missing."""
    try:
        import sounddevice
    except ImportError:
        raise Error(
            "listening to a microphone needs the package sounddevice: pip install '.[live]' in the checkout."
        ) from None
    except OSError as error:  # no PortAudio
        raise Error(
            f"sounddevice finds no PortAudio ({reason(error)}): install it, on Debian and Ubuntu with apt-get install "
            "libportaudio2; or pipe sound into: minast listen CHECKPOINT -"
        ) from None
    return sounddevice
