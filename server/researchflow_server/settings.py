"""The deployment's settings: the only module that reads the environment.

`Settings` says what each variable means; `settings_help` writes it down for people.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from researchflow_runners.batch.schedule import Objectives
from researchflow_runners.errors import AddressError, ResearchFlowError, SourceDataError
from researchflow_runners.naming import as_clause
from researchflow_runners.source.options import ZONE_DEFAULT, SourceOptions
from researchflow_runners.store.url import parse_url

PORT_MAX = 65_535
RESULT_BYTES_MAX = 24_000


class SettingsError(ResearchFlowError):
    """An environment variable or a flag that has no valid value; `field` names it."""


def _names(value: Any) -> Any:
    """A comma-separated list as a tuple."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _honoured(url: str) -> str:
    """The URL, every part of which can be honoured."""
    try:
        parse_url(url)
    except AddressError as error:
        told = {"hint": error.hint}
        raise PydanticCustomError("url_invalid", error.message.replace("{", "("), told) from None
    return url


def _pairs(value: Any) -> Any:
    """A comma-separated list of name=value as a mapping."""
    if not isinstance(value, str):
        return value
    parts = [part.partition("=") for part in _names(value)]
    return {name.strip(): number.strip() for name, _equals, number in parts}


ObjectiveSeconds = Annotated[float, Field(ge=0, le=7 * 86_400)]
Port = Annotated[int, Field(ge=0, le=PORT_MAX)]
PostgresUrl = Annotated[str, Field(pattern=r"^postgres(ql)?://"), AfterValidator(_honoured)]
RedisUrl = Annotated[str, Field(pattern=r"^(rediss?|unix)://")]


class Settings(BaseModel):
    """What a deployment may choose; frozen, and valid once it exists."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(description="directory of embedded data and keys")
    database_url: PostgresUrl | None = Field(
        default=None, description="warehouse, postgresql://…; unset: embedded"
    )
    source_url: PostgresUrl | None = Field(
        default=None, description="database of the FHIR server; unset: the warehouse"
    )
    source_zone: str = Field(
        default=ZONE_DEFAULT,
        description="zone of the FHIR server's own clock, such as Europe/Berlin",
    )
    source_base_urls: Annotated[tuple[str, ...], BeforeValidator(_names)] = Field(
        default=(), description="addresses of the FHIR server in references, comma-separated"
    )
    source_partitions: Annotated[tuple[str, ...], BeforeValidator(_names)] = Field(
        default=(), description="partitions to read, numbers or default; unset: all"
    )
    redis_url: RedisUrl | None = Field(default=None, description="redis://…; unset: embedded")
    use_speed_layer: bool = Field(default=True, description="merge newer changes into live answers")
    http_host: str = Field(default="127.0.0.1", min_length=1, description="of the MCP endpoint")
    http_port: Port = Field(default=8730, description="of the MCP endpoint")
    metrics_host: str = Field(
        default="127.0.0.1", min_length=1, description="of /metrics and /healthz"
    )
    metrics_port: Port = Field(default=9464, description="of /metrics and /healthz")
    allowed_hosts: Annotated[tuple[str, ...], BeforeValidator(_names)] = Field(
        default=(), description="further Host names, comma-separated"
    )
    webhook_secret: str | None = Field(
        default=None,
        min_length=6,
        repr=False,
        description="what a subscription must send; unset: no subscription is taken",
    )
    webhook_rate_max: float = Field(
        default=1_000.0, gt=0, le=100_000, description="deliveries a second that are taken"
    )
    fhir_authorization: str | None = Field(
        default=None,
        repr=False,
        description="Authorization header that the FHIR server's REST interface asks for",
    )
    refresh_objective_s: float = Field(
        default=60.0,
        ge=0,
        le=7 * 86_400,
        description="seconds within which changes reach an anchor; 0: not by itself",
    )
    refresh_objectives: Annotated[dict[str, ObjectiveSeconds], BeforeValidator(_pairs)] = Field(
        default_factory=dict,
        description="the same of single views, view=seconds, comma-separated; 0: not that view",
    )
    refresh_overlay_max: int = Field(
        default=5_000, ge=1, le=1_000_000, description="waiting changes that refresh at once"
    )
    pending_check_s: float = Field(
        default=30.0, ge=0.1, le=3_600, description="seconds between looks at the source"
    )
    snapshot_s: float = Field(
        default=5.0, ge=0.1, le=20, description="seconds between metric snapshots, at most 20"
    )
    provisional_ttl_h: float = Field(
        default=24.0,
        gt=0,
        le=24 * 365,
        description="hours a change known only from its writer counts",
    )
    retention_days: float = Field(
        default=30.0, gt=0, le=3_650, description="days an earlier anchor stays readable"
    )
    retention_anchors: int = Field(
        default=50_000, ge=1, le=1_000_000, description="at most so many stay readable beside pins"
    )
    result_bytes_max: int = Field(
        default=RESULT_BYTES_MAX,
        ge=2_000,
        le=RESULT_BYTES_MAX,
        description=f"largest tool result, at most {RESULT_BYTES_MAX}",
    )
    pool_max: int = Field(default=10, ge=4, le=100, description="PostgreSQL connections, from 4")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="WARNING", description="DEBUG, INFO, WARNING or ERROR, on stderr"
    )

    @field_validator("source_zone", "source_base_urls", "source_partitions")
    @classmethod
    def _is_source_option(cls, value: Any, info: ValidationInfo) -> Any:
        option = str(info.field_name).removeprefix("source_")
        try:
            return getattr(SourceOptions.checked(**{option: value}), option)
        except SourceDataError as error:
            raise ValueError(f"{error.message}; {error.hint}") from error

    @property
    def source_options(self) -> SourceOptions:
        """What the operator says of the FHIR server."""
        return SourceOptions(self.source_zone, self.source_base_urls, self.source_partitions)

    @property
    def objectives(self) -> Objectives:
        """How soon changes are to be in an anchor."""
        return Objectives(
            self.refresh_objective_s, self.refresh_objectives, self.refresh_overlay_max
        )

    def look_s(self, views: Iterable[str]) -> float:
        """Seconds between looks at the source: often enough for the shortest objective of these."""
        shortest_s = self.objectives.shortest_s(views)
        return min(self.pending_check_s, shortest_s / 4) if shortest_s else self.pending_check_s

    @property
    def cursor_key_path(self) -> Path:
        """Where the key that signs cursors lives, readable by its owner only."""
        return self.home / "cursor.key"

    @property
    def embedded_path(self) -> Path:
        """Where the embedded services keep their data."""
        return self.home / "embedded"


VARIABLES = {
    name: "USE_SPEED_LAYER" if name == "use_speed_layer" else f"RESEARCHFLOW_{name.upper()}"
    for name in Settings.model_fields
}


def settings_help() -> str:
    """A line for each variable: its meaning, and its default where it has a fixed one."""
    width = max(map(len, VARIABLES.values()))
    lines = []
    for name, field in Settings.model_fields.items():
        plain = isinstance(field.default, bool | int | float | str)
        default = f" [{str(field.default).lower()}]" if plain else ""
        lines.append(f"  {VARIABLES[name]:<{width}}  {field.description}{default}")
    return "\n".join(lines)


def default_home(environment: Mapping[str, str]) -> Path:
    """The user's data directory, so that a desktop client started anywhere finds it."""
    data_home = environment.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data_home).expanduser() / "researchflow"


