"""Claim: no number and no attribute of any resident reaches hub, commission or bus, in any encoding.

Tried by: a byte scan of their databases (journals included), mailboxes, logs, and every frame captured on the bus while inquiries run.
"""

import base64
import csv
import datetime as dt
import json
import urllib.parse

import pytest

from renkei.gateway import subscription_store
from renkei.nation.plan import local_ids
from tests.attacks.spy import watch
from tests.world import Running, until

WIDE = str.maketrans("0123456789", "０１２３４５６７８９")


def base64_of(raw):
    """The characters of base64 that ``raw`` alone decides, wherever in a longer text it begins."""
    for skipped in range(3):
        whole = base64.b64encode(bytes(skipped) + raw)
        sure = whole[(0, 2, 3)[skipped] : (len(raw) + skipped) * 8 // 6]
        yield sure
        yield sure.replace(b"+", b"-").replace(b"/", b"_")


def spellings(text):
    """``text`` in the encodings it could travel in."""
    utf8 = text.encode("utf-8")
    found = [utf8, text.encode("utf-16-le"), text.encode("utf-16-be")]
    found += [text.encode(c, "ignore") for c in ("cp932", "euc-jp", "iso2022_jp")]
    found += [urllib.parse.quote(text).encode(), json.dumps(text)[1:-1].encode()]
    for raw in (utf8, text.encode("cp932", "ignore"), text.encode("utf-16-le")):
        found += [raw.hex().encode(), raw.hex().upper().encode(), *base64_of(raw)]
    return [raw for raw in found if len(raw) >= 8]


def needles(folder):
    """Every number and attribute of every resident, as bytes to look for."""
    found = set()
    with (folder / "roll.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            number, birth = row["number"], dt.date.fromisoformat(row["birth"])
            texts = [number, f"{number[:4]} {number[4:8]} {number[8:]}", f"{number[:4]}-{number[4:8]}-{number[8:]}"]
            texts += [number.translate(WIDE), row["name"], row["kana"], row["address"]]
            texts += [row["name"].replace(" ", "　"), row["name"].replace(" ", "")]
            texts += [
                f"{birth:%Y-%m-%d}",
                f"{birth:%Y/%m/%d}",
                f"{birth:%Y%m%d}",
                f"{birth.year}年{birth.month}月{birth.day}日",
            ]
            for text in texts:
                found.update(spellings(text))
            found |= {int(number).to_bytes(8, "big"), int(number).to_bytes(8, "little")}
            found |= {int(number).to_bytes(5, "big"), int(number).to_bytes(5, "little"), bytes.fromhex(number)}
    return found


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    """A nation that did a little of everything, with every frame on the bus recorded."""
    running = Running(tmp_path_factory.mktemp("scan") / "nation", residents=60)
    try:
        yield running.folder, capture(running)
    finally:
        running.stop()


def capture(running):
    """Every frame on the bus while a little of everything happens; what is stored is complete when the nation has stopped."""
    seen = watch(running)
    for persona in range(3):
        running.ask(persona=persona)
    running.ask(item="disability")
    running.http("ohashi-city", "/subjects", {"subjects": [{"local_id": "fresh-1", "number": _number(running)}]})
    tell_of_a_change(running)
    running.stop_body("pension-service")
    running.ask(provider="pension-service", item="pension-benefits", wait=1)
    until(lambda: any(".box." in m.subject for m in list(seen)))
    until(lambda: int(running.http("portal", "/health", token="")[1]["records"]) >= 5)
    running.stop()
    return [m.subject.encode() + b"\n" + m.data for m in seen]


def tell_of_a_change(running):
    """A subscription, and a notice that its answer is another."""
    running.ask(changes_until=(dt.datetime.now(dt.UTC).date() + dt.timedelta(days=200)).isoformat())
    provider = running.world.institutions["tax-union"]
    other = subscription_store.subscribers.update().values(digest=bytes(32))
    running.do(provider.database.write(lambda c: c.execute(other)))
    assert running.do(provider.subscribers.check()) == 1
    until(lambda: running.http("ohashi-city", "/changes")[1])


def _number(running):
    with (running.folder / "roll.csv").open(encoding="utf-8") as file:
        return next(r["number"] for r in csv.DictReader(file) if r["municipality"] != "482013")


def scan(data, wanted):
    return [w for w in wanted if w in data]


@pytest.mark.parametrize("place", ["hub", "commission", "bus"])
def test_nothing_personal_is_stored(captured, place):
    folder, _ = captured
    wanted = needles(folder)
    files = [p for p in (folder / place).rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) > 10_000
    for path in files:
        assert not scan(path.read_bytes(), wanted), path


def test_nothing_personal_travels(captured):
    folder, frames = captured
    wanted = needles(folder)
    assert len(frames) > 20
    assert not scan(b"\0".join(frames), wanted)


def test_the_scan_would_find_it(captured):
    """The same scan finds numbers and names where they belong: at the authority."""
    folder, _ = captured
    data = b"".join(p.read_bytes() for p in (folder / "numbering-authority").glob("*.db*"))
    assert len(scan(data, needles(folder))) > 100


def test_local_ids_and_case_texts_stay_at_their_institution(captured):
    folder, frames = captured
    wanted = {i.encode() for i in local_ids(folder, "ohashi-city")} | {b"fresh-1"}
    assert len(wanted) > 40
    for place in ("hub", "commission", "bus", "tax-union", "pension-service"):
        for path in (folder / place).rglob("*.db*"):
            assert not scan(path.read_bytes(), wanted), path
    assert not scan(b"\0".join(frames), wanted)
