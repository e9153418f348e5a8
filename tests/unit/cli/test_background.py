"""How a server is started in the background."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest
from click.testing import CliRunner

from batchyard.cli import background
from batchyard.cli.settings import Settings, read_settings
from batchyard.cli.up import up


class Halt(Exception):
    pass


def test_modules_in_the_current_folder_are_not_ours(tmp_path, monkeypatch):
    """Somebody else's folder, `/tmp` for one, must not decide what root runs."""
    commands = []

    def note(command, **_options):
        commands.append(command)
        raise Halt

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", note)
        with pytest.raises(Halt):
            background.start_server(Settings(data_dir=str(tmp_path / "d")))
    ((python, *options),) = commands
    assert python == sys.executable
    start = options[: options.index("-m")]
    (tmp_path / "click.py").write_text("raise SystemExit(3)\n")
    asked = [python, *start, "-m", "click.testing"]
    assert subprocess.run(asked, cwd=tmp_path, check=False).returncode == 0


@pytest.mark.parametrize("options", [(), ("--detach",)])
def test_a_data_folder_that_cannot_be_one_is_told_in_a_line(tmp_path, options):
    (tmp_path / "file").touch()
    for data_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        asked = CliRunner().invoke(up, ["--data-dir", str(data_dir), *options])
        assert (asked.exit_code, isinstance(asked.exception, SystemExit)) == (1, True)
        assert str(tmp_path / "file") in asked.output


def test_tables_reach_the_server_as_they_are(tmp_path, monkeypatch):
    """Also none at all; one that no variable can hold stays in its file."""
    variables = {}

    def note(_command, *, env, **_options):
        variables.update(env)
        raise Halt

    settings = Settings(
        data_dir=str(tmp_path / "d"),
        spot_prices={"m6i.large": 0.04, "c6i.large": 0.5},
        job_environment={"LIST": "a,b"},
    )
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", note)
        with pytest.raises(Halt):
            background.start_server(settings)
    ours = {name: text for name, text in variables.items() if name.startswith("BATCHYARD_")}
    assert "BATCHYARD_JOB_ENVIRONMENT" not in ours
    again = read_settings({}, environ=ours)
    assert again == msgspec.structs.replace(settings, job_environment={})
