"""The HTML report: its page, tables and figures."""
