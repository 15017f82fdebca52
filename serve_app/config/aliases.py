"""`aliases:` of the fleet file: names that clients ask for, and what serves them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from pydantic import model_validator

from router.routing.aliases import AUTO, MAX_NAME_CHARS, is_pattern
from serve_app.config.errors import StrictModel, nearest

MAX_ALIASES = 1000


class AliasConfig(StrictModel):
    """What one name, or pattern of names, leads to. A bare string in the file is `to`.

    Attributes:
        to: an enabled lane's name, or `auto`.
        list: whether `/v1/models` shows it; of a pattern it cannot.

    """

    to: str
    list: bool = False

    @model_validator(mode="before")
    @classmethod
    def _may_be_a_name(cls, data: Any) -> Any:
        return {"to": data} if isinstance(data, str) else data


def alias_fault(
    name: str, alias: AliasConfig, own: Collection[str], lanes: Iterable[str]
) -> str | None:
    """Return what is wrong with an alias, if anything.

    Args:
        name: the alias, or a pattern.
        alias: what it leads to.
        own: names and model ids of all lanes, in lower case.
        lanes: names of those that run.

    """
    if not name.strip() or name != name.strip() or len(name) > MAX_NAME_CHARS:
        return f"a name has 1 to {MAX_NAME_CHARS} characters, and no spaces around it"
    if name.casefold() == AUTO or name.casefold() in own:
        return "is a lane's name or model id, or auto: an alias must be another name"
    known = [AUTO, *lanes]
    if alias.to not in known:
        return f"'{alias.to}' is neither auto nor an enabled lane{nearest(alias.to, known)}"
    if alias.list and is_pattern(name):
        return "a pattern cannot be listed: list the names that it should show"
    return None
