"""Properties of the repository: schemas match their tables, guards are on, documents are fresh, nothing names a registry."""

import ast
import json
import re
import subprocess
import typing
from hashlib import sha256

import pytest
import sqlalchemy as sa

from renkei.institution import migrate
from renkei.institution.database import Database
from renkei.messages import wire
from tests.conftest import ROOT


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_migrations_make_exactly_the_declared_tables(engine, tmp_path, request):
    """On both engines, for every package with tables."""
    url = f"sqlite:///{tmp_path}/x.db" if engine == "sqlite" else request.getfixturevalue("postgres")("schema")
    packages = tuple(migrate.TABLES)
    database = Database(url, packages=packages)
    assert migrate.differences(database.engine, packages) == []
    assert "alembic_version" in sa.inspect(database.engine).get_table_names()
    database.close()


def tracked():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [ROOT / n for n in names if (ROOT / n).is_file()]


def test_no_file_names_a_registry_or_this_workplace():
    """Packages come from wherever the installer is configured; no host is written down."""
    names = [
        ("py", "pi.org"),
        ("python", "hosted"),
        ("deb.de", "bian.org"),
        ("registry.", "npmjs"),
        ("files.", "python"),
    ]
    hosts = re.compile("|".join(re.escape("".join(pair)) for pair in names), re.I)
    for path in tracked():
        if path.suffix not in (".png", ".pdf"):
            assert not hosts.search(path.read_text("utf-8", "replace")), path


def test_every_local_link_in_the_documents_leads_somewhere():
    for path in tracked():
        if path.suffix == ".md":
            for target in re.findall(r"\]\((?!http|#|mailto)([^)#]+)", path.read_text("utf-8")):
                assert (path.parent / target).exists(), (path.name, target)


def test_the_readme_s_commands_exist():
    """Every `make x` and `renkei x` the README names is there."""
    text = (ROOT / "README.md").read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"make ([a-z-]+)", text):
        assert f"\n{target}:" in makefile, target
    help_ = subprocess.run([ROOT / ".venv/bin/renkei", "--help"], capture_output=True, text=True, check=True).stdout
    for command in set(re.findall(r"renkei (number|law|inquire|verify|nation|run|authority|commission)\b", text)):
        assert command in help_


def test_ci_runs_the_readme_s_test_command():
    assert "make test" in (ROOT / ".ci/run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()


def test_the_settings_page_is_fresh():
    from docs.generate import settings_page

    assert (ROOT / "docs/settings.md").read_text("utf-8") == settings_page()


def test_the_published_vectors_are_ours():
    """The code still produces the published bytes."""
    from tests.vectors.make import make

    assert json.loads((ROOT / "tests/vectors/vectors.json").read_text("utf-8")) == make()


def test_pages_are_guarded_and_forms_carry_a_token():
    """Every form that changes something has a CSRF field; every page but sign-in has a guard.

    A form to another program (``action="{{``) needs none of ours, nor one whose own secret is its proof: the reader program's token, and
    what a card signed for this browser's challenge.
    """
    proofs = ("_csrf_token", "{{ stepup(", 'action="{{', 'name="token"')
    for template in (ROOT / "src").rglob("templates/*.html"):
        text = template.read_text("utf-8")
        assert text.count('method="post"') <= sum(text.count(p) for p in proofs), template
    public = ("/", "/signin", "/signout", "/signin/directory", "/signin/directory/back", "/signin/passkey")
    signed = (
        "/apply/signed",
        "/own/back",
        "/desk/counter/card/signed",
        "/desk/register/card",
    )  # what a card's reader posts
    open_ = {
        "commission/register_pages": r"/register.*|/comment/\{id:int}",
        "commission/figure_pages": "/statistics.*",
        "gateway/document_pages": "/documents.*|/verify.*",
        "gateway/queue_pages": "/queue.*",
        "portal/sign_on_pages": "/oidc/.*|/.well-known/.*",
        "certification/counter_pages": "/counter/sign(in|out)|/apply",
    }
    open_ |= dict.fromkeys(
        ("catalogue/corporation_pages", "catalogue/open_pages", "catalogue/pages", "witness/pages"), ".*"
    )
    sources = ROOT / "src/renkei"
    for path in (*sources.glob("*/*pages.py"), *sources.glob("*/console.py")):
        pages = str(path.relative_to(sources).with_suffix(""))
        for route, guard in re.findall(
            r'@(?:get|post)\("([^"]+)"(, guards=(?:inside|alone|staffing))?', path.read_text("utf-8")
        ):
            if not re.fullmatch(open_.get(pages, ""), route):
                assert guard or route in (*public, *signed), (pages, route)


def test_every_message_is_somebody_s_to_change():
    """Each wire type is named in an attack: who adds one says which adversary changes its fields."""
    told = "".join(p.read_text("utf-8") for p in (ROOT / "tests/attacks").glob("*.py"))
    for union in (wire.Signed, wire.Message, wire.Call, wire.Reply):
        for type_ in typing.get_args(union):
            tag = type_.__struct_config__.tag
            assert re.search(rf"\b{type_.__name__}\b", told) or tag in told, type_.__name__


def test_the_browser_s_script_is_made_of_its_source():
    """`make scripts` was run after the last change; what is shipped says what it holds."""
    source = sha256((ROOT / "src/renkei/portal/scripts/own.mjs").read_bytes()).hexdigest()
    made = (ROOT / "src/renkei/institution/static/own.js").read_text("utf-8")
    assert made.startswith(f"// own.mjs {source} with "), "run `make scripts`"
    for name, version in json.loads((ROOT / "src/renkei/portal/scripts/package.json").read_text("utf-8"))[
        "dependencies"
    ].items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), name
        assert name in made.partition("\n")[0]


