"""The log's URL: every directory has one, and the log and Faust read it alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.embedded.log import EmbeddedLog
from streams.embedded.store import LogStore
from streams.errors import InvalidInput
from streams.settings import Settings


@pytest.mark.parametrize(
    "name", ["plain", "with space", "a#b", "a?b=c", "100%41", "a+b", "naïve", "a&b;c", "//slashes"]
)
def test_any_directory_may_hold_the_log(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name.strip("/")
    directory.mkdir()
    log = EmbeddedLog(Settings(data_dir=directory).log_url)
    app = log.new_app("g", directory)
    app.finalize()
    assert app.transport.store is LogStore.borrowed(directory / "log.sqlite")
    log.close()
    assert {path.name for path in directory.iterdir()} >= {"log.sqlite", "faust"}
    assert {path.name for path in tmp_path.iterdir()} == {directory.name}


@pytest.mark.parametrize("url", ["", "kafka://host", "sqlite:", "sqlite://", "/path"])
def test_what_is_no_log_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="RESCIND_LOG"):
        EmbeddedLog(url)


def test_slashes_too_many_mean_the_same_file(tmp_path: Path) -> None:
    first, second = EmbeddedLog(f"sqlite://{tmp_path}/log.sqlite"), EmbeddedLog(f"sqlite:///{tmp_path}/log.sqlite")
    assert LogStore.borrowed(tmp_path / "log.sqlite")._references == 2
    first.close()
    second.close()
