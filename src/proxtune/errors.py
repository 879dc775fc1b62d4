"""What can go wrong in a way that the user can fix, or has asked for."""


class UserError(Exception):
    """Something the user can fix: the message is one line that says what is wrong and what to do. Exit code 2.

    Examples
    --------
    >>> from proxtune import Budget, UserError
    >>> try:
    ...     Budget(memory="much")
    ... except UserError as error:
    ...     print(error)
    --memory 'much' is not an amount; write it like 700MB or 1.5GiB
    """


class DiskFailed(UserError):
    """The disk did not keep what was written to it. Nothing is tried again: what is on disk before it is good."""


class Interrupted(Exception):
    """The user pressed Ctrl-C, or the process was asked to end; what was best is kept. `by` names the signal.

    Exit code 128 + its number: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, message: str = "", by: int = 2) -> None:
        super().__init__(message)
        self.by = by
