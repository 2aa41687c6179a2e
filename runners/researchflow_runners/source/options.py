"""What the operator knows of a HAPI server and its tables do not tell."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

from researchflow_runners.errors import SourceDataError

ZONE_DEFAULT = "UTC"
#: The partition of resources whose partition_id is NULL.
DEFAULT_PARTITION = "default"
BASE_URLS_MAX = 32
_BASE_URL = re.compile(r"https?://[^\s\"\\?#]{1,500}")
_PARTITION = re.compile(r"-?\d{1,9}")


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """`zone` is the zone in which the server writes its times, an IANA name.

    `base_urls` are the addresses under which the server knows itself: a reference that begins
    with one means a resource of its own. `partitions` are the only ones that are read, numbers or
    DEFAULT_PARTITION; without any, all are.
    """

    zone: str = ZONE_DEFAULT
    base_urls: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()

    @classmethod
    def checked(
        cls,
        *,
        zone: str = ZONE_DEFAULT,
        base_urls: Iterable[str] = (),
        partitions: Iterable[str] = (),
    ) -> SourceOptions:
        """The options in their one spelling; SourceDataError `source_option_invalid`."""
        urls = tuple(dict.fromkeys(url.rstrip("/") for url in base_urls))
        chosen = tuple(dict.fromkeys(partitions))
        if zone not in {ZONE_DEFAULT, *available_timezones()}:
            raise _invalid("zone", zone, "an IANA zone that this machine knows, as Europe/Berlin")
        if len(urls) > BASE_URLS_MAX:
            raise _invalid("base_urls", f"{len(urls)} addresses", f"at most {BASE_URLS_MAX}")
        for url in urls:
            if not _BASE_URL.fullmatch(url):
                raise _invalid("base_urls", url, "an address such as https://fhir.example/fhir")
        for partition in chosen:
            if partition != DEFAULT_PARTITION and not _PARTITION.fullmatch(partition):
                raise _invalid("partitions", partition, f"a number or {DEFAULT_PARTITION}")
        return cls(zone, urls, chosen)

    @property
    def reading(self) -> str:
        """Equal for options that give the same resources with the same content."""
        return " ".join((self.zone, *sorted(self.base_urls), *sorted(self.partitions)))

    @property
    def partition_ids(self) -> list[int]:
        """The numbers among the chosen partitions."""
        return [int(one) for one in self.partitions if one != DEFAULT_PARTITION]


def earliest_meaning(at: datetime, zone: str) -> datetime:
    """The instant, or the hour before where clocks were put back and its local time came twice.

    A time is read as the second of the two, as Java does; it may have been the first.
    """
    if zone == ZONE_DEFAULT:
        return at
    return at.astimezone(ZoneInfo(zone)).replace(fold=0).astimezone(UTC)


def _invalid(field: str, value: str, expected: str) -> SourceDataError:
    return SourceDataError(
        f'"{value}" is no value of the source\'s {field}',
        code="source_option_invalid",
        hint=f"give {expected}",
        field=field,
    )
