"""Whose review it is: no decision is lost, and none becomes another reader's without their word."""

import pytest
import qt
import slicer
from detect_steps import accept, add_scan, place_point, take_run, type_reader

import slicer_host
from CMMDetectLib.errors import OutputError
from CMMDetectLib.review_file import read_review
from CMMDetectLib.scene_volume import scan_of
from CMMDetectWidgets.review_keeper import showDetection


def names(folder):
    return sorted(path.name for path in folder.glob("*.json"))


def come_back(panel, small_scan, tmp_path, reader):
    """Load the scan another day, as a reader whose name is remembered."""
    slicer.mrmlScene.Clear(0)
    type_reader(panel, reader)
    volume = add_scan(small_scan, "sub-01_swi")
    panel.enter()
    panel.ui.resultsFolderPathLineEdit.currentPath = str(tmp_path / "results")
    return volume


def accepted(panel):
    return {item.id for item in panel.keeper.session.accepted}


def take_the_nameless(panel, decided, tmp_path):
    """Make decisions without a name those of Ada, as the panel says."""
    type_reader(panel, "")
    assert accepted(panel) == set(decided)
    type_reader(panel, "Ada")
    assert accepted(panel) == set(decided) and panel.keeper.session.reader == "Ada"
    assert names(tmp_path / "results") == ["sub-01_swi_reader-Ada_review.json"]


def test_decisions_without_a_name_are_told_to_a_reader_who_can_make_them_theirs(reviewed, small_scan, tmp_path):
    decided = accept(reviewed, 2)
    come_back(reviewed, small_scan, tmp_path, "Ada")
    assert reviewed.keeper.session is None
    assert "clear the name to open it" in reviewed.ui.messageLabel.text
    take_the_nameless(reviewed, decided, tmp_path)
    come_back(reviewed, small_scan, tmp_path, "Ben")
    assert reviewed.keeper.session is None and reviewed.ui.messageLabel.text == ""
    come_back(reviewed, small_scan, tmp_path, "Ada")
    assert accepted(reviewed) == set(decided)


def test_a_reader_whose_decisions_those_are_not_starts_anew_and_they_stay(reviewed, small_scan, found_files, tmp_path):
    decided = accept(reviewed, 2)
    volume = come_back(reviewed, small_scan, tmp_path, "Ben")
    take_run(reviewed, volume, found_files)
    assert reviewed.keeper.session.reader == "Ben" and accepted(reviewed) == set()
    kept = read_review(tmp_path / "results" / "sub-01_swi_review.json")
    assert {item.id for item in kept.accepted} == set(decided) and kept.reader == ""


@pytest.fixture
def first_folder(tmp_path):
    """A folder where the scan was searched, by a reader who decided nothing there."""
    (tmp_path / "first").mkdir()
    return str(tmp_path / "first")


def come_back_after_a_search_elsewhere(panel, small_scan, files, folder, tmp_path):
    """Load the scan another day, search it into another folder, and choose the folder of the review."""
    volume = add_scan(small_scan, "sub-01_swi")
    panel.enter()
    panel.ui.resultsFolderPathLineEdit.currentPath = folder
    take_run(panel, volume, files)
    panel.ui.resultsFolderPathLineEdit.currentPath = str(tmp_path / "results")


def test_decisions_in_the_chosen_folder_count_more_than_a_newer_list_from_another_one(
    reviewed, small_scan, found_files, first_folder, tmp_path
):
    type_reader(reviewed, "Ada")
    decided = accept(reviewed, 2)
    slicer.mrmlScene.Clear(0)
    come_back_after_a_search_elsewhere(reviewed, small_scan, found_files, first_folder, tmp_path)
    assert accepted(reviewed) == set(decided) and reviewed.ui.messageLabel.text == ""
    assert not list((tmp_path / "results").glob("*older*"))


def test_a_reader_with_a_list_of_their_own_can_still_take_decisions_without_a_name(
    reviewed, small_scan, found_files, first_folder, tmp_path
):
    decided = accept(reviewed, 2)
    slicer.mrmlScene.Clear(0)
    type_reader(reviewed, "Ada")
    come_back_after_a_search_elsewhere(reviewed, small_scan, found_files, first_folder, tmp_path)
    assert accepted(reviewed) == set()
    assert "clear the name to open it" in reviewed.ui.messageLabel.text
    take_the_nameless(reviewed, decided, tmp_path)


def test_what_a_run_without_a_name_has_found_is_there_for_every_reader(reviewed, small_scan, tmp_path):
    found = [item.id for item in reviewed.keeper.session.candidates]
    for reader in ("Ada", "Ben"):
        come_back(reviewed, small_scan, tmp_path, reader)
        assert reviewed.keeper.session.reader == reader == reviewed.ui.readerLineEdit.text
        assert [item.id for item in reviewed.keeper.session.candidates] == found and accepted(reviewed) == set()
        accept(reviewed, 1)


