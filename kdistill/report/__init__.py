"""The report: one self-contained HTML page that shows what a run bought with its queries."""

from kdistill.report.neighbours import Neighbour, NeighbourRow
from kdistill.report.page import write_report

__all__ = ["Neighbour", "NeighbourRow", "write_report"]
