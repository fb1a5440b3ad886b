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