def test_a_review_of_another_scan_without_a_name_is_not_offered(reviewed, small_scan, found_files, tmp_path):
    accept(reviewed, 2)
    slicer.mrmlScene.Clear(0)
    type_reader(reviewed, "Ada")
    add_scan(small_scan, "sub-01_swi", mirrored=True)
    reviewed.enter()
    reviewed.ui.resultsFolderPathLineEdit.currentPath = str(tmp_path / "results")
    assert reviewed.keeper.session is None and reviewed.ui.messageLabel.text == ""


def open_scene(panel, tmp_path, reader):
    """Open the scene that is there another day, as a reader whose name is remembered."""
    slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(0)
    type_reader(panel, reader)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    slicer_host.wait_until(lambda: True)


def test_a_scene_with_decisions_without_a_name_shows_no_name_until_a_reader_takes_them(reviewed, tmp_path):
    decided = accept(reviewed, 2)
    open_scene(reviewed, tmp_path, "Ada")
    assert reviewed.ui.readerLineEdit.text == "" == reviewed.keeper.session.reader
    assert "give yours to make it your own" in reviewed.ui.messageLabel.text
    type_reader(reviewed, "Ada")
    decided += accept(reviewed, 3)[2:]
    assert accepted(reviewed) == set(decided)
    assert read_review(tmp_path / "results" / "sub-01_swi_reader-Ada_review.json").reader == "Ada"


def test_a_reader_who_looked_at_anothers_review_goes_on_under_their_own_name(
    reviewed, other_scan, found_files, tmp_path
):
    type_reader(reviewed, "Ada")
    accept(reviewed, 1)
    open_scene(reviewed, tmp_path, "Ben")
    assert reviewed.ui.readerLineEdit.text == "Ada"
    # a click into the line and out of it says nothing
    reviewed.ui.readerLineEdit.editingFinished.emit()
    other = slicer.util.getNode("sub-02_swi")
    reviewed.ui.inputVolumeSelector.setCurrentNode(other)
    assert reviewed.ui.readerLineEdit.text == "Ben" == qt.QSettings().value("CMMDetect/Reader")
    take_run(reviewed, other, found_files)
    accept(reviewed, 1)
    assert [item.reader for item in reviewed.keeper.session.accepted] == ["Ben"]
    reviewed.ui.inputVolumeSelector.setCurrentNode(slicer.util.getNode("sub-01_swi"))
    assert reviewed.ui.readerLineEdit.text == "Ada" == reviewed.keeper.session.reader


def test_a_name_that_is_mistyped_in_a_blind_read_shows_nothing_of_the_detector(panel, volume, found_files, small_scan):
    type_reader(panel, "Ada")
    panel.ui.blindCheckBox.setChecked(True)
    take_run(panel, volume, found_files)
    panel.review.add()
    place_point(small_scan.lesions[0])
    type_reader(panel, "Adda")
    assert panel.keeper.session.reader == "Adda" and panel.keeper.session.blind
    assert panel.review.listed == []
    type_reader(panel, "Ada")
    assert panel.review.listed == ["cmb-r001"]


def test_a_name_that_is_being_typed_is_left_alone_while_the_review_changes(reviewed):
    reviewed.ui.readerLineEdit.setText("Ad")
    accept(reviewed, 1)
    assert reviewed.ui.readerLineEdit.text == "Ad"


def test_a_reader_who_gives_the_name_late_goes_on_with_their_own_review(reviewed, volume, found_files, tmp_path):
    type_reader(reviewed, "Ada")
    accepted = accept(reviewed, 2)
    type_reader(reviewed, "")
    slicer_host.wait_until(lambda: True)
    type_reader(reviewed, "Ada")
    assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)
    assert not list((tmp_path / "results").glob("*older*"))


def test_what_a_script_found_is_reviewed_under_the_name_that_the_panel_shows(panel, small_scan, other_files):
    other = add_scan(small_scan, "sub-02_swi", mirrored=True)
    showDetection(other, scan_of(other, "swi"), other_files)
    type_reader(panel, "Ada")
    panel.ui.inputVolumeSelector.setCurrentNode(other)
    assert panel.ui.readerLineEdit.text == "Ada"
    accept(panel, 1)
    assert panel.keeper.session.save.path.name == "sub-02_swi_reader-Ada_review.json"
    assert [item.reader for item in panel.keeper.session.accepted] == ["Ada"]


