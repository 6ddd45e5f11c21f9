"""The catalogue of a running nation: what bodies say of themselves, read by tools no one here wrote."""

import csv
import io
import json

import jsonschema
import openapi_spec_validator
import pytest
import rdflib
from rdflib import DCAT, DCTERMS, RDF, SKOS

from renkei.gateway.adapter import read
from tests.world import Running, until


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("catalogue") / "nation", residents=60)
    until(
        lambda: all(
            b in {p["body"] for i in items(running) for p in i["providers"]} for b in ("ohashi-city", "tax-union")
        )
    )
    yield running
    running.stop()


def items(world):
    return world.http("catalogue", "/items.json", token="")[1]


def item(world, code):
    return next(i for i in items(world) if i["item"] == code)


def provider(world, code, body):
    return next(p for p in item(world, code)["providers"] if p["body"] == body)


def measured(world, body, code):
    """Have a gateway measure now what it measures every night."""
    gateway = world.world.institutions[body]

    async def measure():
        gateway.offering.measure(code)
        await gateway.offering.tell()

    before = provider(world, code, body)["measured"] or 0
    world.do(measure())
    return until(lambda: (p := provider(world, code, body))["measured"] not in (None, before) and p)


def test_who_answers_what_is_what_the_gateways_declared(world):
    for body in ("ohashi-city", "tax-union", "pension-service"):
        declared = set(read(world.folder / body / "mapping.toml").items)
        listed = {i["item"] for i in items(world) if any(p["body"] == body for p in i["providers"])}
        assert listed <= declared
        assert listed, body
    tax = item(world, "local-tax")
    pack = world.world.institutions["catalogue"].member.pack
    rows = [r for r in pack.linkages if r.item == "local-tax"]
    assert tax["rows"] == sorted({r.row for r in rows})
    assert tax["requesters"] == sorted({k for r in rows for k in r.requester})
    assert len(items(world)) == len(pack.items)


def test_how_well_is_measured_over_every_row(world):
    source = world.world.institutions["tax-union"].adapter._database("")
    import sqlalchemy as sa

    with source.connect() as connection:
        rows, persons = connection.execute(sa.text("SELECT count(*), count(DISTINCT atena_no) FROM T_LOCAL_TAX")).one()
        salaries = connection.scalar(sa.text("SELECT count(SALARY_REVENUE) FROM T_LOCAL_TAX"))
    found = measured(world, "tax-union", "local-tax")
    k = world.world.institutions["catalogue"].member.pack.header.oversight.small_count
    # in steps: of one person more or less nobody is to read
    assert (found["rows"], found["persons"], found["wrong"]) == (rows // k * k, persons // k * k, 0)
    assert found["filled"]["salary_revenue"] % k == 0
    assert abs(found["filled"]["salary_revenue"] - salaries) < k
    with source.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE T_LOCAL_TAX SET TAX_STATUS = 'nonsense' WHERE rowid IN (SELECT rowid FROM T_LOCAL_TAX LIMIT 3)"
            )
        )
    assert measured(world, "tax-union", "local-tax")["wrong"] == 3
    page = world.http("catalogue", "/items/local-tax?lang=en", token="", Accept="text/html")[1]
    assert "3 rows do not fit" in page


def test_an_answer_fits_the_published_schema(world):
    """Real records, against the schema as served, by a validator of JSON Schema."""
    seen = 0
    for persona in range(3):
        status, told = world.ask(persona=persona, item="local-tax")
        if status == 200 and told["records"]:
            schema = json.loads(json.dumps(world.http("catalogue", "/items/local-tax/schema.json", token="")[1]))
            checker = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
            for record in told["records"]:
                checker.validate(record)
                seen += 1
            with pytest.raises(jsonschema.ValidationError):
                checker.validate({**told["records"][0], "more": 1})
    assert seen


def test_every_schema_is_one_and_so_is_the_whole(world):
    for code in world.world.institutions["catalogue"].member.pack.specifications:
        schema = world.http("catalogue", f"/items/{code}/schema.json", token="")[1]
        jsonschema.Draft202012Validator.check_schema(schema)
        checker = jsonschema.Draft202012Validator(schema)
        checker.validate({name: p["examples"][0] for name, p in schema["properties"].items()})
    openapi_spec_validator.validate(world.http("catalogue", "/openapi-items.json", token="")[1])
    assert world.http("catalogue", "/items/seal/schema.json", token="")[0] == 404


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph")  # rdflib's own reader of JSON-LD
@pytest.mark.parametrize(("suffix", "format_"), [("ttl", "turtle"), ("jsonld", "json-ld"), ("rdf", "xml")])
def test_harvesters_read_the_same_in_each_form(world, suffix, format_):
    said = world.http("catalogue", f"/catalog.{suffix}", token="", Accept="*/*")[1]
    graph = rdflib.Graph().parse((json.dumps(said) if suffix == "jsonld" else said).encode(), format=format_)
    pack = world.world.institutions["catalogue"].member.pack
    datasets = set(graph.subjects(RDF.type, DCAT.Dataset))
    assert {str(graph.value(d, DCTERMS.identifier)) for d in datasets} == set(pack.specifications)
    (catalogue,) = graph.subjects(RDF.type, DCAT.Catalog)
    assert set(graph.objects(catalogue, DCAT.dataset)) == datasets
    assert all(len(set(graph.objects(d, DCTERMS.title))) == 2 for d in datasets)
    offered = {(i["item"], p["body"]) for i in items(world) for p in i["providers"]}
    assert len(set(graph.subjects(RDF.type, DCAT.DataService))) == len(offered)


