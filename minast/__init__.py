"""minast: the Audio Spectrogram Transformer, written by hand in NumPy, small enough to read."""

__version__ = "0.1.0"
