"""Which folders jobs may mount: none with the server's own data."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import click
import pytest

from batchyard.cli.serving import make_backend
from batchyard.cli.settings import Settings


@pytest.mark.parametrize("folder", [".", "data", "data/logs", "link"])
def test_folders_that_show_the_servers_data_are_refused(folder: str, tmp_path: Path) -> None:
    (tmp_path / "data" / "logs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path)
    settings = Settings(
        data_dir=str(tmp_path / "data"), file_systems={"fs-1": str(tmp_path / folder)}
    )
    with pytest.raises(click.UsageError, match="with its keys"):
        make_backend(settings, Mock())


def test_folders_beside_the_servers_data_are_offered(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path / "data"), host_paths=(str(tmp_path / "shared"),))
    assert make_backend(settings, Mock()) is not None
