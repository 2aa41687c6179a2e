"""An expression evaluated over resources at hand, with the SQL of the compiler.

The resources are constants of the statement; nothing is read from tables, and nothing written.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from researchflow_runners.compiler.expression import CompiledExpression, compile_expression
from researchflow_runners.errors import FhirPathError, StatementError
from researchflow_runners.sql import Sql, compose, param
from researchflow_runners.store.data_faults import is_data_error, reason
from researchflow_runners.store.database import Session

TIMEOUT_S = 30.0
COMPILED_MAX = 256
#: `json` keeps the text of the resource, its decimals included.
RESOURCE = """(SELECT 1::bigint AS res_id, r.v ->> 'id' AS id, r.v::text AS text,
 NULL::jsonb AS meta FROM (SELECT {document}::json{place} AS v) AS r)"""


@dataclass
class Trial:
    """Evaluates expressions; each is compiled once for each type of resource."""

    session: Session
    _compiled: dict[tuple[str, str], CompiledExpression] = field(default_factory=dict)

    async def items(self, expression: str, resource_type: str, document: Sql) -> str:
        """The items over the resource that the document is, as the JSON text of an array.

        Raises FhirPathError where the expression cannot be compiled, and `data_error` where the
        resource makes it fail; ViewDefinitionError `unknown_resource_type`.
        """
        return await self._found(self.compiled(expression, resource_type).items, document)

    async def typed_items(self, expression: str, resource_type: str, document: Sql) -> str:
        """The same of objects with `type` and `value`."""
        return await self._found(self.compiled(expression, resource_type).typed_items, document)

    def compiled(self, expression: str, resource_type: str) -> CompiledExpression:
        """The expression compiled for a type of resource; errors as compile_expression."""
        key = (expression, resource_type)
        if key not in self._compiled:
            if len(self._compiled) >= COMPILED_MAX:
                self._compiled.clear()
            self._compiled[key] = compile_expression(expression, resource_type)
        return self._compiled[key]

    async def _found(self, select: Callable[[Sql], Sql], document: Sql) -> str:
        try:
            async with self.session.transaction(
                isolation="repeatable read", readonly=True, statement_timeout_s=TIMEOUT_S
            ):
                return str(await self.session.fetchval(select(document)))
        except StatementError as error:
            if not is_data_error(error):
                raise
            raise FhirPathError(
                f"the resource makes the expression fail: {reason(error)}",
                code="several_items" if error.sqlstate == "21000" else "data_error",
                hint="Select one item with first() or where(), or narrow the expression.",
            ) from error


def resource_of(text: str) -> Sql:
    """The relation of one resource: the JSON text of an object."""
    return compose(RESOURCE, document=param(text, "text"), place=compose(""))


def resource_in(text: str) -> Sql:
    """The relation of the member `resource` of a JSON text."""
    return compose(RESOURCE, document=param(text, "text"), place=compose(" -> 'resource'"))


def empty_resource(resource_type: str) -> Sql:
    """The relation of a resource that has nothing but its type."""
    return resource_of(json.dumps({"resourceType": resource_type}))
