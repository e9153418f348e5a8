"""Every test here runs on SQLite and on PostgreSQL."""

from tests.fixtures.stores import *  # noqa: F403 - all of them are fixtures
