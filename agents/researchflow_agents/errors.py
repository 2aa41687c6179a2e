"""The one error of the agents, whether a tool, the connection or the input is at fault.

| code | meaning |
|---|---|
| server_unreachable | the MCP server does not answer; retryable |
| protocol_error | what answers is not a server of this contract |
| input_invalid | a file or argument that does not say what it must |
| unsupported | a criterion that cannot be asked exactly, so it is not asked at all |
| output_exists, output_failed | the files cannot be written where they were wanted |

Every other code is a tool's own, passed on with its message, hint and field.
"""

from __future__ import annotations

from collections.abc import Sequence

from researchflow_server.contract import ErrorInfo

SERVER_UNREACHABLE = "server_unreachable"
PROTOCOL_ERROR = "protocol_error"
INPUT_INVALID = "input_invalid"
UNSUPPORTED = "unsupported"
OUTPUT_EXISTS = "output_exists"
OUTPUT_FAILED = "output_failed"


class AgentError(Exception):
    """Why an agent stopped; `info` is what tools and `--json` show."""

    def __init__(self, info: ErrorInfo) -> None:
        super().__init__(info.message)
        self.info = info

    @classmethod
    def of(
        cls,
        code: str,
        message: str,
        *,
        hint: str,
        field: str | None = None,
        allowed: Sequence[str] = (),
        retryable: bool = False,
    ) -> AgentError:
        """The error of these parts."""
        return cls(
            ErrorInfo(
                code=code,
                message=message,
                hint=hint,
                field=field,
                allowed=list(allowed),
                retryable=retryable,
            )
        )

    @property
    def code(self) -> str:
        """Stable and machine-readable."""
        return self.info.code

    @property
    def message(self) -> str:
        """Lowercase, names the thing in quotes."""
        return self.info.message

    @property
    def hint(self) -> str:
        """One sentence to act on."""
        return self.info.hint

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later."""
        return self.info.retryable
