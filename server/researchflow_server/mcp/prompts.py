"""The usual jobs as prompts: which tools to call, in which order, and what to say with the answer.

A prompt is a message that a person sends; its arguments are checked before it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    GetPromptResult,
    Prompt,
    PromptArgument,
    PromptMessage,
    TextContent,
)

from researchflow_runners.errors import ResearchFlowError
from researchflow_runners.naming import is_unlisted, nearest
from researchflow_server.runtime import Runtime
from researchflow_server.runtime.views import View, askable_views
from researchflow_server.tools.result import error_parts

TEXT_CHARS_MAX = 2_000
NAMES_SHOWN_MAX = 20
DATED = "Say with every number the anchor and data_as_of it is of, and any warning of the answer."

Given = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Job:
    """A prompt: its arguments with what each means, and the message they make."""

    name: str
    title: str
    description: str
    required: Mapping[str, str]
    optional: Mapping[str, str]
    tell: Callable[[Given], str]

    @property
    def arguments(self) -> tuple[str, ...]:
        """The names of all arguments."""
        return (*self.required, *self.optional)

    def listed(self) -> Prompt:
        """The prompt as clients see it."""
        return Prompt(
            name=self.name,
            title=self.title,
            description=self.description,
            arguments=[
                PromptArgument(name=name, description=words, required=name in self.required)
                for name, words in {**self.required, **self.optional}.items()
            ],
        )


def _count_cohort(given: Given) -> str:
    code = given.get("code")
    found = f"The code {code} is one of them. " if code else ""
    return (
        f"How many patients are these: {given['who']}?\n\n"
        f"1. Find the codes that occur for each condition, drug, measurement or procedure with "
        f"find_codes. {found}Codes match exactly.\n"
        "2. Count them in one call of query_view on patient_demographics: a filter for what is of "
        'the patient, and {"column": "id", "op": "in", "query": {"view": .., "where": ..}} for '
        'each of the rest, in {"all_of": [..]}; aggregates [{"fn": "count"}].\n'
        "3. Count the patients without the last filters too, so that the number has its "
        "denominator.\n\n"
        f"{DATED} Name the codes that were counted."
    )


def _profile_view(given: Given) -> str:
    column = given.get("column")
    asked = f" Look at the column {column} above all." if column else ""
    return (
        f"What does the view {given['view']} hold, and what is missing in it?\n\n"
        f'1. describe_view with view "{given["view"]}", then again with show "profile".\n'
        "2. Tell how many rows there are, which columns are mostly empty, which values are most "
        "frequent, the range of every date and number by unit, and what looks wrong: dates in the "
        f"future, units mixed, one code for everything.{asked}\n\n{DATED}"
    )


def _explain_changes(given: Given) -> str:
    view = given.get("view")
    which = f"the view {view}" if view else "each view whose content_hash differs"
    return (
        f"What changed in the data since {given['since']}?\n\n"
        f"1. Read researchflow://anchors/{given['since']} and the newest of researchflow://anchors "
        "with its own address: views of the same content_hash have the same rows.\n"
        f"2. For {which}, ask query_view the same counts twice, with as_of {given['since']} and "
        'with freshness "anchored": rows, patients, and by status or code.\n'
        "3. Tell what was added, what went and what changed, and what waits since the newest "
        "anchor: get_statistics.\n\nName both anchors and the instants they are of."
    )


def _draw_distribution(given: Given) -> str:
    by = given.get("by")
    series = f', by "{by}"' if by else ""
    return (
        f"How is {given['column']} of the view {given['view']} distributed?\n\n"
        f'1. describe_view with view "{given["view"]}" and show "profile": is {given["column"]} a '
        "number, a date or a code, and in which units?\n"
        f'2. draw it: chart "histogram" with x "{given["column"]}" for numbers, one unit at a time;'
        f' chart "bar" of a count grouped by it for codes, and by year for dates{series}.\n'
        "3. Say in words what the picture shows, what is missing and how many rows are in it.\n\n"
        f"{DATED}"
    )


_VIEW, _COLUMN = "A view's name", "A column of the view"
JOBS = {
    job.name: job
    for job in (
        Job(
            "count_cohort",
            "Count a cohort",
            "How many patients meet some criteria, with the codes that were counted",
            {"who": "The criteria in words"},
            {"code": "A code that is known already"},
            _count_cohort,
        ),
        Job(
            "profile_view",
            "Profile a view",
            "What a view holds, and what is missing in it",
            {"view": _VIEW},
            {"column": _COLUMN},
            _profile_view,
        ),
        Job(
            "explain_changes",
            "Explain what changed",
            "What is new, changed or gone since an anchor",
            {"since": "An anchor's number or a pin's name"},
            {"view": _VIEW},
            _explain_changes,
        ),
        Job(
            "draw_distribution",
            "Draw a distribution",
            "A picture of how the values of a column are distributed",
            {"view": _VIEW, "column": _COLUMN},
            {"by": "A column of the view to tell series apart"},
            _draw_distribution,
        ),
    )
}


async def told_prompt(runtime: Runtime, job: Job, arguments: Given) -> GetPromptResult:
    """The message of a prompt; MCPError names the argument that is wrong, and the nearest."""
    for name in job.required:
        if not arguments.get(name, "").strip():
            raise _refused(f'the prompt "{job.name}" needs the argument "{name}"')
    for name, value in arguments.items():
        if name not in job.arguments:
            raise _unknown("argument", name, job.arguments)
        if len(value) > TEXT_CHARS_MAX:
            raise _refused(f'the argument "{name}" is longer than {TEXT_CHARS_MAX} characters')
    await _check_names(runtime, arguments)
    message = PromptMessage(role="user", content=TextContent(type="text", text=job.tell(arguments)))
    return GetPromptResult(description=job.description, messages=[message])


async def _check_names(runtime: Runtime, arguments: Given) -> None:
    """Returns where the view and its columns are there."""
    if not arguments.get("view"):
        return
    try:
        views: Mapping[str, View] = await askable_views(runtime)
    except ResearchFlowError as error:
        parts = {"error": error_parts(error)}
        raise MCPError(code=INTERNAL_ERROR, message=error.message, data=parts) from error
    view = views.get(arguments["view"])
    if view is None:
        raise _unknown("view", arguments["view"], views)
    names = [column.name for column in view.columns]
    for argument in ("column", "by"):
        name = arguments.get(argument)
        if name and name not in names:
            raise _unknown("column", name, names)


def _unknown(what: str, name: str, known: Iterable[str]) -> MCPError:
    names = [one for one in known if not is_unlisted(one)]
    guess = nearest(name, names)
    hint = f'; did you mean "{guess}"?' if guess else f"; there are {_some(names)}"
    return _refused(f'there is no {what} "{name[:200]}"{hint}')


def _some(names: list[str]) -> str:
    """The first of the names, and how many more there are."""
    more = len(names) - NAMES_SHOWN_MAX
    return ", ".join(names[:NAMES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def _refused(message: str) -> MCPError:
    return MCPError(code=INVALID_PARAMS, message=message)
