"""Opening tables to everybody: what may not be opened is not, and what was is there in every form, whole, for anybody's tools."""

import csv
import io
import json
import random
import threading
import time
import urllib.request

import duckdb
import pytest
import rdflib
from rdflib import DCAT, DCTERMS, RDF

from renkei.catalogue.opened import read_about
from renkei.catalogue.publication import NotPublished, Publication
from renkei.errors import Malformed, NotFound
from renkei.institution.database import Database
from renkei.numbers import IndividualNumber
from tests.world import Running, until

HEAD = """
id = "{id}"
ja = "年齢別人口"
en = "Population by age"
description_ja = "区と年齢ごとの人口。"
description_en = "Persons by ward and age."
publisher = "ohashi-city"
kind = "{kind}"
licence = "https://creativecommons.org/licenses/by/4.0/"
theme = "SOCI"
every = "ANNUAL"
keywords = ["人口", "population"]
"""
COLUMN = '[[columns]]\nname = "{0}"\nja = "{0}"\nen = "{0}"\ntype = "{1}"\nrole = "{2}"\nterm = "{3}"\n'


@pytest.fixture
def publication(tmp_path, pack):
    ticks = iter(range(1_700_000_000_000, 1_800_000_000_000, 1000))
    database = Database(f"sqlite:///{tmp_path}/c.db", packages=("institution", "catalogue"))
    made = Publication(tmp_path / "open", database, lambda: pack, lambda: next(ticks))
    yield made
    made.close()
    database.close()


@pytest.fixture
def about(tmp_path):
    def make(*columns, kind="aggregate", id="population"):
        text = HEAD.format(id=id, kind=kind) + "".join(COLUMN.format(*(*c, "", "", "")[:4]) for c in columns)
        (tmp_path / "about.toml").write_text(text, "utf-8")
        return read_about(tmp_path / "about.toml")

    return make


@pytest.fixture
def table(tmp_path):
    def write(rows, encoding="utf-8"):
        with (tmp_path / "t.csv").open("w", encoding=encoding, newline="") as file:
            csv.writer(file).writerows(rows)
        return tmp_path / "t.csv"

    return write


WARDS = [("区", "text", "group"), ("年齢", "text", "group"), ("人数", "integer", "count")]


def refused(publication, about, table, **how):
    with pytest.raises(NotPublished) as error:
        publication.publish(about, table, **how)
    assert publication.find("")[1] == 0
    return {(f.code, f.column) for f in error.value.findings if f.weight == "refused"}


def test_small_counts_are_refused_or_blanked_so_that_nobody_can_compute_them(publication, about, table, pack):
    k = pack.header.oversight.small_count
    rows = [
        ("区", "年齢", "人数"),
        ("A", "0-19", 500),
        ("A", "20-64", 900),
        ("A", "65-", 3),
        ("B", "0-19", 40),
        ("B", "20-64", 70),
        ("B", "65-", 60),
    ]
    described = about(*WARDS)
    assert refused(publication, described, table(rows)) == {("small-counts", "人数")}
    made = publication.publish(described, table(rows), suppress=True)
    shown = {(r["区"], r["年齢"]): r["人数"] for r in publication.rows(made)[0]}
    blanks = {cell for cell, n in shown.items() if n is None}
    assert ("A", "65-") in blanks
    assert made.suppressed == len(blanks)
    for line in ([c for c in shown if c[0] == "A"], [c for c in shown if c[1] == "65-"]):
        assert len(blanks & set(line)) != 1, "a total of this line would give it back"
    assert all(n is None or n == 0 or n >= k for n in shown.values())


