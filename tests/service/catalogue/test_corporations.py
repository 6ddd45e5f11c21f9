"""The register of corporations: found by number and by name however it is written, with its history, in the national interface's forms."""

import csv
import io
import xml.etree.ElementTree as ET

import pytest
from litestar.testing import TestClient

from renkei.catalogue.corporation_pages import corporation_pages
from renkei.catalogue.corporations import AT, COLUMNS, Corporations, Names
from renkei.errors import Malformed
from renkei.institution.observe import Observer
from renkei.institution.settings import Settings
from renkei.institution.web import Health, make_app
from renkei.numbers import CorporateNumber
from tests.conftest import PACK


def number(n):
    return CorporateNumber.complete(f"{n:012d}")


def line(n, name, *, latest="1", changed="2020-01-01", **more):
    values = dict.fromkeys(COLUMNS, "")
    values |= {
        "sequenceNumber": "1", "corporateNumber": number(n), "process": "01", "correct": "0", "updateDate": changed, "changeDate": changed,
        "name": name, "kind": "301", "prefectureName": "縁県", "cityName": "大橋市", "streetNumber": "本町1", "prefectureCode": "48",
        "cityCode": "201", "assignmentDate": "2015-10-05", "latest": latest, "hihyoji": "0",
    }  # fmt: skip
    return [{**values, **more}[c] for c in COLUMNS]


LINES = [
    line(1, "株式会社髙島屋斎藤", furigana="タカシマヤサイトウ", enName="Takashimaya Saito Co.,Ltd."),
    line(2, "有限会社　高嶋屋　斉藤", cityCode="202"),
    line(3, "大橋信用金庫", kind="399"),
    line(4, "大橋市", kind="201", prefectureCode="49"),
    line(5, "株式会社大橋", closeDate="2024-03-31", closeCause="01"),
    line(6, "株式会社新大橋", changed="2024-05-01"),
    line(6, "株式会社旧大橋", latest="0", changed="2019-01-01"),
]


