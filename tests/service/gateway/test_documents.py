"""Certificates for residents: come by card, take a sealed PDF; programs no one here wrote verify it; a paper copy by its code."""

import asyncio
import base64
import datetime as dt
import json
import os
import re
import shutil
import sqlite3
import subprocess
import zlib

import pytest
import segno
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from renkei.errors import RenkeiError
from renkei.institution import paper, subjects
from tests.cards import Carded, Resident, fields_of
from tests.service.certification.conftest import NEEDS_TOKEN
from tests.world import until

pytestmark = NEEDS_TOKEN
CITY = "ohashi-city"
NEEDS_QR = pytest.mark.skipif(
    not (shutil.which("pdftoppm") and shutil.which("zbarimg")), reason="poppler-utils or zbar-tools is not installed"
)
NEEDS_FACE = pytest.mark.skipif(not list(paper.FONTS.rglob("ipamjm.ttf")), reason="fonts-ipamj-mincho is not installed")


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("kiosk") / "nation")
    yield running
    running.stop()


class Visitor(Resident):
    """Somebody at a kiosk of the city."""

    def __init__(self, nation, body=CITY):
        super().__init__(nation, body)

    def comes(self, reader, pin="1234"):
        _, page = self.get("/documents")
        _, page = self.post(f"{reader}/ask", self.url, **fields_of(page))
        _, page = self.post(f"{reader}/answer", reader, token=fields_of(page)["token"], pin=pin, act="confirm")
        _, page = self.post(f"{self.url}/documents/card", "", **fields_of(page))
        self.post(f"{self.url}/documents/card/finish", self.url, **fields_of(page))
        return until(lambda: (p := self.get("/documents"))[1] and 'http-equiv="refresh" content="2"' not in p[1] and p)

    def takes(self, code):
        """The document, or the page that says why not."""
        status, page = self.form("/documents", f"/documents/print/{code}")
        return self.get("/documents/made.pdf") if "/documents/made.pdf" in page else (status, page)


@pytest.fixture(scope="module")
def visitor(nation):
    found = Visitor(nation)
    with nation.reading(nation.card(), elsewhere=True) as reader:
        status, page = found.comes(reader)
    assert status == 200, page
    return found


@pytest.fixture(scope="module")
def made(nation, visitor, tmp_path_factory):
    """A certificate of residence, as a file."""
    status, pdf = visitor.takes("resident-record-copy")
    assert (status, pdf[:5]) == (200, b"%PDF-"), pdf
    path = tmp_path_factory.mktemp("made") / "record.pdf"
    path.write_bytes(pdf)
    return path


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def official(nation):
    return nation.folder / "certification" / "official-ca.pem"


def test_it_says_what_the_register_holds_about_whoever_s_card_it_is(nation, made):
    if not shutil.which("pdftotext"):
        pytest.skip("poppler-utils is not installed")
    run("pdftotext", "-layout", made, made.with_suffix(".txt"))
    text = made.with_suffix(".txt").read_text("utf-8")
    with sqlite3.connect(nation.folder / CITY / "source.db") as source:
        row = source.execute(
            "select NAME, ADDRESS, HOUSEHOLD_NUMBER from T_RESIDENT_RECORD where atena_no = ?", [nation.local_id(CITY)]
        ).fetchone()
    squeezed = re.sub(r"\s", "", text)
    for value in (*row, "1991年5月14日", "住民票の写し", "大橋市"):
        assert re.sub(r"\s", "", value) in squeezed
    assert nation.number() not in squeezed


