"""Writes the files beside it. They need FFmpeg's encoders: `pip install av` in an environment of its own.

python tests/sound/files/make.py
"""

from pathlib import Path

import av
import numpy as np

HERE, RATE = Path(__file__).parent, 16000


def tone_then_noise(seconds, noisy):
    """`seconds` of 440 Hz, then `noisy` of white noise."""
    t = np.arange(seconds * RATE) / RATE
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, noisy * RATE)
    return np.concatenate([0.5 * np.sin(2 * np.pi * 440 * t), noise]).astype(np.float32)


def write(name, codec, wave, container=None, quality=None, bit_rate=None, options=None):
    """Encode a waveform with FFmpeg."""
    with av.open(str(HERE / name), "w", format=container, options=options or {}) as out:
        stream = out.add_stream(codec, rate=RATE, layout="mono")
        if quality is not None:  # changing frame sizes
            stream.codec_context.global_quality, stream.codec_context.flags = quality, 2
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        resampler = av.AudioResampler(format=stream.codec_context.format.name, layout="mono", rate=RATE)
        for i in range(0, len(wave), 1152):
            frame = av.AudioFrame.from_ndarray(wave[None, i : i + 1152], format="fltp", layout="mono")
            frame.rate, frame.pts = RATE, i
            for converted in resampler.resample(frame):
                out.mux(stream.encode(converted))
        out.mux(stream.encode(None))


if __name__ == "__main__":
    plain = {"write_xing": "0", "id3v2_version": "0"}
    write("vbr.mp3", "libmp3lame", tone_then_noise(2, 4), quality=472, options=plain)
    write("layer2.mp2", "mp2", tone_then_noise(1, 0), bit_rate=32000)
    write("inside.wav", "libmp3lame", tone_then_noise(1, 0), container="wav", bit_rate=32000)
    write("sound.m4a", "aac", tone_then_noise(1, 0), container="ipod", bit_rate=32000)
