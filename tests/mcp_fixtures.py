"""The tools, resources and prompts that MCP's conformance scenarios call, on any server of ours.

Their names, words and behaviour are the suite's; nothing of them is part of the product.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    ClientCapabilities,
    Completion,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    MissingRequiredClientCapabilityErrorData,
    SamplingCapability,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)

Ctx = Context[Any, Any]
Server = MCPServer[Any]

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5"
    "ErkJggg=="
)
SILENCE = base64.b64encode(
    b"RIFF$\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00@\x1f\x00\x00@\x1f\x00\x00"
    b"\x01\x00\x08\x00data\x00\x00\x00\x00"
).decode()
STEP_S = 0.02
QUESTION = "What is the capital of France?"


def add_fixtures(server: Server) -> None:
    """Everything that the scenarios of both eras look for."""
    for tool in (*CONTENT_TOOLS, *CLIENT_TOOLS, *INPUT_TOOLS):
        server.add_tool(tool)
    _add_resources(server)
    _add_prompts(server)
    _add_handshake_era(server)


def text(words: str) -> TextContent:
    return TextContent(type="text", text=words)


def embedded(uri: str, words: str, mime_type: str = "text/plain") -> EmbeddedResource:
    contents = TextResourceContents(uri=uri, mime_type=mime_type, text=words)
    return EmbeddedResource(type="resource", resource=contents)


def image() -> ImageContent:
    return ImageContent(type="image", data=PIXEL, mime_type="image/png")


# Tools that only answer.


async def test_simple_text() -> str:
    """Gives a text."""
    return "This is a simple text response for testing."


async def test_image_content() -> ImageContent:
    """Gives an image."""
    return image()


async def test_audio_content() -> AudioContent:
    """Gives a sound."""
    return AudioContent(type="audio", data=SILENCE, mime_type="audio/wav")


async def test_embedded_resource() -> EmbeddedResource:
    """Gives a resource."""
    return embedded("test://embedded-resource", "This is an embedded resource content.")


async def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
    """Gives a text, an image and a resource."""
    resource = embedded(
        "test://mixed-content-resource", '{"test":"data","value":123}', "application/json"
    )
    return [text("Multiple content types test:"), image(), resource]


async def test_error_handling() -> str:
    """Fails."""
    raise ToolError("This tool intentionally returns an error for testing")


async def test_tool_with_progress(ctx: Ctx) -> str:
    """Reports progress."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100, f"Completed step {done} of 100")
        await asyncio.sleep(STEP_S)
    return "Progress done"


async def test_tool_with_logging(ctx: Ctx) -> str:
    """Logs three times."""
    for words in ("started", "processing data", "completed"):
        await ctx.session.send_log_message(
            "info", f"Tool {words}", related_request_id=ctx.request_id
        )
        await asyncio.sleep(STEP_S)
    return "Logging done"


async def test_logging_tool() -> str:
    """Logs nothing to a client that did not ask for it."""
    return "Nothing logged"


async def test_streaming_elicitation(ctx: Ctx) -> str:
    """Streams progress and no request of its own."""
    await ctx.report_progress(1, 1)
    return "Streamed"


CONTENT_TOOLS: tuple[Callable[..., Any], ...] = (
    test_simple_text, test_image_content, test_audio_content, test_embedded_resource,
    test_multiple_content_types, test_error_handling, test_tool_with_progress,
    test_tool_with_logging, test_logging_tool, test_streaming_elicitation,
)  # fmt: skip


# Tools that ask the client in the middle of a call, as the handshake era does.


def form(message: str, **properties: Any) -> ElicitRequestFormParams:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return ElicitRequestFormParams(message=message, requested_schema=schema)


async def _elicited(ctx: Ctx, asked: ElicitRequestFormParams) -> str:
    answer = await ctx.session.elicit_form(
        asked.message, asked.requested_schema, related_request_id=ctx.request_id
    )
    return f"Elicitation completed: action={answer.action}, content={answer.content}"


