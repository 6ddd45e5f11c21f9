"""Clerks from a real LDAP server (OpenLDAP's slapd): names, passwords, groups; and whoever tries what is not theirs."""

import asyncio
import datetime as dt
import os
import shutil
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec.structs import replace

from renkei.errors import RenkeiError
from renkei.institution.ldap import FAILURES_MOST, FORGOTTEN_AFTER, Ldap
from renkei.institution.settings import Home, LdapSettings, system_clock
from tests.console import Browser
from tests.world import Running, free_port, until

SLAPD = shutil.which("slapd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = pytest.mark.skipif(SLAPD is None, reason="slapd is not installed")
BASE = "dc=ohashi,dc=example"
CONFIG = """include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
pidfile {folder}/slapd.pid
security tls=1
database mdb
suffix "{base}"
directory {folder}/data
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
"""
PEOPLE = """dn: {base}
objectClass: dcObject
objectClass: organization
o: Ohashi
dc: ohashi

dn: ou=people,{base}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{base}
objectClass: organizationalUnit
ou: groups

dn: uid=Sato,ou=people,{base}
objectClass: inetOrgPerson
uid: Sato
cn: 佐藤
sn: 佐藤
userPassword: correct-horse

dn: uid=tanaka,ou=people,{base}
objectClass: inetOrgPerson
uid: tanaka
cn: Tanaka
sn: Tanaka
userPassword: battery-staple

dn: cn=counter,ou=groups,{base}
objectClass: groupOfNames
cn: counter
member: uid=Sato,ou=people,{base}

dn: cn=cleaners,ou=groups,{base}
objectClass: groupOfNames
cn: cleaners
member: uid=tanaka,ou=people,{base}
"""


def certificate(name, issuer=None):
    """A certificate for this machine by ``issuer`` (certificate, key), or by itself; and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )
    return made, key


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A running slapd; its settings for us, and the certificate of somebody else's authority."""
    folder = tmp_path_factory.mktemp("ldap")
    ca, other = certificate("CA"), certificate("Other CA")
    own, key = certificate("localhost", ca)
    (folder / "ca.pem").write_bytes(ca[0].public_bytes(serialization.Encoding.PEM))
    (folder / "other.pem").write_bytes(other[0].public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(own.public_bytes(serialization.Encoding.PEM))
    plain = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    (folder / "server.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    (folder / "data").mkdir()
    (folder / "slapd.conf").write_text(CONFIG.format(folder=folder, base=BASE), "utf-8")
    (folder / "people.ldif").write_text(PEOPLE.format(base=BASE), "utf-8")
    subprocess.run(
        [SLAPD, "-T", "add", "-f", folder / "slapd.conf", "-l", folder / "people.ldif"], check=True, capture_output=True
    )
    tls, start = free_port(), free_port()
    listening = f"ldaps://localhost:{tls} ldap://localhost:{start}"
    process = subprocess.Popen(
        [SLAPD, "-d", "0", "-f", folder / "slapd.conf", "-h", listening],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    settings = LdapSettings(
        url=f"ldaps://localhost:{tls}",
        user=f"uid={{name}},ou=people,{BASE}",
        base=BASE,
        groups={"counter": ("ask",)},
        ca=str(folder / "ca.pem"),
    )
    until((folder / "slapd.pid").exists)
    time.sleep(0.2)
    yield settings, start, folder
    process.terminate()
    process.wait(10)


async def refused(ldap, name, password):
    with pytest.raises(RenkeiError) as raised:
        await ldap.sign_in(name, password)
    assert password == "" or password not in str(raised.value.problem("en"))
    return raised.value.code


@pytest.mark.parametrize("start_tls", [False, True])
async def test_name_and_password_are_tried_there_and_groups_give_duties(server, start_tls):
    settings, start, _ = server
    if start_tls:
        settings = replace(settings, url=f"ldap://localhost:{start}")
    ldap = Ldap(settings, system_clock)
    clerk = await ldap.sign_in("sato", "correct-horse")
    assert (clerk.name, clerk.duties) == ("Sato", ("ask",)), "the name is the directory's, however it was typed"
    assert await refused(ldap, "tanaka", "battery-staple") == "no-duties"
    assert await refused(ldap, "sato", "battery-staple") == "sign-in"
    assert await refused(ldap, "nobody", "correct-horse") == "sign-in"
    by_dn = replace(settings, groups={f"cn=cleaners,ou=groups,{BASE}": ("protect",)})
    assert (await Ldap(by_dn, system_clock).sign_in("tanaka", "battery-staple")).duties == ("protect",)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("sato", ""),
        ("", "x"),
        ("*", "correct-horse"),
        ("sato)(uid=*", "correct-horse"),
        ("sato,ou=people", "correct-horse"),
        ("x,dc=ohashi,dc=example+uid=sato", "correct-horse"),
        ("sato\0", "correct-horse"),
        ("s" * 65, "correct-horse"),
        ("sato", "x" * 257),
    ],
)
async def test_nobody_comes_in_by_an_empty_password_or_a_name_that_is_a_query(server, name, password):
    assert await refused(Ldap(server[0], system_clock), name, password) == "sign-in"


async def test_no_password_goes_to_a_server_that_is_another_or_without_tls(server):
    settings, _, folder = server
    assert (
        await refused(Ldap(replace(settings, ca=str(folder / "other.pem")), system_clock), "sato", "correct-horse")
        == "directory"
    )
    by_ip = settings.url.replace("localhost", "127.0.0.1")  # its certificate names localhost
    assert await refused(Ldap(replace(settings, url=by_ip), system_clock), "sato", "correct-horse") == "directory"
    assert (
        await refused(Ldap(replace(settings, url=f"ldap://localhost:{free_port()}"), system_clock), "sato", "x")
        == "directory"
    )


async def test_who_guesses_is_stopped_for_a_while_and_nobody_else_is(server):
    now = [1_000_000]
    ldap = Ldap(server[0], lambda: now[0])
    for _ in range(FAILURES_MOST):
        assert await refused(ldap, "SATO", "guess") == "sign-in"
    assert await refused(ldap, "sato", "correct-horse") == "too-many"
    assert await refused(ldap, "tanaka", "battery-staple") == "no-duties"
    now[0] += FORGOTTEN_AFTER
    assert (await ldap.sign_in("sato", "correct-horse")).name == "Sato"


async def test_who_guesses_many_at_once_has_no_more_guesses(server):
    """And none more by another spelling that the directory takes for the same name."""
    ldap = Ldap(server[0], system_clock)
    names = ["sato", "SATO", "ｓａｔｏ", " sato", "sa\u200bto"[:2] + "to"] * 8
    answers = await asyncio.gather(*(refused(ldap, name, f"guess-{n}") for n, name in enumerate(names)))
    assert answers.count("sign-in") == FAILURES_MOST
    assert set(answers) == {"sign-in", "too-many"}


@pytest.fixture(scope="module")
def world(server, tmp_path_factory):
    def prepare(plan):
        home = Home(folder / "ohashi-city")
        settings = home.settings()
        import msgspec

        home.write_toml("settings.toml", msgspec.to_builtins(replace(settings, ldap=server[0])))

    folder = tmp_path_factory.mktemp("clerks") / "nation"
    running = Running(folder, residents=60, prepare=prepare)
    yield running
    running.stop()


def test_a_clerk_signs_in_at_the_desk_and_may_what_their_group_may(world):
    browser = Browser(world.url("ohashi-city"))
    status, page = browser.form("/signin", name="sato", password="wrong-one")
    assert status == 403
    assert "wrong-one" not in page
    status, page = browser.form("/signin", name="sato", password="correct-horse")
    assert (status, browser.at) == (200, "/desk")
    assert "Sato" in page
    assert browser.form("/desk/held", "/desk/held/" + "0" * 64, act="release")[0] == 403  # not among the group's duties
    assert browser.get("/desk/new")[0] == 200
