"""Pictures of answers: an answer becomes marks, the marks a Vega-Lite specification and a PNG."""

from researchflow_server.pictures.marks import Drawn
from researchflow_server.pictures.picture import check_columns, drawn, rows_max, specification
from researchflow_server.pictures.renderer import PictureError, Renderer
from researchflow_server.pictures.units import check_units, number_column

__all__ = [
    "Drawn",
    "PictureError",
    "Renderer",
    "check_columns",
    "check_units",
    "drawn",
    "number_column",
    "rows_max",
    "specification",
]
