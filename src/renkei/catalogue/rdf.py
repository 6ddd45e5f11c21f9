"""The vocabulary as SKOS and the registry as DCAT 3, for harvesters and for whoever compares words across countries."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterable

from rdflib import DCAT, DCTERMS, FOAF, RDF, SKOS, XSD, Graph, Literal, Namespace, URIRef

from renkei.catalogue.opened import FORMS, Dataset
from renkei.catalogue.registry import Entry, Registry
from renkei.law import Pack
from renkei.law.tables import Title
from renkei.law.vocabulary import Term

DCAT3 = Namespace(str(DCAT))
"""The same vocabulary, with what its third version added."""
PUBLIC = URIRef("http://publications.europa.eu/resource/authority/access-right/PUBLIC")
THEMES = Namespace("http://publications.europa.eu/resource/authority/data-theme/")
FREQUENCIES = Namespace("http://publications.europa.eu/resource/authority/frequency/")
RESTRICTED = URIRef("http://publications.europa.eu/resource/authority/access-right/RESTRICTED")
LANGUAGES = (
    URIRef("http://publications.europa.eu/resource/authority/language/JPN"),
    URIRef("http://publications.europa.eu/resource/authority/language/ENG"),
)
MEDIA_TYPES = "https://www.iana.org/assignments/media-types/"
FORMATS = {
    "ttl": ("turtle", "text/turtle"),
    "jsonld": ("json-ld", "application/ld+json"),
    "rdf": ("xml", "application/rdf+xml"),
}
"""How a graph is written: the suffix of its address, rdflib's name, the media type."""

COLUMNS = [
    "term",
    "type",
    "unit",
    "codes",
    "label_ja",
    "label_en",
    "definition_ja",
    "definition_en",
    "example",
    "sensitivity",
    "same_as",
]
ABOUT = Title("法令により機関どうしが照会できる情報の一覧", "What bodies may ask each other for by law")


def written(graph: Graph, suffix: str) -> bytes:
    """A graph in one of ``FORMATS``."""
    return graph.serialize(format=FORMATS[suffix][0], encoding="utf-8")


def vocabulary(pack: Pack) -> Graph:
    """Terms as concepts of one scheme, codes as concepts of a collection each."""
    graph = _graph(pack)
    scheme = URIRef(pack.header.vocabulary.iri.rstrip(":#/"))
    graph.add((scheme, RDF.type, SKOS.ConceptScheme))
    _titled(graph, scheme, DCTERMS.title, Title(pack.header.ja, pack.header.en))
    graph.add((scheme, DCTERMS.hasVersion, Literal(pack.reference)))
    for term in pack.terms.values():
        _term(graph, pack, scheme, term)
    for name, codes in pack.codelists.items():
        collection = URIRef(f"{pack.header.vocabulary.iri}codes:{name}")
        graph.add((collection, RDF.type, SKOS.Collection))
        for code, title in codes.items():
            concept = URIRef(f"{collection}:{code}")
            graph.add((collection, SKOS.member, concept))
            graph.add((concept, RDF.type, SKOS.Concept))
            graph.add((concept, SKOS.inScheme, scheme))
            graph.add((concept, SKOS.notation, Literal(code)))
            _titled(graph, concept, SKOS.prefLabel, title)
    return graph


def _term(graph: Graph, pack: Pack, scheme: URIRef, term: Term) -> None:
    meaning = pack.header.vocabulary
    concept = URIRef(meaning.iri + term.code)
    graph.add((concept, RDF.type, SKOS.Concept))
    graph.add((concept, SKOS.inScheme, scheme))
    graph.add((concept, SKOS.topConceptOf, scheme))
    graph.add((concept, SKOS.notation, Literal(term.code)))
    _titled(graph, concept, SKOS.prefLabel, term.title)
    _titled(graph, concept, SKOS.definition, term.definition)
    graph.add((concept, SKOS.example, Literal(term.example)))
    graph.add((concept, DCTERMS.type, Literal(term.type)))
    for short in term.same_as:
        graph.add((concept, SKOS.closeMatch, URIRef(meaning.full(short))))


