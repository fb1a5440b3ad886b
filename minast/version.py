"""The version: a module of its own, so that any other one can import it."""

__version__ = "0.3.0"
