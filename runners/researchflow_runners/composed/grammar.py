"""The parts of SQL that a composed view may be made of, as PostgreSQL's own parse tree names them.

What is not listed is refused, fields of listed nodes included: a construct that a later parser
knows is refused until somebody has read what it does.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

#: `node`: a node, or a list of them, each wrapped in its type's name. `value`: a plain value.
#: Any other word is the type of a node that stands there unwrapped.
FieldKind: TypeAlias = Literal["node", "value"] | str

NODE: Final = "node"
VALUE: Final = "value"


def _fields(nodes: str = "", values: str = "", **unwrapped: str) -> dict[str, FieldKind]:
    return {
        "location": VALUE,
        **dict.fromkeys(nodes.split(), NODE),
        **dict.fromkeys(values.split(), VALUE),
        **unwrapped,
    }


NODES: dict[str, dict[str, FieldKind]] = {
    "SelectStmt": _fields(
        "distinctClause targetList fromClause whereClause groupClause havingClause windowClause"
        " valuesLists sortClause limitOffset limitCount",
        "groupDistinct limitOption op all",
        withClause="WithClause",
        larg="SelectStmt",
        rarg="SelectStmt",
    ),
    "WithClause": _fields("ctes"),
    "CommonTableExpr": _fields("aliascolnames ctequery", "ctename ctematerialized"),
    "ResTarget": _fields("val", "name"),
    "ColumnRef": _fields("fields"),
    "A_Star": _fields(),
    "A_Const": _fields(values="ival fval boolval sval bsval isnull"),
    "String": _fields(values="sval"),
    "Integer": _fields(values="ival"),
    "List": _fields("items"),
    "A_Expr": _fields("name lexpr rexpr", "kind rexpr_list_start rexpr_list_end"),
    "BoolExpr": _fields("args", "boolop"),
    "NullTest": _fields("arg", "nulltesttype argisrow"),
    "BooleanTest": _fields("arg", "booltesttype"),
    "CaseExpr": _fields("arg args defresult"),
    "CaseWhen": _fields("expr result"),
    "CoalesceExpr": _fields("args"),
    "MinMaxExpr": _fields("args", "op"),
    "TypeCast": _fields("arg", typeName="TypeName"),
    "TypeName": _fields("names typmods arrayBounds", "typemod"),
    "CollateClause": _fields("arg collname"),
    "FuncCall": _fields(
        "funcname args agg_order agg_filter",
        "agg_within_group agg_star agg_distinct func_variadic funcformat",
        over="WindowDef",
    ),
    "NamedArgExpr": _fields("arg", "name argnumber"),
    "WindowDef": _fields(
        "partitionClause orderClause startOffset endOffset", "name refname frameOptions"
    ),
    "SortBy": _fields("node", "sortby_dir sortby_nulls"),
    "SubLink": _fields("testexpr operName subselect", "subLinkType subLinkId"),
    "RangeVar": _fields(values="relname inh relpersistence", alias="Alias"),
    "Alias": _fields("colnames", "aliasname"),
    "RangeSubselect": _fields("subquery", "lateral", alias="Alias"),
    "RangeFunction": _fields("functions", "lateral ordinality is_rowsfrom", alias="Alias"),
    "JoinExpr": _fields(
        "larg rarg usingClause quals",
        "jointype isNatural rtindex",
        join_using_alias="Alias",
        alias="Alias",
    ),
    "GroupingSet": _fields("content", "kind"),
    "GroupingFunc": _fields("args"),
    "RowExpr": _fields("args", "row_format"),
    "A_ArrayExpr": _fields("elements", "list_start list_end"),
    "A_Indirection": _fields("arg indirection"),
    "A_Indices": _fields("lidx uidx", "is_slice"),
    "ParamRef": _fields(values="number"),
}

#: What a refused node or field is called by those who write SQL.
CONSTRUCTS: dict[str, str] = {
    "CurrentOfExpr": "WHERE CURRENT OF",
    "JsonTable": "JSON_TABLE",
    "JsonFuncExpr": "JSON_VALUE, JSON_QUERY and JSON_EXISTS",
    "JsonObjectConstructor": "JSON_OBJECT",
    "JsonArrayConstructor": "JSON_ARRAY",
    "JsonObjectAgg": "JSON_OBJECTAGG",
    "JsonArrayAgg": "JSON_ARRAYAGG",
    "JsonIsPredicate": "IS JSON",
    "RangeTableFunc": "XMLTABLE",
    "RangeTableSample": "TABLESAMPLE",
    "SetToDefault": "DEFAULT",
    "RangeVar.schemaname": "a name with a schema",
    "RangeVar.catalogname": "a name with a schema",
    "A_Indirection.String": "a field of a value",
    "A_Indirection.A_Star": "a field of a value",
    "SelectStmt.intoClause": "SELECT INTO",
    "SelectStmt.lockingClause": "FOR UPDATE",
    "WithClause.recursive": "WITH RECURSIVE",
    "CommonTableExpr.search_clause": "SEARCH",
    "CommonTableExpr.cycle_clause": "CYCLE",
    "RangeFunction.coldeflist": "a column definition list",
    "SortBy.useOp": "ORDER BY … USING",
    "TypeName.setof": "SETOF",
    "TypeName.pct_type": "%TYPE",
    "XmlExpr": "XML",
    "XmlSerialize": "XMLSERIALIZE",
}
