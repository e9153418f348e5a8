"""Where settings come from, which wins, and how a wrong one is told."""

from __future__ import annotations

import os

import click
import msgspec
import pytest

from batchyard.cli.server_file import (
    RunningServer,
    find_server,
    remove_server_file,
    write_server_file,
)
from batchyard.cli.settings import Settings, read_settings


def test_defaults_listen_on_loopback_only():
    settings = read_settings({}, environ={})
    assert settings == Settings()
    assert (settings.host, settings.keys) == ("127.0.0.1", ())
    assert settings.db_url == "sqlite:////var/lib/batchyard/batchyard.db"


def test_the_command_line_wins_over_variables_over_the_file(tmp_path):
    file = tmp_path / "batchyard.toml"
    file.write_text('port = 1\naccount_id = "111111111111"\nhost_paths = ["/a"]\n')
    settings = read_settings(
        {"port": 3, "data_dir": None},
        config=str(file),
        environ={"BATCHYARD_PORT": "2", "BATCHYARD_HOST_PATHS": "/b,/c"},
    )
    assert (settings.port, settings.account_id) == (3, "111111111111")
    assert settings.host_paths == ("/b", "/c")


def test_tables_are_pairs_between_commas_in_a_variable():
    text = "AWS_ENDPOINT_URL_S3=http://s3:9000/?a=b,EMPTY="
    settings = read_settings({}, environ={"BATCHYARD_JOB_ENVIRONMENT": text})
    assert settings.job_environment == {
        "AWS_ENDPOINT_URL_S3": "http://s3:9000/?a=b",
        "EMPTY": "",
    }


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"BATCHYARD_PORT": "70000"}, "setting port (BATCHYARD_PORT): Expected `int` <= 65535"),
        ({"BATCHYARD_PORT": "many"}, "setting port (BATCHYARD_PORT): Expected `int`"),
        ({"BATCHYARD_ACCOUNT_ID": "12"}, "setting account_id (BATCHYARD_ACCOUNT_ID)"),
        (
            {"BATCHYARD_JOB_ENVIRONMENT": "AWS_BATCH_JOB_ID=1"},
            "setting job_environment (BATCHYARD_JOB_ENVIRONMENT)",
        ),
        ({"BATCHYARD_JOB_ENVIRONMENT": "=1"}, "setting job_environment"),
        ({"BATCHYARD_CONFIG": "/nowhere"}, "cannot read the settings file /nowhere"),
    ],
)
def test_a_wrong_setting_is_named(environ, text):
    with pytest.raises(click.UsageError) as refused:
        read_settings({}, environ=environ)
    assert text in refused.value.message


def test_an_unknown_setting_is_refused(tmp_path):
    file = tmp_path / "batchyard.toml"
    file.write_text("prot = 1\n")
    with pytest.raises(click.UsageError, match="prot"):
        read_settings({}, config=str(file), environ={})


def test_a_server_file_counts_while_its_process_lives(tmp_path):
    assert find_server(tmp_path) is None
    server = RunningServer(pid=os.getpid(), endpoint="http://127.0.0.1:1", region="us-east-1")
    write_server_file(tmp_path, server)
    assert find_server(tmp_path) == server
    write_server_file(tmp_path, RunningServer(pid=2**22 + 1, endpoint="x", region="x"))
    assert find_server(tmp_path) is None
    remove_server_file(tmp_path)
    remove_server_file(tmp_path)


def test_a_server_file_does_not_count_for_another_process_of_the_same_number(tmp_path):
    """A killed server in a container was process 1, and so is the next one."""
    server = RunningServer(pid=os.getpid(), endpoint="http://127.0.0.1:1", region="us-east-1")
    write_server_file(tmp_path, server)
    file = tmp_path / "server.json"
    written = msgspec.json.decode(file.read_bytes())
    file.write_bytes(msgspec.json.encode(written | {"start_ticks": written["start_ticks"] - 1}))
    assert find_server(tmp_path) is None