def test_there_is_one_file_of_attacks_per_adversary():
    adversaries = (
        "outsider",
        "requester",
        "provider",
        "hub",
        "commission",
        "portal",
        "correspondent",
        "network",
        "clerk",
        "site",
        "thief",
    )
    studies = ("linkability", "byte_scan", "permit")
    files = {p.stem.removeprefix("test_") for p in (ROOT / "tests/attacks").glob("test_*.py")}
    assert files == {*adversaries, *studies}
    for name in files:
        text = (ROOT / f"tests/attacks/test_{name}.py").read_text("utf-8")
        assert re.match(r'"""(Adversar|Claim)', text), name


ERRORS = {"RenkeiError", "Malformed", "NotGenuine", "Refused", "Conflict", "NotFound", "Unavailable", "SetupError"}
FOR_PROGRAMS = {"NotGenuine", "Refused", "Conflict"}
"""Families whose own remedy speaks to whoever writes a program or runs an institution."""
FOR_PEOPLE = (
    *(
        "card/client.py",
        "card/reader.py",
        "clinic/service.py",
        "nation/bank/service.py",
        "nation/hall/service.py",
        "reader/service.py",
    ),
    *(f"certification/{name}.py" for name in ("applications", "counter_pages", "faces")),
    *(f"gateway/{name}.py" for name in ("counter_pages", "document_pages", "documents")),
    *(f"institution/{name}.py" for name in ("clerks", "entry", "relying")),
    *("nation/sign_on.py",),
    *(
        f"portal/{name}.py"
        for name in ("pages", "sign_on_pages", "digest", "webpush", "guards", "proxies", "applications")
    ),
)


def errors_in(path):
    """The errors that a file makes: line, family, and what is given by name."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
            yield node.lineno, node.func.id, {keyword.arg for keyword in node.keywords}


def test_what_people_meet_tells_them_what_to_do_in_both_languages():
    """Where they come by card no error falls back on a remedy for programs; and nowhere is one told in Japanese and remedied in English."""
    source = ROOT / "src" / "renkei"
    half = [
        (p, n)
        for p in source.rglob("*.py")
        for n, _, given in errors_in(p)
        if "ja" in given and "remedy" in given and "remedy_ja" not in given
    ]
    assert half == []
    bare = [
        (f, n)
        for f in FOR_PEOPLE
        for n, family, given in errors_in(source / f)
        if family in FOR_PROGRAMS and "remedy" not in given
    ]
    assert bare == []


def test_no_error_is_made_once_for_all():
    """Each raise would add its frames (and with them what somebody sent) to one that is kept, for ever."""
    from renkei import errors

    kinds = {n for n, e in vars(errors).items() if isinstance(e, type) and issubclass(e, Exception)}
    for path in (ROOT / "src").rglob("*.py"):
        for one in ast.parse(path.read_text("utf-8")).body:
            made = one.value if isinstance(one, ast.Assign | ast.AnnAssign) else None
            assert not (isinstance(made, ast.Call) and getattr(made.func, "id", "") in kinds), f"{path}:{one.lineno}"
