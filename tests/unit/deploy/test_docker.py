"""deploy/docker: what a build takes in, and as whom it runs."""

import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from serve_app.config.settings import load_tenants

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy" / "docker"
TARGETS = ("cpu", "cuda")

Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    """Each instruction and its arguments, in one line each."""
    text = (FOLDER / "Dockerfile").read_text()
    lines = [x for x in text.splitlines() if x.strip() and not x.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [(x.split(maxsplit=1)[0], x.split(maxsplit=1)[1]) for x in whole.splitlines()]


def stages() -> dict[str, list[Instruction]]:
    found: dict[str, list[Instruction]] = {}
    for name, arguments in instructions():
        if name == "FROM":
            stage = arguments.split(" AS ")[1]
            found[stage] = []
        elif found:
            found[stage].append((name, arguments))
    return found


def base_of(stage: str) -> str:
    (base,) = [
        x.split(" AS ")[0]
        for name, x in instructions()
        if name == "FROM" and x.endswith(f" AS {stage}")
    ]
    return base


def context() -> set[str]:
    """The repository's files that a build gets: the last pattern that matches decides."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    text = (FOLDER / "Dockerfile.dockerignore").read_text()
    patterns = [x for x in text.splitlines() if x and not x.startswith("#")]

    def is_in(name: str) -> bool:
        taken = True
        for pattern in patterns:
            bare = pattern.lstrip("!")
            if fnmatch(name, bare) or name.startswith(f"{bare}/") or fnmatch(f"/{name}", bare):
                taken = pattern.startswith("!")
        return taken

    return {name for name in done.stdout.splitlines() if (ROOT / name).exists() and is_in(name)}


@pytest.mark.parametrize("target", TARGETS)
def test_it_runs_as_a_user_without_rights_and_says_how_it_is(target):
    told = dict(stages()[target])
    assert told["USER"] == "1000:1000"
    assert "/health" in told["HEALTHCHECK"]
    assert told["CMD"] == '["pointsman", "serve"]'
    # `pointsman serve` interrupts what it has started, which lets streams end.
    assert told["STOPSIGNAL"] == "SIGINT"


def test_every_stage_stands_on_a_named_release_or_another_stage():
    (base,) = [x.removeprefix("BASE=") for name, x in instructions() if name == "ARG"]
    assert re.fullmatch(r"[a-z./-]+:\d+\.\d+\.\d+-[a-z-]+(@sha256:[0-9a-f]{64})?", base)
    for stage in stages():
        assert base_of(stage) == "${BASE}" or base_of(stage) in stages()


def test_what_is_installed_has_a_hash_or_is_the_wheel():
    for name, arguments in instructions():
        for command in arguments.split("&&") if name == "RUN" else ():
            if "pip install" in command and "setuptools==" not in command:
                assert "--require-hashes" in command or "/wheels/pointsman-" in command
                assert "--no-deps" in command


def test_no_secret_is_asked_for():
    text = (FOLDER / "Dockerfile").read_text()
    assert not re.search(r"^\s*(ARG|ENV)\b.*(TOKEN|SECRET|KEY|PASSWORD)", text, re.MULTILINE)


def test_what_is_copied_is_in_the_context():
    files = context()
    for name, arguments in instructions():
        if name != "COPY":
            continue
        *sources, _ = [x for x in arguments.split() if not x.startswith("--")]
        for source in sources:
            assert source == "." or source in files, source


def test_the_context_is_the_product_and_nothing_else():
    tops = {name.split("/")[0] for name in context()}
    assert tops == {
        *("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "requirements"),
        *("serve_config.yaml", "configs", "deploy", "scripts"),
        *("serve_app", "router", "classifier", "simulator"),
    }
    assert {"scripts/environment", "scripts/bin/ray"} <= context()


def test_its_configuration_is_the_shipped_one_for_all_addresses(deploys):
    ours = yaml.safe_load((FOLDER / "serve_config.yaml").read_text())
    shipped = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    deploys(ours)
    args = ours["applications"][0]["args"]
    assert args.pop("listen") == ours["http_options"].pop("host") == "0.0.0.0"
    del shipped["applications"][0]["args"]["listen"], shipped["http_options"]["host"]
    assert ours == shipped


def test_nobody_comes_in_without_a_key():
    assert load_tenants(FOLDER / "tenants.yaml").local_tenant is None
