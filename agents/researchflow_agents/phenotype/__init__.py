"""The phenotype agent: who belongs to a cohort, how many they are, and why the others do not.

criteria.py      the typed input
reading.py       JSON to criteria, errors that name the criterion
dates.py         ages and periods as dates
truth.py         true, false and undecided as filters
translation.py   criteria to filters
vocabulary.py    codes and units as they occur in the records
agent.py         run_phenotype()
result.py        its result
"""

from researchflow_agents.phenotype.agent import cohort_filter, run_phenotype
from researchflow_agents.phenotype.criteria import Phenotype
from researchflow_agents.phenotype.reading import parse_phenotype
from researchflow_agents.phenotype.result import AttritionStep, PhenotypeResult, ToolCall

__all__ = [
    "AttritionStep",
    "Phenotype",
    "PhenotypeResult",
    "ToolCall",
    "cohort_filter",
    "parse_phenotype",
    "run_phenotype",
]
