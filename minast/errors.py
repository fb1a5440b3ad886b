"""The exception for everything a user can cause."""


class Error(ValueError):
    """A mistake that a user can fix: the message says what was found, where, and what to do about it.

    A command (`minast VERB`) prints the message without a traceback and exits with status 2.
    """


def reason(error: BaseException) -> str:
    """What another library's exception says, to be put into a sentence: its first line, without a full stop.

    Without the number that the system and PyAV put in front, soundfile's "Error : " and the quotes of KeyError.
    """
    said = getattr(error, "error_string", None) or getattr(error, "strerror", None)
    said = said or (error.args[0] if isinstance(error, KeyError) and error.args else error)
    lines = str(said).strip().splitlines()
    return lines[0].removeprefix("Error : ").rstrip(".") if lines else type(error).__name__


def in_words(error: Error | OSError | MemoryError) -> str:
    """What stops a run, as a sentence: also a full disk or memory, and a file that is gone."""
    if isinstance(error, MemoryError):
        return f"out of memory ({error}): use a smaller model or batch, or fewer processes."
    if isinstance(error, OSError):
        return f"{error.filename or 'a file or stream'}: {error.strerror or reason(error)}."
    return str(error)
