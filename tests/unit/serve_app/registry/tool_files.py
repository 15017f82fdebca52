"""Files of tool sets, and books that read them."""

from pathlib import Path

import yaml

from serve_app.registry.book import ToolBook
from serve_app.registry.store import FILE_NAME, ToolStore

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "limit": {"type": "integer"}},
    "required": ["name"],
}


def tool(name="find_person", **more) -> dict:
    return {"name": name, "description": f"What {name} does.", "parameters": SCHEMA, **more}


def write(folder: Path, name="crm", version=7, tools=None, **more) -> Path:
    """A file as an operator would put it there."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}.yaml"
    data = {"name": name, "version": version, "tools": tools or [tool()], **more}
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def book_of(folder: Path, state: Path, **options) -> ToolBook:
    """A book that takes files as they are; what an ingress replica has."""
    book = ToolBook(folder, ToolStore(state / FILE_NAME), **{"settle_s": 0.0, **options})
    book.refresh()
    return book


def offered(book: ToolBook) -> dict[str, list[int]]:
    return {name: sorted(versions) for name, versions in book.sets.versions.items()}