def test_pdfsig_accepts_the_seal(nation, made, tmp_path):
    """Poppler's verifier, with the authority's certificate among those it trusts; not with another's; not of altered bytes."""
    if not (shutil.which("pdfsig") and shutil.which("certutil")):
        pytest.skip("poppler-utils or libnss3-tools is not installed")
    for name, ca, trusted in (("good", "official-ca.pem", True), ("other", "signature-ca.pem", False)):
        store = tmp_path / name
        store.mkdir()
        assert run("certutil", "-N", "-d", f"sql:{store}", "--empty-password")[0] == 0
        folder = nation.folder / "certification"
        assert run("certutil", "-A", "-d", f"sql:{store}", "-n", "ca", "-t", "CT,C,C", "-i", folder / ca)[0] == 0
        _, told = run("pdfsig", "-nssdir", store, made)
        assert "Signature is Valid." in told, told
        assert ("Certificate is Trusted." in told) is trusted, told
        assert "ETSI.CAdES.detached" in told
    altered = tmp_path / "altered.pdf"
    altered.write_bytes(made.read_bytes().replace(b"/Title", b"/Titel", 1))
    assert "Digest Mismatch" in run("pdfsig", "-nssdir", tmp_path / "good", altered)[1]


def test_it_can_be_verified_when_everybody_is_gone(nation, made):
    """PAdES B-LTA (ETSI EN 319 102-1 §5.6.3), by pyHanko's verifier: nothing is fetched; and as of a day after the certificates' end."""
    from asn1crypto import pem, x509
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.sign.validation import ades, policy_decl
    from pyhanko_certvalidator.context import CertValidationPolicySpec
    from pyhanko_certvalidator.policy_decl import CertRevTrustPolicy, RevocationCheckingPolicy
    from pyhanko_certvalidator.registry import SimpleTrustManager

    root = x509.Certificate.load(pem.unarmor(official(nation).read_bytes())[2])
    other = x509.Certificate.load(pem.unarmor(official(nation).with_name("signature-ca.pem").read_bytes())[2])
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=365 * 6)

    def verdict(trusted, judge, *more):
        revocation = CertRevTrustPolicy(RevocationCheckingPolicy.from_legacy("hard-fail"))
        rules = CertValidationPolicySpec(SimpleTrustManager.build([trusted]), revocation)
        local = policy_decl.RevocationInfoGatheringSpec(policy_decl.RevinfoOnlineFetchingRule.LOCAL_ONLY)
        spec = policy_decl.PdfSignatureValidationSpec(policy_decl.SignatureValidationSpec(rules, local))
        with made.open("rb") as file:
            seal = next(s for s in PdfFileReader(file).embedded_signatures if s.field_name == "Seal")
            return str(asyncio.run(judge(seal, spec, *more)).ades_subindic)

    assert verdict(root, ades.ades_lta_validation) == "AdESPassed.OK"
    assert verdict(root, ades.simulate_future_ades_lta_validation, later) == "AdESPassed.OK"
    assert verdict(other, ades.ades_lta_validation) != "AdESPassed.OK"


def code_of(pdf, folder):
    """What the QR code on the first page holds, read off its picture by zbar, which no one here wrote."""
    assert run("pdftoppm", "-r", "300", "-png", "-f", "1", "-l", "1", pdf, folder / "page")[0] == 0
    read = ["zbarimg", "--quiet", "--raw", next(folder.glob("page*.png"))]
    return subprocess.run(read, capture_output=True, text=True, check=True).stdout.strip()


