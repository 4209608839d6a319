"""The exception for users' mistakes."""


class UserError(Exception):
    """Invalid input. The message is one line that names the key, the value and the remedy.

    The command line prints the message without a traceback and exits with code 2. Any other exception is a defect of
    `cl` and keeps its traceback.
    """
