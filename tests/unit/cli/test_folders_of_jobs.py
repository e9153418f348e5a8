"""Which folders jobs may mount: none with the server's own data."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from batchyard.cli.serving import mountable_folders
from batchyard.cli.settings import Settings


@pytest.mark.parametrize("folder", [".", "data", "link"])
def test_folders_that_show_the_servers_data_are_refused(folder: str, tmp_path: Path) -> None:
    (tmp_path / "data" / "logs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path)
    settings = Settings(
        data_dir=str(tmp_path / "data"), file_systems={"fs-1": str(tmp_path / folder)}
    )
    with pytest.raises(click.UsageError, match="with its keys"):
        mountable_folders(settings)


def test_folders_beside_the_servers_data_are_offered(tmp_path: Path) -> None:
    beside = tmp_path / "shared"
    settings = Settings(data_dir=str(tmp_path / "data"), host_paths=(str(beside),))
    assert mountable_folders(settings) == [beside]