async def test_sampling(prompt: str, ctx: Ctx) -> str:
    """Asks the client's model."""
    message = SamplingMessage(role="user", content=text(prompt))
    answer = await ctx.session.create_message(
        [message], max_tokens=100, related_request_id=ctx.request_id
    )
    return f"LLM response: {answer.content}"


async def test_elicitation(message: str, ctx: Ctx) -> str:
    """Asks the client's user."""
    return await _elicited(ctx, form(message, response={"type": "string"}))


async def test_elicitation_sep1034_defaults(ctx: Ctx) -> str:
    """Asks with defaults of every primitive type."""
    asked = form(
        "Please review",
        name={"type": "string", "default": "John Doe"},
        age={"type": "integer", "default": 30},
        score={"type": "number", "default": 95.5},
        status={
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        verified={"type": "boolean", "default": True},
    )
    return await _elicited(ctx, asked)


async def test_elicitation_sep1330_enums(ctx: Ctx) -> str:
    """Asks with every kind of choice."""
    plain = ["option1", "option2", "option3"]
    titled = [{"const": f"value{n}", "title": f"Choice {n}"} for n in (1, 2, 3)]
    asked = form(
        "Please choose",
        untitledSingle={"type": "string", "enum": plain},
        titledSingle={"type": "string", "oneOf": titled},
        legacyEnum={
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        untitledMulti={"type": "array", "items": {"type": "string", "enum": plain}},
        titledMulti={"type": "array", "items": {"anyOf": titled}},
    )
    return await _elicited(ctx, asked)


async def test_missing_capability(ctx: Ctx) -> str:
    """Refuses a client that cannot sample."""
    declared = ctx.client_capabilities
    if declared is None or declared.sampling is None:
        needed = ClientCapabilities(sampling=SamplingCapability())
        data = MissingRequiredClientCapabilityErrorData(required_capabilities=needed)
        raise MCPError(
            code=MISSING_REQUIRED_CLIENT_CAPABILITY,
            message="sampling is needed",
            data=data.model_dump(mode="json", by_alias=True, exclude_none=True),
        )
    return "Sampling is declared"


CLIENT_TOOLS: tuple[Callable[..., Any], ...] = (
    test_sampling, test_elicitation, test_elicitation_sep1034_defaults,
    test_elicitation_sep1330_enums, test_missing_capability,
)  # fmt: skip


# Tools that ask by their result, as the stateless era does.

NAME = ElicitRequest(params=form("What is your name?", name={"type": "string"}))
COLOUR = ElicitRequest(params=form("Your favourite colour?", color={"type": "string"}))
CONFIRM = ElicitRequest(params=form("Please confirm", ok={"type": "boolean"}))
CONTEXT = ElicitRequest(params=form("Which context?", context={"type": "string"}))
ROOTS = ListRootsRequest()
CAPITAL = CreateMessageRequest(
    params=CreateMessageRequestParams(
        messages=[SamplingMessage(role="user", content=text(QUESTION))], max_tokens=100
    )
)


def _missing(
    ctx: Ctx, state: str | None = None, **asked: InputRequest
) -> InputRequiredResult | None:
    """What is to be asked, unless the client's responses hold all of it in the right shape."""
    answers = ctx.input_responses or {}
    if asked.keys() <= answers.keys():
        return None
    return InputRequiredResult(input_requests=dict(asked), request_state=state)


async def test_input_required_result_elicitation(ctx: Ctx) -> str | InputRequiredResult:
    """Asks for a name."""
    return _missing(ctx, user_name=NAME) or "Hello"


async def test_input_required_result_sampling(ctx: Ctx) -> str | InputRequiredResult:
    """Asks the client's model."""
    return _missing(ctx, capital_question=CAPITAL) or "Sampled"


async def test_input_required_result_list_roots(ctx: Ctx) -> str | InputRequiredResult:
    """Asks for roots."""
    return _missing(ctx, client_roots=ROOTS) or "Listed"


async def test_input_required_result_request_state(ctx: Ctx) -> str | InputRequiredResult:
    """Asks, and has its state brought back."""
    return _missing(ctx, "asked", confirm=CONFIRM) or f"state-ok: {ctx.request_state}"


async def test_input_required_result_tampered_state(ctx: Ctx) -> str | InputRequiredResult:
    """Asks with a state that nobody may change."""
    return _missing(ctx, "asked", confirm=CONFIRM) or "Unchanged"


async def test_input_required_result_multiple_inputs(ctx: Ctx) -> str | InputRequiredResult:
    """Asks three things at once."""
    asked = {"user_name": NAME, "greeting": CAPITAL, "client_roots": ROOTS}
    return _missing(ctx, "asked", **asked) or "All answered"


async def test_input_required_result_multi_round(ctx: Ctx) -> str | InputRequiredResult:
    """Asks twice, one after the other."""
    if ctx.request_state == "round 2":
        return _missing(ctx, "round 2", step2=COLOUR) or "Both answered"
    return _missing(ctx, "round 1", step1=NAME) or InputRequiredResult(
        input_requests={"step2": COLOUR}, request_state="round 2"
    )


async def test_input_required_result_capabilities(ctx: Ctx) -> str | InputRequiredResult:
    """Asks only what the client can answer."""
    declared = ctx.client_capabilities or ClientCapabilities()
    asked: dict[str, InputRequest] = {}
    if declared.sampling is not None:
        asked["capital_question"] = CAPITAL
    if declared.elicitation is not None:
        asked["user_name"] = NAME
    return _missing(ctx, **asked) or "Answered"


INPUT_TOOLS: tuple[Callable[..., Any], ...] = (
    test_input_required_result_elicitation, test_input_required_result_sampling,
    test_input_required_result_list_roots, test_input_required_result_request_state,
    test_input_required_result_tampered_state, test_input_required_result_multiple_inputs,
    test_input_required_result_multi_round, test_input_required_result_capabilities,
)  # fmt: skip


def _add_resources(server: Server) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        """A text."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        """An image."""
        return base64.b64decode(PIXEL)

    @server.resource("test://watched-resource", mime_type="text/plain")
    def watched() -> str:
        """A text to subscribe to."""
        return "Watched resource content"

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:
        """A text with its id in it."""
        return f'{{"id":"{id}","templateTest":true,"data":"Data for ID: {id}"}}'


def _add_prompts(server: Server) -> None:
    @server.prompt()
    def test_simple_prompt() -> str:
        """A text."""
        return "This is a simple prompt for testing."

    @server.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """A text with its arguments in it."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
        """A resource, then a text."""
        resource = embedded(resourceUri, "Embedded resource content for testing.")
        return [UserMessage(content=resource), UserMessage(content="Please process the resource.")]

    @server.prompt()
    def test_prompt_with_image() -> list[UserMessage]:
        """An image, then a text."""
        return [UserMessage(content=image()), UserMessage(content="Please analyze the image.")]

    @server.prompt()
    def test_input_required_result_prompt(ctx: Ctx) -> str | InputRequiredResult:
        """Asks for a context first."""
        return _missing(ctx, user_context=CONTEXT) or "A prompt with context"

    @server.completion()
    async def complete(_ref: object, _argument: object, _context: object) -> Completion:
        return Completion(values=["paris", "park", "party"], total=3, has_more=False)


def _add_handshake_era(server: Server) -> None:
    """Log level and subscriptions, which only the handshake era has."""

    async def accept(_ctx: ServerRequestContext[Any, Any], _params: object) -> EmptyResult:
        return EmptyResult()

    lowlevel = server._lowlevel_server
    lowlevel.add_request_handler("logging/setLevel", SetLevelRequestParams, accept)
    lowlevel.add_request_handler("resources/subscribe", SubscribeRequestParams, accept)
    lowlevel.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, accept)
