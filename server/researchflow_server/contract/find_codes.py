"""`find_codes`: words to codes; its answer has the shape of `query_view`'s."""

from __future__ import annotations

from researchflow_runners.codes.query import CodeQuery
from researchflow_server.contract.base import Detailed

FIND_CODES = "find_codes"


class FindCodesInput(CodeQuery, Detailed):
    """The runners' own question, and how much of its answer is told."""
