"""Pages name files, modules and pages that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
NAMED = re.compile(r"`((?:\w+/)+(?:\w+(?:\.py)?)?)`|\]\((?!http)([^)#]+)")
PACKAGES = ("serve_app", "router", "classifier", "simulator", "benchmarks", "tests", "scripts")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda x: x.name
)
def test_what_a_page_names_is_there(page):
    """Names of folders are a package's; on the architecture page and of faults also serve_app's."""
    for name, link in NAMED.findall(page.read_text()):
        is_short = page.name in ("architecture.md", "faults.md") and "/" in name.rstrip("/")
        if link or name.startswith(PACKAGES) or is_short:
            found = [page.parent / link] if link else [ROOT / name, ROOT / "serve_app" / name]
            assert any(x.exists() or x.with_suffix(".py").exists() for x in found), name or link
