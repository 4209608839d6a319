"""Methods that hold parameters which are important to earlier tasks near their old values."""