def vocabulary_csv(pack: Pack) -> bytes:
    """The terms as a table (UTF-8 with a mark, for Excel)."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for t in pack.terms.values():
        facts = (t.code, t.type, t.unit, t.codes, *t.title, *t.definition, t.example, t.sensitivity)
        writer.writerow([*facts, " ".join(t.same_as)])
    return out.getvalue().encode("utf-8-sig")


def catalogue(registry: Registry, opened: Iterable[Dataset], address: str, publisher: str) -> Graph:
    """The whole catalogue: items, to which bodies that answer them give access by data services; and opened datasets with their files."""
    pack = registry.pack
    graph = _graph(pack)
    home = URIRef(f"{address}/")
    agent = _agent(graph, address, publisher, pack)
    graph.add((home, RDF.type, DCAT.Catalog))
    _titled(
        graph,
        home,
        DCTERMS.title,
        Title(f"{pack.header.ja} 行政情報カタログ", f"{pack.header.en}: catalogue of public data"),
    )
    _titled(graph, home, DCTERMS.description, ABOUT)
    graph.add((home, DCTERMS.publisher, agent))
    graph.add((home, DCAT.themeTaxonomy, URIRef(pack.header.vocabulary.iri.rstrip(":#/"))))
    graph.add((home, FOAF.homepage, home))
    for language in LANGUAGES:
        graph.add((home, DCTERMS.language, language))
    _items(graph, registry, address, registry.entries())
    for made in opened:
        _opened(graph, pack, address, made)
    return graph


def _opened(graph: Graph, pack: Pack, address: str, made: Dataset) -> None:
    about = made.about
    page = URIRef(f"{address}/datasets/{about.id}")
    graph.add((URIRef(f"{address}/"), DCAT.dataset, page))
    graph.add((page, RDF.type, DCAT.Dataset))
    graph.add((page, DCTERMS.identifier, Literal(about.id)))
    _titled(graph, page, DCTERMS.title, about.title)
    _titled(graph, page, DCTERMS.description, Title(about.description_ja, about.description_en))
    graph.add((page, DCAT3.version, Literal(str(made.version))))
    graph.add((page, DCTERMS.accessRights, PUBLIC))
    graph.add((page, DCTERMS.publisher, _agent(graph, address, about.publisher, pack)))
    graph.add((page, DCTERMS.issued, _moment(made.issued)))
    graph.add((page, DCTERMS.modified, _moment(made.modified)))
    graph.add((page, DCAT.landingPage, page))
    if about.theme:
        graph.add((page, DCAT.theme, THEMES[about.theme]))
    if about.every:
        graph.add((page, DCTERMS.accrualPeriodicity, FREQUENCIES[about.every]))
    for word in about.keywords:
        graph.add((page, DCAT.keyword, Literal(word)))
    for form in about.forms:
        file = URIRef(f"{page}/data.{form}")
        graph.add((page, DCAT.distribution, file))
        graph.add((file, RDF.type, DCAT.Distribution))
        _titled(graph, file, DCTERMS.title, Title(f"{about.ja}（{form}）", f"{about.en} ({form})"))
        graph.add((file, DCAT.accessURL, file))
        graph.add((file, DCAT.downloadURL, file))
        graph.add((file, DCAT.mediaType, URIRef(MEDIA_TYPES + FORMS[form].partition(";")[0])))
        graph.add((file, DCTERMS.license, URIRef(about.licence)))
        graph.add((file, DCTERMS.modified, _moment(made.modified)))


def _moment(milliseconds: int) -> Literal:
    return Literal(
        dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC).isoformat(timespec="seconds"), datatype=XSD.dateTime
    )


def _items(graph: Graph, registry: Registry, address: str, entries: Iterable[Entry]) -> None:
    for entry in entries:
        if entry.specification is not None:
            _dataset(graph, registry, address, entry)


def _dataset(graph: Graph, registry: Registry, address: str, entry: Entry) -> None:
    pack, specification = registry.pack, entry.specification
    assert specification is not None
    page = URIRef(f"{address}/items/{entry.item}")
    graph.add((URIRef(f"{address}/"), DCAT.dataset, page))
    graph.add((page, RDF.type, DCAT.Dataset))
    graph.add((page, DCTERMS.identifier, Literal(entry.item)))
    _titled(graph, page, DCTERMS.title, specification.title)
    _titled(graph, page, DCTERMS.description, pack.items[entry.item].title)
    graph.add((page, DCAT3.version, Literal(str(specification.version))))
    graph.add((page, DCTERMS.accessRights, RESTRICTED))
    graph.add((page, FOAF.page, page))
    schema = URIRef(f"{page}/schema.json")
    graph.add((page, DCTERMS.conformsTo, schema))
    graph.add((schema, RDF.type, DCTERMS.Standard))
    for language in LANGUAGES:
        graph.add((page, DCTERMS.language, language))
    for field in specification.fields:
        graph.add((page, DCAT.keyword, Literal(field.ja, "ja")))
        graph.add((page, DCAT.keyword, Literal(field.en, "en")))
    for provider in entry.providers:
        service = URIRef(f"{page}/{provider.body}")
        graph.add((URIRef(f"{address}/"), DCAT.service, service))
        graph.add((service, RDF.type, DCAT.DataService))
        title, spec = pack.bodies[provider.body].title, specification.title
        _titled(graph, service, DCTERMS.title, Title(f"{title.ja}: {spec.ja}", f"{title.en}: {spec.en}"))
        graph.add((service, DCAT.endpointURL, page))
        graph.add((service, DCAT.servesDataset, page))
        graph.add((service, DCTERMS.publisher, _agent(graph, address, provider.body, pack)))
        if provider.offer.made:
            graph.add((service, DCTERMS.modified, _moment(provider.offer.made)))


def _agent(graph: Graph, address: str, body: str, pack: Pack) -> URIRef:
    agent = URIRef(f"{address}/bodies/{body}")
    graph.add((agent, RDF.type, FOAF.Agent))
    known = pack.bodies.get(body)
    _titled(graph, agent, FOAF.name, known.title if known else Title(body, body))
    return agent


def _titled(graph: Graph, subject: URIRef, what: URIRef, title: Title) -> None:
    graph.add((subject, what, Literal(title.ja, "ja")))
    graph.add((subject, what, Literal(title.en, "en")))


def _graph(pack: Pack) -> Graph:
    graph = Graph()
    for prefix, iri in (
        ("dcat", DCAT),
        ("dct", DCTERMS),
        ("skos", SKOS),
        ("foaf", FOAF),
        *pack.header.vocabulary.prefixes.items(),
    ):
        graph.bind(prefix, iri)
    return graph
