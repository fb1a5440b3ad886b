"""The one exception that a user's input can cause."""


class Error(ValueError):
    """Something a user can put right: the message says what was found, where, and what to do about it.

    A command (`python -m minast.<verb>`) prints the message without a traceback and exits with status 2.
    """


def reason(error: BaseException) -> str:
    """What another library's exception says, to be put into a sentence: its first line, without a full stop."""
    lines = str(error).strip("'\"").splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
