"""What a yard does to the log of the process that it is in."""

from __future__ import annotations

import structlog
from structlog.testing import capture_logs

from batchyard.testing import Yard, yard
from tests.testing.shop import Shop


def run_a_job(made: Yard) -> None:
    shop = Shop(made)
    shop.submit()
    made.advance(hours=1)


def test_a_yard_says_nothing_and_takes_its_filter_back(capsys):
    assert not structlog.is_configured()
    with yard() as one:
        run_a_job(one)
        with yard() as other:
            run_a_job(other)
        structlog.get_logger().info("ours_not")
    told = capsys.readouterr()
    assert told.err == ""
    (line,) = told.out.splitlines()
    assert "ours_not" in line
    assert not structlog.is_configured()


def test_a_configuration_of_the_users_own_stays():
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    before = structlog.get_config()["processors"]
    with yard() as made:
        run_a_job(made)
    assert structlog.get_config()["processors"] == before


def test_one_that_comes_meanwhile_stays():
    with yard() as made:
        structlog.configure(processors=[structlog.processors.JSONRenderer()])
        with capture_logs() as lines:
            run_a_job(made)
    assert any(line["event"] == "job_succeeded" for line in lines)
    assert len(structlog.get_config()["processors"]) == 1
