"""The exception for everything a user can cause."""


class Error(ValueError):
    """A mistake that a user can fix: the message says what was found, where, and what to do about it.

    A command (`minast VERB`) prints the message without a traceback and exits with status 2.
    """
