"""The base of every error that the command line reports without a traceback."""


class OpsError(Exception):
    """A command did not do what was asked for. The message says why, what state is left, and the next step.

    Every function of this package may raise it; docstrings name the subclasses and the cases that a caller handles.
    """


class Interrupted(BaseException):
    """A signal asks this process to end."""
