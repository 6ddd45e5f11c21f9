"""A new body joins: ``renkei body new``, ``commission enrol``, ``nation admit``; a new law takes effect: ``law publish``."""

from __future__ import annotations

import secrets
import shutil
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from renkei.cli.shell import DEFAULT_NATION, Folder, Json, err, out, setup, show, t
from renkei.errors import NotGenuine
from renkei.institution.settings import Clerk, Duty, Home, Settings, system_clock
from renkei.law import Pack, PackFaults, changes

if TYPE_CHECKING:
    from renkei.messages.wire import Enrolment

body = typer.Typer(no_args_is_help=True, help="A body's own node.")
Request = Annotated[Path, typer.Argument(help="The enrolment.bin that `renkei body new` wrote.")]
Mark = Annotated[str, typer.Option(help="The mark that the body reads to you; without it you are asked to compare.")]


@body.callback()
def of_body() -> None:
    """A body's own node."""


@body.command("invite")
def invite(
    home: Annotated[Path, typer.Argument(help="Home folder of any institution of the nation.")],
    file: Annotated[Path, typer.Argument(help="File to write. Nothing in it is secret.")],
    json: Json = False,
) -> None:
    """Write down what a newcomer needs: how the record begins, the law, where the bus is."""
    from renkei.institution import joining
    from renkei.messages.wire import encode

    made = joining.invite(Home(home))
    file.write_bytes(encode(made))
    if json:
        show({"file": str(file), "record": made.mark})
    else:
        out.print(t(f"{file}. Its record begins with:", f"{file}。記録の始まりの印:"))
        out.print(f"  {made.mark}", style="bold")


@body.command("new")
def new(
    home: Annotated[Path, typer.Argument(help="New folder.")],
    code: Annotated[str, typer.Argument(help="The body's code in the pack.")],
    invitation: Annotated[Path, typer.Option(help="File that `renkei body invite` of an institution wrote.")],
    database: Annotated[
        str, typer.Option(help="Database URL of the node itself; SQLite in its folder by default.")
    ] = "",
    source: Annotated[str, typer.Option(help="Database URL of the body's own data.")] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of its web server.")] = 8080,
    clerk: Annotated[str, typer.Option(help="Name of a first clerk, who may do everything.")] = "admin",
    json: Json = False,
) -> None:
    """Make the home folder of a gateway: keys, settings, and the request to be enrolled."""
    if not invitation.is_file():
        raise setup(f"{invitation} is not a file.", f"{invitation} はファイルではありません。")
    from renkei.institution import joining

    invited = joining.read_invitation(invitation)
    known = invited.law.bodies.get(code)
    token = secrets.token_urlsafe(18)
    mapping = home / "mapping.toml"
    settings = Settings(
        body=code,
        role="gateway",
        kinds=known.kinds if known else (),
        database=database or f"sqlite:///{home.resolve()}/{code}.db",
        bus=invited.bus,
        port=port,
        source=source,
        mapping=str(mapping.resolve()),
        clerks=(Clerk(clerk, sha256(token.encode()).hexdigest(), get_args(Duty)),),
    )
    enrolment = joining.new_home(home, settings, invited)
    mapping.touch()
    mark = joining.fingerprint(enrolment)
    if json:
        show(
            {
                "home": str(home),
                "request": str(home / joining.REQUEST),
                "fingerprint": mark,
                "clerk": clerk,
                "token": token,
            }
        )
        return
    out.print(
        t(
            f"{home} is made. {clerk}'s token, shown only now:",
            f"{home} を作りました。{clerk} のトークン（表示は一度だけ）:",
        )
    )
    out.print(f"  {token}")
    request = home / joining.REQUEST
    out.print(
        t(
            f"Send {request} to the commission, and read it this mark:",
            f"{request} を委員会に送り、次の印を読み合わせてください:",
        )
    )
    out.print(f"  {mark}", style="bold")
    out.print(
        t(
            "`renkei source propose` writes a first mapping.",
            "`renkei source propose` で対応付けの下書きを作れます。",
        )
    )


@body.command("host")
def host(folder: Annotated[Path, typer.Argument(help="Folder with the home folders of gateways.")]) -> None:
    """Run many small bodies in one process; homes may come and go while it runs."""
    import uvloop

    from renkei.nation.hosting import host as run_all

    if not folder.is_dir():
        raise setup(f"{folder} is not a folder.", f"{folder} はフォルダーではありません。")
    uvloop.run(run_all(folder))


@body.command("move")
def move(
    home: Annotated[Path, typer.Argument(help="Home folder of a body, hosted or not.")],
    to: Annotated[Path, typer.Argument(help="New folder.")],
    json: Json = False,
) -> None:
    """Move a body to a folder of its own: its host lets go of it, the others work on. Start it there with `renkei run`."""
    from renkei.nation.hosting import MOVED
    from renkei.nation.hosting import move as move_to

    move_to(home, to, (lambda _: None) if json else err.print)
    left = home.with_name(home.name + MOVED)
    if json:
        show({"home": str(to), "left": str(left)})
    else:
        out.print(
            t(
                f"Start it with `renkei run {to}`. {left} holds its keys: remove it then.",
                f"`renkei run {to}` で起動し、秘密鍵の残る {left} は後で消してください。",
            )
        )


