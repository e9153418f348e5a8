"""What `batchyard up` says when it cannot."""

from __future__ import annotations

import click.testing

from batchyard.cli import up as command


def test_a_folder_of_another_user_is_told_with_its_remedy(tmp_path, monkeypatch):
    def refuse(coroutine):
        coroutine.close()
        raise PermissionError(13, "Permission denied", "/var/lib/batchyard")

    monkeypatch.setattr("uvloop.run", refuse)
    result = click.testing.CliRunner().invoke(command.up, ["--data-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "Permission denied: '/var/lib/batchyard'; run this with sudo?" in result.output