def test_decisions_without_a_name_stay_in_their_file_when_the_reader_has_a_review(reviewed, tmp_path):
    type_reader(reviewed, "Ada")
    hers = accept(reviewed, 1)
    type_reader(reviewed, "")
    nobodys = accept(reviewed, 3)
    type_reader(reviewed, "Ada")
    assert [item.id for item in reviewed.keeper.session.accepted] == hers
    assert "sub-01_swi_review.json" in reviewed.ui.messageLabel.text
    kept = read_review(tmp_path / "results" / "sub-01_swi_review.json")
    assert {item.id for item in kept.accepted} == set(nobodys)


def test_a_reader_who_marks_first_adds_to_the_review_that_they_have(reviewed, volume, small_scan, tmp_path):
    type_reader(reviewed, "Ada")
    accepted = accept(reviewed, 2)
    slicer.mrmlScene.Clear(0)
    (tmp_path / "results" / "sub-01_swi_review.json").unlink()
    reviewed.ui.readerLineEdit.setText("")
    add_scan(small_scan, "sub-01_swi")
    reviewed.enter()
    reviewed.ui.resultsFolderPathLineEdit.currentPath = str(tmp_path / "results")
    assert reviewed.keeper.session is None
    type_reader(reviewed, "Ada")
    assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)
    assert not list((tmp_path / "results").glob("*older*"))


def test_a_reader_takes_over_a_newer_run_and_no_older_one(reviewed):
    type_reader(reviewed, "Ada")
    accept(reviewed, 1)
    now = reviewed.keeper.session.run["created"]
    type_reader(reviewed, "Ben")
    mine = accept(reviewed, 1)
    session = reviewed.keeper.session
    session.run = {**session.run, "created": "1999-01-01T00:00:00+00:00"}
    session.save(session)
    type_reader(reviewed, "Ada")
    assert reviewed.keeper.session.run["created"] == now
    type_reader(reviewed, "Ben")
    assert reviewed.keeper.session.run["created"] == now
    assert [item.id for item in reviewed.keeper.session.accepted] == mine


def test_a_damaged_review_of_another_reader_is_in_nobodys_way(reviewed, volume, small_scan, tmp_path):
    type_reader(reviewed, "Ada")
    accepted = accept(reviewed, 2)
    slicer.mrmlScene.Clear(0)
    (tmp_path / "results" / "sub-01_swi_reader-Ben_review.json").write_text("damaged")
    add_scan(small_scan, "sub-01_swi")
    reviewed.enter()
    reviewed.ui.resultsFolderPathLineEdit.currentPath = str(tmp_path / "results")
    assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)
    type_reader(reviewed, "Ben")
    assert "damaged" in reviewed.ui.messageLabel.text
    assert reviewed.ui.readerLineEdit.text == "Ada" == reviewed.keeper.session.reader


def test_opening_the_open_review_keeps_the_note_that_is_being_written(reviewed, tmp_path):
    accept(reviewed, 1)
    reviewed.review.choose(reviewed.review.listed[0])
    path = tmp_path / "results" / "sub-01_swi_review.json"
    reviewed.ui.sessionPathLineEdit.currentPath = str(path)
    reviewed.ui.noteLineEdit.setText("beside a vein")
    reviewed.ui.openSessionButton.click()
    assert "beside a vein" in {item.note for item in reviewed.keeper.session.candidates}
    assert not list(path.parent.glob("*older*"))


def test_a_review_that_was_put_right_opens_when_the_module_is_entered_again(reviewed, small_scan, tmp_path):
    accepted = accept(reviewed, 2)
    path = tmp_path / "results" / "sub-01_swi_review.json"
    content = path.read_text()
    slicer.mrmlScene.Clear(0)
    path.write_text("damaged")
    add_scan(small_scan, "sub-01_swi")
    reviewed.enter()
    reviewed.ui.resultsFolderPathLineEdit.currentPath = str(tmp_path / "results")
    assert "damaged" in reviewed.ui.messageLabel.text
    path.write_text(content)
    reviewed.exit()
    reviewed.enter()
    assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)
    assert reviewed.ui.messageLabel.text == ""


def test_a_note_that_could_not_be_saved_when_its_review_was_closed_is_told(reviewed, small_scan, monkeypatch):
    def fail(path, session):
        raise OutputError("the disk is full")

    reviewed.review.choose(reviewed.review.listed[0])
    reviewed.ui.noteLineEdit.setText("beside a vein")
    monkeypatch.setattr("CMMDetectLib.review_file.write_review", fail)
    reviewed.ui.inputVolumeSelector.setCurrentNode(add_scan(small_scan, "sub-02_swi", mirrored=True))
    assert "the disk is full" in reviewed.ui.messageLabel.text
