"""The files of the page, as text."""

import re
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.e2e

WEB = ROOT / "web"


def test_no_file_of_the_page_names_another_host() -> None:
    files = [path for path in WEB.iterdir() if path.name != "icon.svg"]  # it names its namespace
    assert len(files) > 10
    assert [path.name for path in files if "://" in path.read_text()] == []


@pytest.mark.parametrize("path", sorted(WEB.glob("*.js")), ids=lambda path: path.name)
def test_a_module_says_what_it_holds_and_stays_small(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert re.match(r"// [A-Z]", lines[0])
    assert len(lines) <= 500


def test_nothing_is_written_where_the_policy_forbids_it() -> None:
    text = (WEB / "index.html").read_text()
    assert re.findall(r"<[^>]+\s(?:style|on[a-z]+)=", text) == []
    assert re.findall(r"<script(?![^>]*src=)", text) == []
    assert "<style" not in text
