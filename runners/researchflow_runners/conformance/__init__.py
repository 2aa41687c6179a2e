"""The official test format of SQL on FHIR, run against the compiler on PostgreSQL.

suite.py        the JSON of a suite, checked
run.py          one case: compiled, run over the suite's resources, judged
comparison.py   what is expected beside what was found (pure)
report.py       the official report (pure)
"""

from researchflow_runners.conformance.comparison import difference, multiset
from researchflow_runners.conformance.report import Result, report
from researchflow_runners.conformance.run import judge, rows_of
from researchflow_runners.conformance.suite import Case, Malformed, Suite, read_suites

__all__ = [
    "Case",
    "Malformed",
    "Result",
    "Suite",
    "difference",
    "judge",
    "multiset",
    "read_suites",
    "report",
    "rows_of",
]
