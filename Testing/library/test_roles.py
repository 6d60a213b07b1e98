"""Which subjects are used for training and which are held back."""

import pytest

from CMMDetectLib.errors import InputError
from CMMDetectTrainLib.roles import assign_roles


def many(count: int, microbleeds: int = 3) -> dict[str, int]:
    return {f"sub-{number:02d}": microbleeds for number in range(count)}


@pytest.mark.parametrize(("count", "sizes"), [(2, (1, 1, 0)), (3, (1, 1, 1)), (5, (3, 1, 1)), (20, (12, 4, 4))])
def test_every_subject_has_one_role_and_three_are_enough_to_hold_one_back(count, sizes):
    roles = assign_roles(many(count))
    assert (len(roles.training), len(roles.validation), len(roles.test)) == sizes
    assert sorted(roles.training + roles.validation + roles.test) == sorted(many(count))


def test_subjects_without_microbleeds_are_split_alike():
    subjects = {**many(10), **{f"clean-{number}": 0 for number in range(10)}}
    roles = assign_roles(subjects)
    assert [sum(name.startswith("clean") for name in part) for part in (roles.validation, roles.test)] == [2, 2]


def test_who_was_held_back_is_held_back_when_the_data_set_has_grown():
    before = assign_roles(many(10))
    after = assign_roles(many(30), tested_before=before.test)
    assert set(before.test) <= set(after.test)


def test_no_model_is_compared_on_subjects_that_it_has_learnt_from_however_the_data_set_grows():
    learnt, tested = set(), set()
    for count in range(5, 60, 3):
        roles = assign_roles({f"sub-{number * 7}": number % 3 for number in range(count)}, 0.2, 0.2, tested, learnt)
        assert not learnt & set(roles.test), count
        assert tested <= set(roles.test), count
        learnt, tested = {*learnt, *roles.training, *roles.validation}, set(roles.test)


def test_where_all_have_been_learnt_from_some_are_held_back_all_the_same():
    assert assign_roles(many(10), learnt_before=many(10)) == assign_roles(many(10))


def test_nothing_is_held_back_where_that_is_not_wanted():
    assert assign_roles(many(10), test_share=0).test == ()


def test_too_few_subjects_are_counted_for_the_user():
    with pytest.raises(InputError, match=r"at least 2 subjects with microbleeds.*here 1 of 3 have any"):
        assign_roles({"a": 1, "b": 0, "c": 0})