@pytest.mark.parametrize("seed", range(6))
def test_no_blanked_count_stands_alone_in_any_line(publication, about, table, seed):
    """Random tables of three dimensions: along each of them, a line holds no or at least two blanks (of what is not nothing)."""
    chance = random.Random(seed)
    columns = [("a", "text", "group"), ("b", "text", "group"), ("c", "text", "group"), ("n", "integer", "count")]
    cells = {(a, b, c): chance.choice([0, 3, 8, 12, 30, 100, 400]) for a in "xyz" for b in "pqrs" for c in "uv"}
    made = publication.publish(
        about(*columns), table([("a", "b", "c", "n"), *((*k, n) for k, n in cells.items())]), suppress=True
    )
    shown = {(r["a"], r["b"], r["c"]): r["n"] for r in publication.rows(made, limit=1000)[0]}
    for at in range(3):
        for line in {(*k[:at], *k[at + 1 :]) for k in cells}:
            members = [k for k in cells if (*k[:at], *k[at + 1 :]) == line]
            blank, others = [k for k in members if shown[k] is None], [k for k in members if shown[k]]
            assert len(blank) != 1 or not others


def test_microdata_leave_nobody_in_a_small_group(publication, about, table, pack):
    columns = [("年齢", "text", "group"), ("町", "text", "group"), ("病名", "text", "sensitive")]
    k = pack.header.oversight.small_count
    rows = (
        [("年齢", "町", "病名")]
        + [("30代", "本町", "a" if n % 2 else "b") for n in range(k)]
        + [("40代", "本町", "a")] * k
    )
    described = about(*columns, kind="microdata")
    found = publication.check(described, table(rows))
    assert {f.code for f in found} == {"same-in-group"}  # all in their forties have the same: it is known of each
    with pytest.raises(NotPublished) as error:
        publication.publish(described, table([*rows, ("90代", "本町", "a")]))
    (small,) = [f for f in error.value.findings if f.code == "small-groups"]
    assert (small.cases, small.column) == (1, "年齢")  # coarsening this column would help
    assert refused(publication, about(("年齢", "text"), kind="microdata"), table([("年齢",), ("30代",)])) == {
        ("no-groups", "")
    }


def test_direct_identifiers_are_refused(publication, about, table):
    numbers = [
        b + IndividualNumber.check_digit(b) for b in (f"{n:011d}" for n in range(10_000_000_000, 10_000_000_012))
    ]
    described = about(("x", "text"), kind="reference")
    assert refused(publication, described, table([("x",), *([f"No. {n[:4]}-{n[4:8]} {n[8:]}"] for n in numbers)])) == {
        ("person-number", "x")
    }
    assert refused(
        publication, about(("x", "text", "group"), kind="microdata"), table([("x",), *([["a@example.com"]] * 20)])
    ) == {("mail", "x")}
    assert refused(
        publication, about(("x", "text", "group", "full-name"), kind="microdata"), table([("x",), *([["花子"]] * 20)])
    ) == {("identifying-term", "x")}
    for finding in publication.check(described, table([("x",), [numbers[0]]])):
        assert numbers[0] not in str(finding)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "columns"),
        (b"x,y\n1,2\n", "columns"),
        (b"n,x\n1\n", "unreadable"),
        (b'n,x\n1,"a\n', "unreadable"),
        (b"n,x\n1,\xff\xfe\x81\n", "encoding"),
    ],
)
def test_files_that_are_not_what_they_should_be(publication, about, tmp_path, text, code):
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(Malformed) as error:
        publication.publish(about(("n", "integer"), ("x", "text"), kind="reference"), tmp_path / "t.csv")
    assert error.value.code == code
    assert publication.find("")[1] == 0


def test_values_that_are_not_of_their_type_are_told_by_their_row(publication, about, table):
    with pytest.raises(NotPublished) as error:
        publication.publish(
            about(("n", "integer"), ("d", "date"), kind="reference"),
            table([("n", "d"), (1, "2026-01-01"), ("zwei", "heute")]),
        )
    assert {(f.code, f.column, "row 3" in f.said.en) for f in error.value.findings} == {
        ("type", "n", True),
        ("type", "d", True),
    }
    assert "zwei" not in str(error.value.findings)


