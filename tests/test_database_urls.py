"""A database URL is honoured whole, or refused by the name of the part that cannot be."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_runners.errors import AddressError
from researchflow_runners.store.database import Database
from researchflow_runners.store.url import parse_url
from researchflow_server.settings import SettingsError, read_settings

SECRET = "Pa55wort"


def with_parameters(dsn: str, parameters: str) -> str:
    return f"{dsn}{'&' if urlsplit(dsn).query else '?'}{parameters}"


@pytest.mark.parametrize(
    "parameters",
    [
        "connect_timeout=5",
        "connectTimeout=5",
        "loginTimeout=5",
        "application_name=ward%203",
        "ApplicationName=ward",
        "sslmode=prefer",
        "target_session_attrs=read-write",
        "options=-c%20geqo%3Doff",
        "pgbouncer=true",
        "schema=public&pgbouncer=true&connect_timeout=15",
    ],
)
async def test_what_others_write_is_taken(postgres_dsn: str, parameters: str) -> None:
    database = await Database.connect(with_parameters(postgres_dsn, parameters))
    async with database.session() as session:
        assert await session.fetchval("SELECT 1") == 1
    await database.close()


@pytest.mark.parametrize("name", ["schema", "currentSchema"])
async def test_a_schema_is_where_tables_are_looked_for(postgres_dsn: str, name: str) -> None:
    database = await Database.connect(with_parameters(postgres_dsn, f"{name}=a%22b,public"))
    async with database.session() as session:
        assert await session.fetchval("SHOW search_path") == '"a""b", "public"'
    async with database.dedicated(statement_timeout_s=5) as session:
        assert await session.fetchval("SHOW search_path") == '"a""b", "public"'
    await database.close()


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ("sslmode=bogus", "sslmode"),
        ("connect_timeout=soon", "connect_timeout"),
        ("connect_timeout=0", "connect_timeout"),
        ("connection_limit=3", "connection_limit"),
        ("pool_timeout=3", "pool_timeout"),
        ("socketTimeout=3", "socketTimeout"),
        ("prepareThreshold=0", "prepareThreshold"),
        ("tcpKeepAlive=true", "tcpKeepAlive"),
        ("ssl=true", "ssl"),
        ("sslaccept=strict", "sslaccept"),
        ("schema=", "schema"),
        ("sslmod=require", "sslmod"),
        ("no_such_thing=1", "no_such_thing"),
        ("port=http", "port"),
    ],
)
@pytest.mark.failure("url-not-honoured")
def test_what_cannot_be_honoured_is_refused_by_name(
    tmp_path: Path, parameters: str, named: str
) -> None:
    url = f"postgresql://u:{SECRET}@h/d?{parameters}"
    with pytest.raises(AddressError) as refused:
        parse_url(url)
    assert refused.value.code == "url_invalid"
    assert f'"{named}"' in refused.value.message
    with pytest.raises(SettingsError) as setting:
        read_settings({"RESEARCHFLOW_SOURCE_URL": url}, home=tmp_path)
    assert setting.value.field == "RESEARCHFLOW_SOURCE_URL"
    assert f'"{named}"' in setting.value.message
    assert setting.value.hint == refused.value.hint
    assert SECRET not in str(setting.value.as_dict())


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://localhost:abc/x",
        "postgresql://localhost:0/x",
        "postgresql://a:5432,b:99999/x",
        "postgresql://[::1/x",
        "jdbc:postgresql://h/d",
        "mysql://h/d",
    ],
)
def test_a_url_that_leads_nowhere_is_refused_before_connecting(url: str) -> None:
    with pytest.raises(AddressError) as refused:
        parse_url(url)
    assert refused.value.code == "url_invalid"


@given(st.text(), st.text())
def test_no_url_is_a_fault_of_the_program(name: str, value: str) -> None:
    with suppress(AddressError):
        address = parse_url(f"postgresql://u:{SECRET}@h/d?{quote(name)}={quote(value)}")
        assert parse_url(address.dsn).dsn == address.dsn


@pytest.mark.failure("postgres-role-refused")
async def test_a_wrong_role_is_the_urls_fault(postgres_dsn: str) -> None:
    with pytest.raises(AddressError) as refused:
        await Database.connect(postgres_dsn.replace("postgres@", "nobody_of_ours@"))
    assert refused.value.code == "postgres_refused"