def opened(text, jwk):
    """The claims of a signed text, by the rules of RFC 7515 and nothing of ours."""
    header, payload, signature = text.split(".")
    x, y = (int.from_bytes(unb64(jwk[c]), "big") for c in "xy")
    raw = unb64(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    key.verify(der, f"{header}.{payload}".encode(), ec.ECDSA(hashes.SHA256()))
    assert json.loads(unb64(header))["kid"] == jwk["kid"]
    return json.loads(zlib.decompress(unb64(payload), -15))


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@NEEDS_QR
def test_a_paper_copy_is_read_by_a_camera(nation, made, tmp_path):
    """The code is read off the page's picture; its signature verifies under the published key; what is printed is in it."""
    address, _, text = code_of(made, tmp_path).partition("#")
    assert address == f"{nation.url(CITY)}/verify"
    keys = nation.http(CITY, "/verify/keys", token="")[1]["keys"]
    claims = opened(text, keys[0])
    assert claims["doc"] == ["住民票の写し", "Certificate of residence"]
    assert ["生年月日", "1991年5月14日"] in claims["v"][0]


def test_each_is_noted_when_it_was_made(nation, visitor):
    city = nation.world.institutions[CITY]
    from renkei.gateway.documents import count

    before = city.database.read_now(count)
    assert visitor.takes("resident-record-copy")[0] == 200
    assert city.database.read_now(count) == before + 1


def test_it_is_there_to_be_taken_again_until_its_holder_leaves(nation):
    """Told to be done, it comes by itself once; reading the page anew makes no other one; the next visitor at the machine finds nothing."""
    from renkei.gateway.documents import count

    city, visitor = nation.world.institutions[CITY], Visitor(nation)
    with nation.reading(nation.card(), elsewhere=True) as reader:
        visitor.comes(reader)
        assert visitor.get("/documents/made.pdf")[1][:5] != b"%PDF-"
        assert "nothing is charged" in visitor.get("/documents")[1]
        status, page = visitor.form("/documents", "/documents/print/resident-record-copy")
        assert (status, visitor.at) == (200, "/documents/made")
        assert "Certificate of residence" in page
        assert 'http-equiv="refresh"' in page
        made, pdf = city.database.read_now(count), visitor.get("/documents/made.pdf")[1]
        assert pdf[:5] == b"%PDF-"
        assert visitor.get("/documents/made.pdf")[1] == pdf
        assert 'http-equiv="refresh"' not in visitor.get("/documents/made")[1]
        assert city.database.read_now(count) == made
        assert "Use my card" in Visitor(nation).get("/documents/made.pdf")[1]
        local_id = nation.local_id(CITY)
        nation.http(CITY, "/flags", {"local_id": local_id, "manual": True, "withheld": False})
        assert "come to the counter" in visitor.get("/documents/made.pdf")[1]
        nation.http(CITY, "/flags", {"local_id": local_id, "manual": False, "withheld": False})
        visitor.form("/documents/made", "/documents/leave")
        assert "Use my card" in visitor.get("/documents/made.pdf")[1]
        visitor.comes(reader)
        assert "Which certificate" in visitor.get("/documents/made.pdf")[1]


def test_nobody_gets_another_s_or_what_is_not_offered(nation, visitor):
    for code in ("income-certificate", "nothing", "..%2f"):
        assert visitor.takes(code)[0] in (404, 400)
    stranger = Visitor(nation)
    status, page = stranger.form("/documents", "/documents/print/resident-record-copy")
    assert (status, "Use my card" in page) == (403, False) or "Use my card" in page


def test_whoever_lives_elsewhere_is_told_so_and_is_not_taken_in(nation):
    """A person the city does not know: it learns nothing it keeps, and has nobody more in its table."""
    city = nation.world.institutions[CITY]
    local_id, code = nation.local_id(CITY, 1), nation.code(CITY, 1)
    forget = subjects.subjects.delete().where(subjects.subjects.c.local_id == local_id)
    nation.do(city.database.write(lambda c: c.execute(forget)))
    before = city.database.read_now(subjects.counts)
    visitor = Visitor(nation)
    with nation.reading(nation.card(1), elsewhere=True) as reader:
        status, page = visitor.comes(reader)
    assert (status, "not registered here" in page) == (200, True)
    assert visitor.takes("resident-record-copy")[0] in (200, 303, 403)
    assert "not registered here" in visitor.get("/documents")[1]
    assert city.database.read_now(subjects.counts) == before
    nation.register_anew(CITY, 1)
    until(lambda: nation.code(CITY, 1) == code)


def test_after_some_minutes_or_when_they_leave_the_next_sees_nothing(nation):
    visitor = Visitor(nation)
    with nation.reading(nation.card(), elsewhere=True) as reader:
        visitor.comes(reader)
        assert "Which certificate" in visitor.get("/documents")[1]
        visitor.form("/documents", "/documents/leave")
        assert "Use my card" in visitor.get("/documents")[1]
        visitor.comes(reader)
    city = nation.world.institutions[CITY]
    clock = city.clock
    try:
        city.clock = lambda: clock() + 301_000
        assert "Use my card" in visitor.get("/documents")[1]
        assert visitor.form("/documents", "/documents/print/resident-record-copy")[0] in (200, 403)
    finally:
        city.clock = clock


def test_a_clerk_s_session_prints_nothing_and_a_resident_s_opens_no_desk(nation, visitor):
    assert visitor.get("/desk")[0] in (401, 403)
    clerk = Resident(nation, CITY)
    assert clerk.form("/signin", token=nation.plan.place(CITY).token)[0] == 200
    assert "Use my card" in clerk.get("/documents")[1]


def named(nation, name):
    """The persona is called so in the city's register."""
    with sqlite3.connect(nation.folder / CITY / "source.db") as source:
        source.execute("update T_RESIDENT_RECORD set NAME = ? where atena_no = ?", [name, nation.local_id(CITY)])


@NEEDS_FACE
@pytest.mark.parametrize("name", ["𠮷野 髙子", "辻\U000e0102 渡邊\U000e0108", "𩸽川 﨑"])
def test_rare_characters_print_as_they_are(nation, visitor, tmp_path, name):
    """Beyond the basic plane, compatibility forms, and variants chosen by a selector (IVS)."""
    before = name_of(nation)
    named(nation, name)
    try:
        status, pdf = visitor.takes("resident-record-copy")
        assert status == 200, pdf
        path = tmp_path / "rare.pdf"
        path.write_bytes(pdf)
        if shutil.which("pdftotext"):
            run("pdftotext", path, tmp_path / "rare.txt")
            text = (tmp_path / "rare.txt").read_text("utf-8")
            assert name.split()[0][0] in text
            assert "IPAmj" in run("pdffonts", path)[1]
    finally:
        named(nation, before)


def name_of(nation):
    with sqlite3.connect(nation.folder / CITY / "source.db") as source:
        query = "select NAME from T_RESIDENT_RECORD where atena_no = ?"
        return source.execute(query, [nation.local_id(CITY)]).fetchone()[0]


def test_a_character_that_cannot_be_printed_is_named(nation, visitor):
    """Nothing is printed in its place, and nothing is noted as issued."""
    before, city = name_of(nation), nation.world.institutions[CITY]
    from renkei.gateway.documents import count

    issued = city.database.read_now(count)
    named(nation, "𱍐𪜀ꙮ 太郎")
    try:
        status, page = visitor.takes("resident-record-copy")
        assert (status, "U+A66E" in page) == (409, True)
        assert city.database.read_now(count) == issued
    finally:
        named(nation, before)


def test_without_who_dates_it_nothing_is_printed(nation, visitor):
    """The authorities are away: no half-sealed paper, nothing noted."""
    city = nation.world.institutions[CITY]
    from renkei.gateway.documents import count

    issued = city.database.read_now(count)
    nation.world.children.pop("certification").kill()
    try:
        until(lambda: not nation.authorities("/checkpoint"))
        status, page = visitor.takes("resident-record-copy")
        assert (status, "PDF" in page) == (503, True), page
        assert city.database.read_now(count) == issued
    finally:
        nation.world.spawn("certification", "certification", "run")
        until(lambda: nation.authorities("/checkpoint"))


def test_a_seal_that_was_revoked_seals_nothing(nation, visitor):
    from cryptography import x509

    city = nation.world.institutions[CITY]
    serial = x509.load_pem_x509_certificate(
        (nation.folder / CITY / "seal" / "certificate.pem").read_bytes()
    ).serial_number
    nation.certify("suspend", f"{serial:x}")
    try:
        status, page = visitor.takes("resident-record-copy")
        assert (status, "seal" in page) == (503, True), page
    finally:
        nation.certify("release", f"{serial:x}")
    assert visitor.takes("resident-record-copy")[0] == 200
    assert city.documents is not None


def test_a_face_knows_what_it_lacks():
    face = paper.Face("x", frozenset(map(ord, "ab辻")), frozenset({(ord("辻"), 0xE0100)}))
    assert face.lacks("a b") == []
    assert face.lacks("abc辻") == ["c"]
    assert face.lacks("辻\U000e0100辻\U000e0101") == ["辻\U000e0101"]
    assert paper.named("辻\U000e0101") == "辻\U000e0101 (U+8FBB U+E0101)"
    assert face.lacks("\U000e0100") == ["\U000e0100"]


def test_a_code_that_would_not_fit_is_left_out():
    """The longest address that is printed fits a code; beyond, the PDF's own seal remains."""
    from renkei.gateway.documents import QR_MOST

    segno.make("x" * QR_MOST, error="l", mode="byte", micro=False)
    assert QR_MOST < 2953


def test_the_key_never_leaves_and_a_broken_folder_is_refused(nation, tmp_path):
    from renkei.gateway.seal import Seal

    folder = nation.folder / CITY / "seal"
    assert os.stat(folder / "key.pem").st_mode & 0o077 == 0
    shutil.copytree(folder, tmp_path / "seal")
    other = nation.folder / "tax-union" / "seal" / "key.pem"
    for content in (b"", b"junk", other.read_bytes()):
        (tmp_path / "seal" / "key.pem").write_bytes(content)
        with pytest.raises(RenkeiError) as refusal:
            Seal(tmp_path / "seal", "")
        assert refusal.value.code == "seal"


def test_a_seal_certificate_shows_the_seal(nation, visitor, tmp_path):
    """The picture is on the paper; the code holds its hash. A picture that is none is a fault of the source, and nothing is printed."""
    status, pdf = visitor.takes("seal-certificate")
    assert (status, pdf[:5]) == (200, b"%PDF-"), pdf
    path = tmp_path / "seal.pdf"
    path.write_bytes(pdf)
    if shutil.which("pdfimages") and shutil.which("zbarimg"):
        assert len(run("pdfimages", "-list", path)[1].strip().splitlines()) >= 3
        claims = opened(
            code_of(path, tmp_path).partition("#")[2], nation.http(CITY, "/verify/keys", token="")[1]["keys"][0]
        )
        assert next(v for k, v in claims["v"][0] if k == "印影").startswith("SHA-256 ")
    with sqlite3.connect(nation.folder / CITY / "source.db") as source:
        who = [nation.local_id(CITY)]
        kept = source.execute("select SEAL from T_SEAL_REGISTRATION where atena_no = ?", who).fetchone()[0]
        for junk in ("<svg onload=alert(1)>", base64.b64encode(b"GIF89a").decode(), "x" * 200_000):
            source.execute("update T_SEAL_REGISTRATION set SEAL = ? where atena_no = ?", [junk, *who])
            source.commit()
            assert visitor.takes("seal-certificate")[0] == 503
        source.execute("update T_SEAL_REGISTRATION set SEAL = ? where atena_no = ?", [kept, *who])


@pytest.mark.parametrize("flags", [{"manual": True, "withheld": False}, {"manual": False, "withheld": True}])
def test_nothing_is_printed_of_whoever_is_under_protection(nation, visitor, flags):
    """A card and its PIN may be in the wrong hands: the counter looks at who is there."""
    local_id = nation.local_id(CITY)
    assert nation.http(CITY, "/flags", {"local_id": local_id, **flags})[0] < 300
    try:
        assert "come to the counter" in visitor.get("/documents")[1]
        status, page = visitor.takes("resident-record-copy")
        assert (status, "come to the counter" in page) == (200, True)
    finally:
        nation.http(CITY, "/flags", {"local_id": local_id, "manual": False, "withheld": False})
    assert visitor.takes("resident-record-copy")[1][:5] == b"%PDF-"