def test_versions_replace_each_other_whole_and_withdrawn_ones_are_gone(publication, about, table):
    described = about(("n", "integer"), ("x", "text"), kind="reference")
    first = publication.publish(described, table([("n", "x"), (1, "髙橋"), (2, "")], encoding="cp932"))
    second = publication.publish(described, table([("n", "x"), (7, "七")]))
    assert (first.version, second.version, second.issued == first.issued, second.modified > first.modified) == (
        1,
        2,
        True,
        True,
    )
    assert publication.rows(publication.get("population"))[0] == [{"n": 7, "x": "七"}]
    assert publication.rows(first)[0] == [{"n": 1, "x": "髙橋"}, {"n": 2, "x": None}]
    publication.withdraw("population")
    for gone in (
        lambda: publication.get("population"),
        lambda: publication.withdraw("population"),
        lambda: publication.file(second, "csv"),
    ):
        with pytest.raises(NotFound):
            gone()
    assert publication.find("人口") == ([], 0)
    again = publication.publish(described, table([("n", "x"), (8, "八")]))
    assert again.version == 3, "one version's address leads to another's data"


def test_conditions_sorting_and_pages(publication, about, table):
    made = publication.publish(
        about(("n", "integer"), ("x", "text"), kind="reference"),
        table([("n", "x"), *((n, f"r{n % 7}") for n in range(100))]),
    )
    assert publication.rows(made, [("n", "ge", "10"), ("x", "eq", "r3")], "-n", limit=2, offset=1) == (
        [{"n": 87, "x": "r3"}, {"n": 80, "x": "r3"}],
        13,
    )
    assert publication.rows(made, [("x", "has", "6")])[1] == 14
    for where in ([("n", "eq", "x")], [("m", "eq", "1")], [("n", "or", "1")], [('n" OR 1=1 --', "eq", "1")]):
        with pytest.raises(Malformed):
            publication.rows(made, where)
    with pytest.raises(Malformed):
        publication.rows(made, order='n"; DROP TABLE x')
    assert publication.rows(made, [("x", "eq", "' OR '1'='1")])[1] == 0


def test_a_reader_of_rows_can_read_nothing_else(publication, about, table, tmp_path):
    from renkei.catalogue.publication import _reader

    publication.publish(about(("n", "integer"), kind="reference"), table([("n",), (1,)]))
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n", "utf-8")
    with _reader(publication.folder) as connection:
        for attempt in (
            f"SELECT * FROM read_csv('{secret}')",
            "SET enable_external_access = true",
            "INSTALL httpfs",
            f"COPY (SELECT 1) TO '{tmp_path}/x'",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(attempt)


def test_any_part_of_a_word_is_found_in_both_languages(publication, about, table):
    for n in range(5):
        publication.publish(about(("n", "integer"), kind="reference", id=f"set-{n}"), table([("n",), (n,)]))
    assert [d.about.id for d in publication.find("齢別人")[0]] == [f"set-{n}" for n in reversed(range(5))]
    assert publication.find("ＰＯＰＵＬ ward")[1] == 5
    assert publication.find("set-3")[1] == 1
    assert publication.find("人", limit=2)[1] == 5
    assert publication.find("no-such")[1] == 0
    assert publication.find('" OR "')[1] == 0


APPLICATION = """[[application]]
ja = "最寄りの避難所"
en = "The nearest shelter"
about_ja = "示します。"
about_en = "Shows it."
url = "https://shelters.example/"
by = "Code for Enishi"
datasets = ["population"]
"""


def test_the_gallery_is_replaced_whole_or_not_at_all(publication):
    """A wrong file changes nothing; no address leads anywhere but to another site."""
    gallery = publication.gallery
    assert gallery.all() == ()
    gallery.replace(APPLICATION.encode(), {"population"})
    assert [a.by for a in gallery.using("population")] == ["Code for Enishi"]
    for old, new in (
        ("https://shelters.example/", "javascript:alert(1)"),
        ("https://shelters.example/", "http://shelters.example/"),
        ("https://shelters.example/", "https://"),
        ("https://shelters.example/", "https://[x"),
        ("https://shelters.example/", "https://a@shelters.example/"),
        ("[[application]]", "[application]"),
        ("en = ", "english = "),
        ('["population"]', '["none-such"]'),
        ("The nearest shelter", "x" * 201),
    ):
        with pytest.raises(Malformed):
            gallery.replace(APPLICATION.replace(old, new, 1).encode(), {"population"})
    (publication.folder / "applications.toml").write_bytes(b"\xff")
    assert len(gallery.all()) == 1
    (publication.folder / "applications.toml").unlink()
    assert gallery.all() == ()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("open") / "nation", residents=60)
    until(lambda: running.do(running.world.health(running.plan.place("catalogue"))))
    here = running.world.institutions["catalogue"].publication
    folder = tmp_path_factory.mktemp("about")
    columns = [("name", "text"), ("lon", "number", "longitude"), ("lat", "number", "latitude"), ("seats", "integer")]
    text = HEAD.format(id="shelters", kind="reference") + "".join(COLUMN.format(*(*c, "", "", "")[:4]) for c in columns)
    (folder / "about.toml").write_text(text, "utf-8")
    with (folder / "t.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [("name", "lon", "lat", "seats"), *((f"避難所{n}", 139 + n / 100, 35 + n / 200, n * 10) for n in range(50))]
        )
    here.publish(read_about(folder / "about.toml"), folder / "t.csv")
    yield running
    running.stop()


