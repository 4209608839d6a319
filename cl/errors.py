"""The one exception that a user's mistake raises."""


class UserError(Exception):
    """Bad input: one line that names the key, the value and the remedy.

    The command line prints it without a traceback and exits with code 2. Everything else that is
    raised is a defect of ours and keeps its traceback.
    """
