"""The home's library of laws: the newest is the one that came last, whatever the files' times say."""

import os

import pytest

from renkei.errors import SetupError
from renkei.institution.database import connectable
from renkei.institution.keeper import keep_pack, library, newest_law
from renkei.institution.settings import Home
from renkei.law import Pack, read_folder
from tests.conftest import PACK


def version(number):
    files = dict(read_folder(PACK))
    files["pack.toml"] = files["pack.toml"].replace(b'version = "2016-08.1"', f'version = "{number}"'.encode())
    return Pack.load(files)


def test_the_newest_law_is_the_last_that_came(tmp_path):
    home, laws = Home(tmp_path), [version("1"), version("2")]
    for law in laws:
        keep_pack(home, law)
    for path, time in zip(
        sorted((tmp_path / "law").glob("*.pack")), (9, 9), strict=True
    ):  # as after a copy without times
        os.utime(path, (time, time))
    os.utime(tmp_path / "law" / f"{laws[0].hash.hex()}.pack", (99, 99))
    assert newest_law(home).hash == laws[1].hash
    keep_pack(home, laws[0])  # an earlier law comes back
    assert [law.header.version for law in library(home)] == ["2", "1"]


def test_a_library_of_before_the_order_was_noted_goes_by_time(tmp_path):
    home = Home(tmp_path)
    for number in ("1", "2"):
        law = version(number)
        keep_pack(home, law)
        os.utime(tmp_path / "law" / f"{law.hash.hex()}.pack", (int(number), int(number)))
    (tmp_path / "law" / "order").unlink()
    assert newest_law(home).header.version == "2"


@pytest.mark.parametrize("url", ["postgresql+psycopg//a:s3cr3t@b/c", "postgresql+psycopg://a:s3@cr3t:70x@b/c"])
def test_a_wrong_database_url_is_not_repeated(url):
    with pytest.raises(SetupError) as raised:
        connectable(url)
    assert "cr3t" not in str(raised.value.problem("en"))