def fetch(world, path, **headers):
    request = urllib.request.Request(
        world.url("catalogue") + path, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
    with urllib.request.urlopen(request) as answer:
        return answer.headers, answer.read()


def test_every_form_holds_the_same_rows(world, tmp_path):
    rows = list(csv.DictReader(io.StringIO(fetch(world, "/datasets/shelters/data.csv")[1].decode())))
    assert len(rows) == 50
    plain = [(r["name"], float(r["lon"]), int(r["seats"])) for r in rows]
    assert [
        (r["name"], r["lon"], r["seats"]) for r in json.loads(fetch(world, "/datasets/shelters/data.json")[1])
    ] == plain
    (tmp_path / "t.parquet").write_bytes(fetch(world, "/datasets/shelters/data.parquet")[1])
    assert duckdb.sql(f"SELECT name, lon, seats FROM '{tmp_path}/t.parquet'").fetchall() == plain
    features = json.loads(fetch(world, "/datasets/shelters/data.geojson")[1])["features"]
    assert [
        (f["properties"]["name"], f["geometry"]["coordinates"][0], f["properties"]["seats"]) for f in features
    ] == plain
    headers, _ = fetch(world, "/datasets/shelters/data.csv")
    with pytest.raises(urllib.error.HTTPError) as unchanged:
        fetch(world, "/datasets/shelters/data.csv", If_None_Match=headers["etag"])
    assert unchanged.value.code == 304
    unchanged.value.close()


def test_rows_are_asked_for_over_http_page_by_page(world):
    found, offset = [], 0
    while offset is not None:
        page = json.loads(
            fetch(world, f"/datasets/shelters/rows?where=seats,ge,100&order=-seats&limit=7&offset={offset}")[1]
        )
        found += [r["seats"] for r in page["rows"]]
        offset = page["next"]
    assert found == sorted((n * 10 for n in range(10, 50)), reverse=True)
    for bad in ("where=seats", "where=seats,ge,x", "where=none,eq,1", "limit=0", "limit=9999", "offset=-1"):
        assert world.http("catalogue", f"/datasets/shelters/rows?{bad}", token="")[0] == 400
    assert world.http("catalogue", "/datasets/none/rows", token="")[0] == 404
    assert world.http("catalogue", "/datasets/shelters/data.exe", token="")[0] == 404


def test_it_stands_in_the_catalogue_and_in_the_feed(world):
    graph = rdflib.Graph().parse(fetch(world, "/catalog.ttl")[1], format="turtle")
    (page,) = [d for d in graph.subjects(RDF.type, DCAT.Dataset) if str(d).endswith("/datasets/shelters")]
    assert len(set(graph.objects(page, DCAT.distribution))) == 4
    for file in graph.objects(page, DCAT.distribution):
        assert urllib.request.urlopen(str(graph.value(file, DCAT.downloadURL))).status == 200
        assert graph.value(file, DCTERMS.license)
    assert b"shelters" in fetch(world, "/changes.atom")[1]
    found = json.loads(fetch(world, "/datasets.json?q=population")[1])
    assert (found["total"], found["datasets"][0]["files"]["csv"].endswith("/data.csv")) == (1, True)


def test_a_question_that_takes_too_long_is_cut_off(publication, about, table, monkeypatch):
    from renkei.catalogue import publication as module

    monkeypatch.setattr(module, "QUERY_SECONDS", 0.2)
    made = publication.publish(about(("x", "text"), kind="reference"), table([("x",), *([["a" * 200]] * 3000)]))
    others = threading.active_count()
    with module._reader(publication.folder) as connection:
        began = time.monotonic()
        with pytest.raises(duckdb.InterruptException):
            connection.execute(
                "SELECT count(*) FROM range(100000) a, range(100000) b, range(100) c WHERE a.range * b.range % 7 = c.range"
            ).fetchall()
        assert time.monotonic() - began < 5
    assert publication.rows(made)[1] == 3000
    assert threading.active_count() < others + 20


PEOPLE = [("区", "text", "group"), ("男", "integer", "count"), ("女", "integer", "count"), ("計", "integer", "count")]


def test_a_blank_is_not_given_back_by_other_columns_nor_by_what_is_left_of_a_total(publication, about, table, pack):
    k = pack.header.oversight.small_count
    rows = [("A", 3, 20, 23), ("B", 400, 300, 700), ("C", 90, 80, 170), ("D", 50, 60, 110)]
    made = publication.publish(about(*PEOPLE), table([("区", "男", "女", "計"), *rows]), suppress=True)
    shown = {r["区"]: r for r in publication.rows(made)[0]}
    for name, *said in rows:
        hidden = [n for n, c in zip(said, ("男", "女", "計"), strict=True) if shown[name][c] is None]
        assert len(hidden) != 1, "the others of its row give it back"
        assert not hidden or sum(hidden) >= k
    # two that are blank are known to be at least one each: where their sum is two, both are known
    counted = [("A", 1), ("B", 1), ("C", 40), ("計", 42)]
    made = publication.publish(
        about(("区", "text", "group"), ("n", "integer", "count")), table([("区", "n"), *counted]), suppress=True
    )
    hidden = {r["区"] for r in publication.rows(made)[0] if r["n"] is None}
    assert sum(n for c, n in counted if c in hidden) >= k


def test_counts_that_nobody_declared_or_that_are_written_otherwise_do_not_pass(publication, about, table):
    def code(columns, *rows):
        return refused(publication, about(*columns), table([[c[0] for c in columns], *rows]))

    ward = ("区", "text", "group")
    assert code([ward, ("n", "text")], ("A", "3")) == {("no-counts", "")}
    assert code([ward, ("n", "integer", "count"), ("m", "integer")], ("A", 30, 3)) == {("no-role", "m")}
    for written in ("３", "3人"):
        assert ("count-type", "n") in code([ward, ("n", "text", "count")], ("A", written))
        assert ("type", "n") in code([ward, ("n", "integer", "count")], ("A", written))
    for written in ("0x3", "9.6", "1_0"):  # what would be read as another number than it says
        assert ("type", "n") in code([ward, ("n", "integer", "count")], ("A", written))
    assert ("type", "n") in code([("n", "number", "group"), ("m", "integer", "count")], ("nan", 30))
    assert code([ward, ("n", "integer", "count")], ("A", -3)) == {("negative-counts", "n")}


def test_where_somebody_lives_is_what_they_are_recognised_by_and_every_column_has_a_role(publication, about, table):
    where = [("東経", "number", "longitude"), ("北緯", "number", "latitude"), ("年代", "text", "group")]
    described = about(*where, kind="microdata")
    homes = [(139 + n / 100, 35, "30代") for n in range(30)]
    assert refused(publication, described, table([("東経", "北緯", "年代"), *homes])) == {("small-groups", "東経")}
    described = about(("年代", "text", "group"), ("世帯主", "text"), kind="microdata")
    assert refused(publication, described, table([("年代", "世帯主"), *[("30代", "花子")] * 30])) == {
        ("no-role", "世帯主")
    }


def test_numbers_of_persons_are_found_however_they_are_written(publication, about, table):
    numbers = [
        b + IndividualNumber.check_digit(b) for b in (f"{n:011d}" for n in range(10_000_000_000, 10_000_000_060))
    ]
    wide = str.maketrans("0123456789", "０１２３４５６７８９")
    for type_, values in (
        ("integer", numbers),
        ("text", [n.translate(wide) for n in numbers]),
        ("text", [f"{n[:4]}－{n[4:8]}　{n[8:]}" for n in numbers]),
        ("text", [f"{int(n) + 1:012d}、{n}" for n in numbers]),  # the second of two
        ("text", [*numbers[:40], *(f"{n * 7:012d}" for n in range(10**9, 10**9 + 60))]),  # among others
    ):
        described = about(("x", type_), kind="reference")
        assert ("person-number", "x") in refused(publication, described, table([("x",), *([v] for v in values)]))


def test_nothing_of_a_table_is_taken_for_a_comment_and_a_part_of_a_word_is_no_pattern(publication, about, table):
    described = about(("x", "text"), ("n", "integer"), kind="reference")
    made = publication.publish(described, table([("x", "n"), ("100% # y", 1), ("# z", 2)]))
    assert [r["x"] for r in publication.rows(made)[0]] == ["100% # y", "# z"]
    assert [publication.rows(made, [("x", "has", w)])[1] for w in ("%", "_", "# ")] == [1, 0, 2]
    with pytest.raises(Malformed) as many:
        publication.rows(made, [("x", "has", "z")] * 21)
    assert many.value.code == "condition"


def test_whoever_asks_much_holds_up_nobody_else(publication, about, table, monkeypatch):
    import asyncio

    from renkei.catalogue import publication as module
    from renkei.errors import Unavailable

    made = publication.publish(about(("n", "integer"), kind="reference"), table([("n",), (1,)]))

    async def storm():
        asked = [publication.apart(lambda: (time.sleep(0.05), publication.rows(made))[1]) for _ in range(50)]
        told = asyncio.gather(*asked, return_exceptions=True)
        await asyncio.sleep(0)
        began = time.monotonic()
        await asyncio.to_thread(publication.get, "population")
        return time.monotonic() - began, await told

    took, told = asyncio.run(storm())
    refused_ = [t for t in told if isinstance(t, Unavailable)]
    assert took < 0.5
    assert len(refused_) == 50 - module.WAITING_MOST
    assert all(t[1] == 1 for t in told if not isinstance(t, Exception))


@pytest.mark.parametrize(("word", "value"), [("licence", "http://x/<y>"), ("theme", "社会"), ("every", "A B")])
def test_what_would_break_the_catalogue_s_graph_is_no_declaration(tmp_path, word, value):
    text = HEAD.format(id="x", kind="reference") + COLUMN.format("n", "integer", "", "")
    lines = [f'{word} = "{value}"' if line.startswith(f"{word} =") else line for line in text.splitlines()]
    (tmp_path / "about.toml").write_text("\n".join(lines), "utf-8")
    with pytest.raises(Malformed):
        read_about(tmp_path / "about.toml")
