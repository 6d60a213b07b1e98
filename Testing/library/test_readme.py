"""What the Extensions Index and new users look for in the README."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_BYTES = 300_000


def test_two_sentences_say_what_it_is():
    first = README.split("\n\n")[1]
    assert "cerebral microbleeds" in first
    assert "3D Slicer" in first
    assert all(contrast in first for contrast in ("SWI", "T2*", "QSM"))


@pytest.mark.parametrize("name", ["CMMDetect", "CMMDetectTrain"])
def test_each_module_has_its_sentence(name):
    assert f"* **{name}** " in README


@pytest.mark.parametrize(
    "said",
    [
        "not a medical device",
        "nothing is ever sent anywhere",
        "License: Apache-2.0",
        "Please cite",
        "Sample Data",
        "## Troubleshooting",
        "## Offline installation",
        "### Tutorial",
        "`cmmdetect simulate",
        "asks before it does",
    ],
)
def test_what_a_listed_extension_must_say(said):
    assert said in README


def test_the_tutorial_has_five_steps():
    tutorial = README[README.index("### Tutorial") : README.index("### The modules")]
    assert re.findall(r"^(\d)\. ", tutorial, re.MULTILINE) == ["1", "2", "3", "4", "5"]


def test_pictures_exist_and_are_small():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(pictures) >= 4
    for picture in pictures:
        assert (ROOT / picture).stat().st_size <= MOST_BYTES


def test_the_two_commands_are_there_once():
    assert (
        len(re.findall(r"^python3 -m venv .* cmmdetect demo$|^python3 -m venv .*/cmmdetect demo$", README, re.M)) == 1
    )
    assert README.count("<!-- test command -->") == 1


def test_every_error_that_is_explained_is_one_that_the_code_gives():
    code = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("CMMDetect*/CMMDetect*Lib/**/*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    table = README[README.index("| message |") : README.index("## Offline")]
    messages = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(messages) >= 5
    for message in messages:
        part = re.split(r"\.\.\.|'cuda'", message)
        assert all(piece.strip() in re.sub(r"\{[^}]*\}", "model.json", code) for piece in part if piece.strip()), (
            message
        )
