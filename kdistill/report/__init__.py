"""The report: one self-contained HTML page that shows what a run bought with its queries."""

from kdistill.report.neighbours import Neighbour, NeighbourRow, Neighbours
from kdistill.report.page import write_report

__all__ = ["Neighbour", "NeighbourRow", "Neighbours", "write_report"]
