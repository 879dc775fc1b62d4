"""What can go wrong in a way the person can mend, or has asked for."""


class PersonError(Exception):
    """Something the person can mend; the message is one line that says how. Exit code 2."""


class Interrupted(Exception):
    """The person pressed Ctrl-C; what was best is kept. Exit code 130."""
