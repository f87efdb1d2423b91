"""What `make release` refuses before it builds: each check of a checkout, with a fault put in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from release import checkout, golden
from tests.test_release import entry, pretended

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="needs git")

PAGE = "def page():\n    return 'the page'\n"
CHANGELOG = """# Changelog

## [0.1.0] - 2026-12-01

### Added

- Everything.

### Format

- Version 1.
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a checkout of a version that can be released."""
    root = tmp_path / "root"
    for name in ("ptrarray", "docs/tools", "tests/golden/v1"):
        (root / name).mkdir(parents=True)
    (root / "ptrarray/__init__.py").write_text('__version__ = "0.1.0"\n')
    (root / "docs/tools/cli_page.py").write_text(PAGE)
    (root / "docs/cli.md").write_text("the page")
    (root / "CHANGELOG.md").write_text(CHANGELOG)
    (root / "tests/golden/v1/data.bin").write_bytes(b"rows")
    pretended(root / "tests", first(root))
    checkout.git(root, "init", "--quiet")
    commit(root)
    return root


def first(root: Path) -> str:
    return entry("0.1.0", 1, "golden/v1", golden.digest([root / "tests/golden/v1"]))


def commit(root: Path) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    checkout.git(root, "add", "--all")
    checkout.git(root, *who, "commit", "--quiet", "--allow-empty", "--message", "All")


def write(name: str, content: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(content)


def change_log(old: str, new: str) -> Callable[[Path], object]:
    return write("CHANGELOG.md", CHANGELOG.replace(old, new))


def test_a_checkout_as_it_should_be_has_no_faults(root: Path) -> None:
    assert checkout.faults(root) == []


def test_what_is_not_committed_is_noticed(root: Path) -> None:
    (root / "new.py").touch()
    (root / "docs" / "cli.md").write_text("the page")
    (root / "ptrarray" / "__init__.py").write_text('__version__ = "0.1.0"  # of mine\n')
    (root / "CHANGELOG.md").unlink()
    assert sorted(checkout.uncommitted(root)) == [
        "not committed: CHANGELOG.md",
        "not committed: new.py",
        "not committed: ptrarray/__init__.py",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (write("ptrarray/__init__.py", '__version__ = "0.2.0"\n'), "the package is 0.2.0"),
        (write("ptrarray/__init__.py", '__version__ = "0.1.0rc1"\n'), "is not a version of three"),
        (write("ptrarray/__init__.py", ""), "'' is not a version"),
        (write("CHANGELOG.md", "# Changelog\n"), "begins with nothing"),
        (change_log("2026-12-01", "unreleased"), "has no date in CHANGELOG.md"),
        (change_log("2026-12-01", "2026-12-32"), "but '2026-12-32'"),
        (change_log("2026-12-01", "December"), "but 'December'"),
        (change_log("### Added", "## [0.0.9] - unreleased\n\n### Added"), "0.0.9 has no date"),
        (change_log("### Added", "## [0.3.0] - 2026-01-01\n\n### Added"), "versions do not fall"),
        (write("docs/cli.md", "another"), "docs/cli.md is stale"),
        (write("tests/golden/v1/data.bin", "sowr"), "golden files of 0.1.0 are not as"),
        (lambda root: shutil.rmtree(root / "tests/golden/v1"), "of 0.1.0 are missing: v1"),
        (lambda root: checkout.git(root, "tag", "v0.1.0"), "there is a tag v0.1.0 already"),
    ],
)
def test_a_fault_of_a_checkout_is_noticed(
    root: Path, change: Callable[[Path], object], said: str
) -> None:
    change(root)
    commit(root)
    found = checkout.faults(root)
    assert any(said in one for one in found), found


def test_a_version_without_a_date_can_be_tried(root: Path) -> None:
    change_log("2026-12-01", "unreleased")(root)
    commit(root)
    assert len(checkout.faults(root)) == 1
    assert checkout.faults(root, undated=True) == []


def test_golden_files_of_a_release_stay_as_they_were(root: Path) -> None:
    """Also where the list was made to fit."""
    checkout.git(root, "tag", "v0.1.0")
    (root / "tests/golden/v1/data.bin").write_bytes(b"other")
    pretended(root / "tests", first(root))
    commit(root)
    assert checkout.faults(root)[1:] == [
        "tests/golden/v1/data.bin is not as 0.1.0 wrote it",
    ]


# The next version cannot forget its golden files ---------------------------------------------------

NEXT = "## [0.2.0] - 2027-01-01\n\n### Added\n\n- More.\n\n"
NEXT_OF_FORMAT = NEXT + "### Format\n\n- A key.\n\n"


def next_version(root: Path, *entries: str, log: str = NEXT) -> list[str]:
    """Return what is wrong with the golden files of a next version."""
    pretended(root / "tests", first(root), *entries)
    versions = checkout.listed(CHANGELOG.replace("## [0.1.0]", f"{log}## [0.1.0]"))
    assert [one.version for one in versions] == ["0.2.0", "0.1.0"]
    return golden.faults(root / "tests", versions)


def test_a_version_that_the_list_does_not_name_is_noticed(root: Path) -> None:
    assert next_version(root) == ["golden/releases.toml does not say which files 0.2.0 wrote"]
    assert next_version(root, entry("0.2.0")) == []


def test_a_change_of_the_format_without_golden_files_is_noticed(root: Path) -> None:
    (found,) = next_version(root, entry("0.2.0"), log=NEXT_OF_FORMAT)
    assert "0.2.0 changes the format" in found
    (root / "tests/golden/v1-0.2.0").mkdir()
    (found,) = next_version(root, entry("0.2.0", 1, "golden/v1-0.2.0"), log=NEXT_OF_FORMAT)
    digest = found.rpartition(" ")[2]
    right = entry("0.2.0", 1, "golden/v1-0.2.0", digest)
    assert next_version(root, right, log=NEXT_OF_FORMAT) == []
    (found,) = next_version(root, right)
    assert "has no heading 'Format'" in found


def test_a_list_that_does_not_fit_is_noticed(root: Path) -> None:
    (found,) = next_version(root, entry("0.2.0", 2))
    assert found == "golden/releases.toml ends with format 2, the code writes 1"
    (found,) = next_version(root, entry("0.2.0"), entry("0.9.0"))
    assert found == "golden/releases.toml names 0.9.0, the changelog does not"