def test_the_vocabulary_is_skos_and_a_table(world):
    pack = world.world.institutions["catalogue"].member.pack
    graph = rdflib.Graph().parse(data=world.http("catalogue", "/vocabulary.ttl", token="")[1], format="turtle")
    (scheme,) = graph.subjects(RDF.type, SKOS.ConceptScheme)
    terms = set(graph.subjects(SKOS.topConceptOf, scheme))
    assert len(terms) == len(pack.terms)
    for term in terms:
        labels = list(graph.objects(term, SKOS.prefLabel))
        assert {label.language for label in labels} == {"ja", "en"}
        assert len(labels) == 2  # SKOS: one preferred label a language
    birth = next(t for t in terms if str(t).endswith(":date-of-birth"))
    assert rdflib.URIRef("https://schema.org/birthDate") in set(graph.objects(birth, SKOS.closeMatch))
    rows = list(csv.DictReader(io.StringIO(world.http("catalogue", "/vocabulary.csv", token="")[1].lstrip("\ufeff"))))
    assert {r["term"] for r in rows} == set(pack.terms)


def test_what_has_not_changed_is_not_sent_again(world):
    import urllib.error
    import urllib.request

    url = world.url("catalogue") + "/catalog.ttl"
    with urllib.request.urlopen(url) as answer:
        tag = answer.headers["etag"]
    with pytest.raises(urllib.error.HTTPError) as unchanged:
        urllib.request.urlopen(urllib.request.Request(url, headers={"If-None-Match": tag}))
    assert unchanged.value.code == 304
    unchanged.value.close()


def test_search_finds_by_item_field_term_and_act_in_both_languages(world):
    def found(q):
        import urllib.parse

        return {i["item"] for i in world.http("catalogue", "/items.json?q=" + urllib.parse.quote(q), token="")[1]}

    assert "local-tax" in found("所得割")
    assert "local-tax" in found("income levy")
    assert "child-allowance" in found("児童手当法")
    assert found("no such thing anywhere") == set()


@pytest.mark.parametrize(
    "path",
    ["/items/none", "/terms/none", "/bodies/none", "/catalog.exe", "/vocabulary.exe", "/items/%00"],
)
def test_what_is_not_there_is_told_so(world, path):
    assert world.http("catalogue", path, token="")[0] in (400, 404)


def test_a_probe_that_fails_is_seen_by_everybody(world):
    """Synthetic persons are looked up as an inquiry would; what is wrong is published, and nothing about them."""
    import msgspec

    gateway = world.world.institutions["ohashi-city"]
    known = world.local_id("ohashi-city")
    mapping = gateway.adapter.mapping
    code = next(i for i in ("resident-record",) if i in mapping.items)
    for probes, fault in (((known,), ""), ((known, "synthetic-1"), "no-data")):
        gateway.adapter.mapping.items[code] = msgspec.structs.replace(mapping.items[code], probes=probes)
        told = measured(world, "ohashi-city", code)
        assert told["probe"]["fault"] == fault
        assert known not in json.dumps(items(world))
    assert "試験照会に失敗" in world.http("catalogue", f"/items/{code}?lang=ja", token="", Accept="text/html")[1]


def test_few_persons_are_not_told_by_what_is_counted_of_them(pack):
    """Everybody reads these counts: an item that says something of three persons, or a field that one of them has, is none to tell."""
    from renkei.gateway.offering import _coarse
    from renkei.messages.wire import Offer

    few = _coarse(Offer("x", 1, True, False, rows=3, persons=3, wrong=1, filled={"a": 1, "b": 3}), 10)
    assert (few.rows, few.persons, few.wrong, few.filled) == (0, 0, 0, {})
    many = _coarse(
        Offer("x", 1, True, False, rows=1017, persons=1001, wrong=4, filled={"a": 1, "b": 1014, "c": 500}), 10
    )
    assert (many.rows, many.persons, many.wrong, many.filled) == (1010, 1000, 4, {"a": 0, "b": 1010, "c": 500})


def test_a_gateway_that_lies_does_not_break_what_everybody_reads(world):
    from renkei.messages.wire import Offer, Offers

    gateway, far = world.world.institutions["tax-union"], 2**53 - 1
    true = gateway.offering.offers()

    def say(*offers):
        async def tell():
            await gateway.post.send("catalogue", [Offers(list(offers))])

        world.do(tell())

    for lie in (
        Offer("local-tax", 1, True, False, made=far),
        Offer("local-tax", 1, True, False, measured=far),
        Offer("local-tax", 1, True, False, probed=far),
        Offer("local-tax", 1, True, False, measured=1, rows=1, wrong=far),
        Offer("local-tax", 1, True, False, measured=1, filled={"salary_revenue": far}),
    ):
        say(lie, *(o for o in true if o.item != "local-tax"))
        until(lambda: not any(p["body"] == "tax-union" for p in item(world, "local-tax")["providers"]))
        for path in ("/catalog.ttl", "/items/local-tax", "/bodies/tax-union", "/"):
            assert world.http("catalogue", path, token="", Accept="text/html")[0] == 200
        say(*true, Offer("no-such-item", 1, True, False))
        until(lambda: any(p["body"] == "tax-union" for p in item(world, "local-tax")["providers"]))
    named = Offer("local-tax", 1, True, False, measured=1, rows=10, filled={"salary_revenue": 10, "no_such_field": 10})
    say(named, *(o for o in true if o.item != "local-tax"))
    until(lambda: provider(world, "local-tax", "tax-union")["filled"] == {"salary_revenue": 10})