@pytest.fixture
def write(tmp_path):
    def write(lines, encoding="utf-8"):
        with (tmp_path / "register.csv").open("w", encoding=encoding, newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows(lines)
        return tmp_path / "register.csv"

    return write


@pytest.fixture
def register(tmp_path, write):
    made = Corporations(tmp_path / "r.db", Names.read(PACK))
    assert made.load(write(LINES)) == len(LINES)
    return made


def names(found):
    return [e.name for e in found.entries]


@pytest.mark.parametrize(
    ("query", "first", "total"),
    [
        ("髙島屋斎藤", "株式会社髙島屋斎藤", 2),
        ("株式会社高島屋齋藤", "株式会社髙島屋斎藤", 2),
        ("㈱高嶋屋斉藤", "株式会社髙島屋斎藤", 2),
        ("タカシマヤ", "株式会社髙島屋斎藤", 1),
        ("ﾀｶｼﾏﾔ", "株式会社髙島屋斎藤", 1),
        ("takashimaya", "株式会社髙島屋斎藤", 1),
        ("大橋", "株式会社大橋", 4),
        ("新大橋", "株式会社新大橋", 1),
        ("旧大橋", None, 0),
        ("橋", None, 4),
        ("無い", None, 0),
        ("", None, 0),
        ('"', None, 0),
    ],
)
def test_a_name_is_found_however_it_is_written(register, query, first, total):
    found = register.by_name(query)
    assert found.total == total
    if first:
        assert names(found)[0] == first  # the name itself, before those that only hold it


def test_conditions(register):
    assert names(register.by_name("大橋", part=False)) == ["株式会社大橋", "大橋信用金庫", "大橋市"]
    assert "株式会社大橋" not in names(register.by_name("大橋", closed=False))
    assert names(register.by_name("大橋", kinds=["201"])) == ["大橋市"]
    assert names(register.by_name("大橋", place="49")) == ["大橋市"]
    assert names(register.by_name("斎藤", place="48202")) == ["有限会社　高嶋屋　斉藤"]
    assert names(register.by_name("TAKASHIMAYA SAITO", english=True, part=False)) == ["株式会社髙島屋斎藤"]


def test_history_by_number(register):
    assert names(register.by_number([number(6)])) == ["株式会社新大橋"]
    assert names(register.by_number([number(6)], history=True)) == ["株式会社新大橋", "株式会社旧大橋"]
    with pytest.raises(Malformed):
        register.by_number(["1234567890123"])


def test_the_changes_of_a_day(register, write):
    moved = [
        line(3, "大橋港信用金庫", kind="399", changed="2026-11-01"),
        line(9, "株式会社港", changed="2026-11-01"),
        line(4, "x", process="99"),
    ]
    assert register.apply(write(moved)) == 3
    assert names(register.by_name("大橋信用")) == []
    assert names(register.by_name("港")) == ["株式会社港", "大橋港信用金庫"]
    assert names(register.by_number([number(3)], history=True)) == ["大橋港信用金庫", "大橋信用金庫"]
    assert register.by_number([number(4)], history=True).entries == []
    assert register.by_name("港").updated == "2026-11-01"
    assert names(register.changed("2026-11-01", "2026-11-30", 10, 0)) == ["大橋港信用金庫", "株式会社港"]


@pytest.mark.parametrize(
    "bad", [["x"], [*line(1, "a"), ""], line(1, "a", corporateNumber="1234567890123"), line(1, "a", corporateNumber="")]
)
def test_a_file_with_one_wrong_line_changes_nothing(register, write, bad):
    before = register.path.read_bytes()
    for take in (register.load, register.apply):
        with pytest.raises(Malformed) as error:
            take(write([*(line(n, f"新{n}", changed="2026-12-01") for n in range(20, 30)), bad]))
        assert "11" in str(error.value)
        assert register.path.read_bytes() == before
    assert not list(register.path.parent.glob("*.building"))


def test_both_encodings(tmp_path, write):
    for encoding in ("cp932", "utf-8-sig"):
        made = Corporations(tmp_path / f"{encoding}.db", Names.read(PACK))
        made.load(write(LINES, encoding))
        assert names(made.by_name("髙島屋"))


@pytest.fixture
def client(register):
    settings = Settings(body="catalogue", role="catalogue", kinds=(), database="sqlite://", bus="")
    handlers = corporation_pages(register, lambda *a, **b: None)
    with TestClient(
        make_app(settings, Observer("catalogue", "catalogue", "error"), handlers, lambda: Health(True, {}))
    ) as client:
        yield client


def test_the_national_interface_s_forms(client):
    answer = client.get(
        "/4/num", params={"id": "x", "number": f"{number(6)},{number(3)}", "type": "12", "history": "1"}
    )
    root = ET.fromstring(answer.content)
    assert [root.findtext(t) for t in ("lastUpdateDate", "count", "divideNumber", "divideSize")] == [
        "2024-05-01",
        "3",
        "1",
        "1",
    ]
    corporations = root.findall("corporation")
    assert [c.findtext("name") for c in corporations] == [
        "株式会社新大橋",
        "株式会社旧大橋",
        "大橋信用金庫",
    ]  # by number
    assert [child.tag for child in corporations[0]] == list(COLUMNS)
    for form, encoding in (("01", "cp932"), ("02", "utf-8")):
        answer = client.get("/4/name", params={"name": "大橋", "mode": "2", "type": form})
        head, *lines = csv.reader(io.StringIO(answer.content.decode(encoding)))
        assert head == ["2024-05-01", "4", "1", "1"]
        assert len(lines) == 4
        assert lines[0][AT["corporateNumber"]] == number(5)
    answer = client.get("/4/diff", params={"from": "2024-01-01", "to": "2024-12-31"})
    assert [c.findtext("name") for c in ET.fromstring(answer.content).findall("corporation")] == ["株式会社新大橋"]


@pytest.mark.parametrize(
    "query",
    ["/4/num", "/4/num?number=1", "/4/num?number=" + ",".join(["1"] * 11), "/4/name?name=a&type=99",
     "/4/name?name=a&kind=09", "/4/name?name=a&address=x",
     "/4/name?name=a&divide=0", "/4/diff?from=2024&to=2025", "/4/diff"],
)  # fmt: skip
def test_what_is_asked_wrongly_is_told(client, query):
    assert client.get(query).status_code == 400


def test_a_question_for_nearly_all_is_cut_off(register, monkeypatch):
    from renkei.catalogue import corporations

    monkeypatch.setattr(corporations, "QUERY_SECONDS", -1.0)
    monkeypatch.setattr(corporations, "STEPS", 1)
    for ask in (
        lambda: register.by_name("山", place="99", kinds=("399",)),
        lambda: register.changed("0000-01-01", "9999-12-31", 10, 0),
    ):
        with pytest.raises(Malformed) as told:
            ask()
        assert told.value.code == "too-long"
    monkeypatch.setattr(corporations, "QUERY_SECONDS", 3.0)
    assert register.changed("0000-01-01", "9999-12-31", 10, 0).total
