"""Methods that hold parameters which mattered to earlier tasks."""
