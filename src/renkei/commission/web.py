"""What every page of the commission has: rendering, who may come in, and the step-up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from litestar import Request, Response
from litestar.enums import RequestEncodingType
from litestar.params import Body

from renkei.commission.casework import Signed

if TYPE_CHECKING:
    from renkei.commission.service import Commission

Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
Ask = Request[Any, Any, Any]
SHOWN = 200
"""Lines of a list on a page."""


class Web(NamedTuple):
    """What the pages are made with."""

    here: Commission
    render: Callable[..., Response[bytes]]
    """``render(request, template, status=, **values)``."""
    inside: list[Any]
    """Guards: officers only."""
    stepped_up: Callable[[Ask, dict[str, str]], Awaitable[Signed]]
    """The signed-in officer with the key that the form's passphrase opens."""
    tried: Callable[..., Awaitable[Response[Any]]]
    """``tried(request, act, then, again)``: the outcome of a form."""