def read_settings(environment: Mapping[str, str] | None = None, **flags: Any) -> Settings:
    """The settings from the environment; flags that are not None win over it.

    An empty variable counts as absent. Raises SettingsError naming the first wrong variable.
    """
    environment = os.environ if environment is None else environment
    given: dict[str, Any] = {
        name: environment[variable]
        for name, variable in VARIABLES.items()
        if environment.get(variable)
    }
    given.setdefault("home", default_home(environment))
    given.update({name: value for name, value in flags.items() if value is not None})
    given["home"] = Path(given["home"]).expanduser().absolute()
    try:
        return Settings(**given)
    except ValidationError as error:
        raise _settings_error(error) from None


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment for a process of ours that must see the same settings."""
    chosen = settings.model_dump(exclude_none=True, exclude_defaults=True)
    texts = {VARIABLES[name]: _text(value) for name, value in chosen.items()}
    inherited = {name: text for name, text in os.environ.items() if name not in VARIABLES.values()}
    return {**inherited, **texts}


def _text(value: Any) -> str:
    """A value as its variable gives it."""
    if isinstance(value, dict):
        return ",".join(f"{name}={one}" for name, one in value.items())
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _settings_error(error: ValidationError) -> SettingsError:
    first = error.errors(include_input=False, include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    variable = VARIABLES.get(name, name)
    known = first.get("ctx", {}).get("hint")
    why = first["msg"] if known else as_clause(first["msg"].removeprefix("Value error, "))
    # A connection URL may carry a password, so its value is never repeated.
    return SettingsError(
        f'setting "{variable}" is not valid: {why}',
        code="setting_invalid",
        field=variable,
        hint=known
        or f"correct or unset {variable}; `researchflow serve --help` lists the settings",
    )
