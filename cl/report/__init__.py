"""Reports: one HTML file that opens offline, the same table for the terminal, and the pictures by themselves."""

from cl.report.figures import figures, save_images
from cl.report.headline import headline
from cl.report.page import write, write_figures
from cl.report.table import terminal_table

__all__ = ["figures", "headline", "save_images", "terminal_table", "write", "write_figures"]