def enrol(
    request: Request,
    home: Annotated[Path, typer.Option(help="Home folder of the commission.")],
    mark: Mark = "",
    json: Json = False,
) -> None:
    """Enrol a new body, whose mark is what the body reads to you: the running commission makes it an act, which stays."""
    from renkei.institution import joining

    settings = Home(home).settings()
    if settings.role != "commission":
        raise setup(f"{home} is not the commission's.", f"{home} は委員会のフォルダーではありません。", code="role")
    _, enrolment = joining.read_request(request)
    _demand_mark(enrolment, mark, json)
    (home / "enrolments").mkdir(exist_ok=True)
    shutil.copyfile(request, home / "enrolments" / f"{enrolment.body}.bin")
    if json:
        known = joining.fingerprint(enrolment)
        show({"body": enrolment.body, "role": enrolment.role, "kinds": enrolment.kinds, "fingerprint": known})
    else:
        out.print(t(f"{enrolment.body} is being enrolled.", f"{enrolment.body} の登録を記録に載せます。"))


def _demand_mark(enrolment: Enrolment, mark: str, json: bool) -> None:
    """Refuse a request that is not the one whose mark was read to the operator: nothing else keeps a stranger's keys out."""
    from renkei.institution import joining

    made = joining.fingerprint(enrolment)
    if not mark and not json and sys.stdin.isatty():
        out.print(f"{enrolment.body}: {enrolment.role}, {', '.join(enrolment.kinds)}")
        out.print(f"  {made}", style="bold", soft_wrap=True)
        mark = made if typer.confirm(t("Is this what the body reads to you?", "機関が読む印と同じですか。")) else ""
    if "".join(mark.split()).lower() != made.replace(" ", ""):
        raise NotGenuine(
            "This is not the mark of the request.",
            ja="申請の印と違います。",
            code="mark",
            remedy="Have the body read the mark that `renkei body new` printed, and give it with --mark.",
            remedy_ja="`renkei body new` が表示した印を機関に読んでもらい、--mark で指定してください。",
        )


def admit(request: Request, nation: Folder = DEFAULT_NATION, mark: Mark = "", json: Json = False) -> None:
    """Let a new body use the nation's message bus: its name, its key, a mailbox. The bus goes on meanwhile."""
    import asyncio

    from renkei.institution import joining
    from renkei.nation.plan import Plan
    from renkei.nation.world import admit as admit_to

    _, enrolment = joining.read_request(request)
    plan = Plan.read(nation)
    _demand_mark(enrolment, mark, json)
    asyncio.run(admit_to(nation, plan, enrolment.body, enrolment.bus))
    if json:
        show({"body": enrolment.body, "bus": plan.bus})
    else:
        out.print(
            t(f"{enrolment.body} may use the bus at {plan.bus}.", f"{enrolment.body} はバス {plan.bus} を使えます。")
        )


def publish(
    pack: Annotated[Path, typer.Argument(help="Folder of the pack that is to take effect.")],
    home: Annotated[list[Path], typer.Option(help="Home folders of hub and commission; each by its own operator.")],
    json: Json = False,
) -> None:
    """Put a new version of the law into effect: the commission's operator first (by which it agrees), then the hub's."""
    from renkei.institution.joining import keep_hints
    from renkei.institution.keeper import announce_law, keep_pack, library, newest_law
    from renkei.record.state import CONVERTERS

    law = Pack.load(pack)
    for folder in home:
        settings = Home(folder).settings()
        if settings.role not in CONVERTERS:
            raise setup(f"{folder} is no keeper's.", f"{folder} はハブでも委員会でもありません。", code="role")
        now = newest_law(Home(folder))
        if any(p.header.version == law.header.version and p.hash != law.hash for p in library(Home(folder))):
            raise setup(
                f"Version {law.header.version} is another pack.",
                f"版 {law.header.version} は別の内容です。",
                code="version",
            )
        before = changes.Surface.of(now)
        if faults := changes.faults(before, law, law.day(system_clock())):
            raise PackFaults(faults)
    for folder in sorted(home, key=lambda f: Home(f).settings().role):  # the commission's first
        keep_pack(Home(folder), law)
        keep_hints(Home(folder), pack)
        if Home(folder).settings().role == "hub":
            announce_law(Home(folder), law)
    if json:
        show({"pack": law.reference, "hash": law.hash.hex()})
    else:
        out.print(
            t(
                f"{law.reference} takes effect once both keepers have it.",
                f"{law.reference} は両方の保管者に入ると施行されます。",
            )
        )
