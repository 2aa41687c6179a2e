"""The extraction agent: the records of a cohort as files, all at one anchor.

request.py     the typed input
cohort.py      whose records
csv_file.py    one CSV file
folder.py      the output folder, complete or absent
manifest.py    what lies beside the data
agent.py       run_extraction()
"""

from researchflow_agents.extraction.agent import run_extraction
from researchflow_agents.extraction.manifest import ExtractionResult, FileHeader
from researchflow_agents.extraction.request import DataElement, ExtractionRequest, parse_request

__all__ = [
    "DataElement",
    "ExtractionRequest",
    "ExtractionResult",
    "FileHeader",
    "parse_request",
    "run_extraction",
]
