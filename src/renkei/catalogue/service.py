"""The catalogue's life: follow the record, take what bodies offer, show it to everybody."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from renkei.catalogue import store
from renkei.catalogue.corporations import register_of
from renkei.catalogue.pages import catalogue_pages
from renkei.catalogue.publication import Publication
from renkei.catalogue.registry import Registry
from renkei.institution.member import Member
from renkei.institution.post import Parcel, Post
from renkei.institution.runtime import Institution
from renkei.institution.settings import Clock, system_clock
from renkei.institution.web import Health, serve
from renkei.messages.wire import Offer, Offers

MESSAGES_AT_ONCE = 64


class Catalogue(Institution):
    """The catalogue. It holds no code and no key to any, and nothing about persons."""

    packages = ("institution", "catalogue")

    def __init__(self, folder: Path, *, clock: Clock = system_clock) -> None:
        super().__init__(folder, clock=clock)
        self.member = Member(self.home, self.keys, self.database, self.observe, clock)
        self.post = Post(self.keys, self.bus, self.database, self.member.directory, self.observe)
        self.member.post = self.post
        self.post.unknown_sender = self.member.want
        self.registry = Registry(lambda: self.member.state, self.database, clock)
        self.corporations = register_of(self.home.folder)
        self.publication = Publication(self.home / "open", self.database, lambda: self.member.pack, clock)

    async def start(self) -> None:
        await self.join()
        await self.post.start()
        self.keep(self.member.follow_always, "follow")
        self.keep(lambda: self.post.consume(self._handle, MESSAGES_AT_ONCE), "worker")
        handlers, options = catalogue_pages(self)
        self.run(serve(self.settings, self.observe, handlers, self.health, **options), "web")

    async def stop(self) -> None:
        await self.post.close()
        await super().stop()
        self.publication.close()

    def report(self) -> Health:
        trouble = self.member.clock_trouble()
        offers = self.database.read_now(lambda c: c.scalar(sa.select(sa.func.count()).select_from(store.offers)))
        details = {"offers": str(offers or 0), "law": self.member.pack.reference}
        return Health(not trouble, {**details, **trouble})

    async def _handle(self, parcels: list[Parcel]) -> None:
        """The newest word of each gateway about itself, of items the law lets it answer."""
        said: dict[str, list[Offer]] = {}
        for parcel in parcels:
            for message in parcel.messages:
                enrolled = self.member.state.bodies.get(parcel.sender)
                if isinstance(message, Offers) and enrolled is not None and enrolled.role == "gateway":
                    believed = (self.registry.believed(parcel.sender, o) for o in message.offers)
                    known = {o.item: o for o in believed if o is not None}
                    said[parcel.sender] = list(known.values())
                    if len(known) < len(message.offers):
                        self.observe.count("offers_refused")
                else:
                    self.observe.count("messages_unexpected")
        now = self.clock()

        def commit(connection: sa.Connection) -> None:
            for body, offers in said.items():
                store.put_offers(connection, body, offers, now)
            self.post.committed(connection, parcels)

        await self.database.write(commit)
        self.registry.changed()
