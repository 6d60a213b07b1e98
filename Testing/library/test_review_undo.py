"""Any number of steps of a review can be undone and redone."""

from hypothesis import given, settings
from hypothesis import strategies as st

from CMMDetectLib.review import ReviewSession
from CMMDetectLib.review_records import Certainty, Mimic, Verdict
from review_samples import CANDIDATES, SCAN, StepClock, session_of

places = st.tuples(*[st.floats(-50, 50, width=32)] * 3)
commands = st.lists(
    st.one_of(
        st.tuples(st.just("judge"), st.integers(0, 9), st.sampled_from(Verdict)),
        st.tuples(st.just("set_certainty"), st.integers(0, 9), st.sampled_from([None, *Certainty])),
        st.tuples(st.just("set_mimic"), st.integers(0, 9), st.sampled_from([None, *Mimic])),
        st.tuples(st.just("set_note"), st.integers(0, 9), st.text(max_size=8)),
        st.tuples(st.just("move"), st.integers(0, 9), places),
        st.tuples(st.just("put_back"), st.integers(0, 9)),
        st.tuples(st.just("remove"), st.integers(0, 9)),
        st.tuples(st.just("add"), places),
        st.tuples(st.just("undo")),
        st.tuples(st.just("redo")),
        st.tuples(st.just("reveal")),
    ),
    max_size=30,
)


def perform(session: ReviewSession, name: str, *arguments) -> None:
    if name in ("add", "undo", "redo", "reveal"):
        getattr(session, name)(*arguments)
        return
    visible = session.visible
    if visible:
        item = visible[arguments[0] % len(visible)]
        if name != "remove" or item.origin == "reader":
            getattr(session, name)(item.id, *arguments[1:])


@settings(max_examples=150, deadline=None)
@given(commands=commands, blind=st.booleans())
def test_all_undone_is_the_start(commands, blind):
    session = ReviewSession(SCAN, CANDIDATES, clock=StepClock())
    if blind:
        session.start_blind()
    for command in commands:
        perform(session, *command)
    names = [item.id for item in session.candidates]
    assert len(set(names)) == len(names)
    while session.undo():
        pass
    assert session.candidates == CANDIDATES


@settings(max_examples=100, deadline=None)
@given(commands=commands)
def test_undoing_any_number_of_steps_and_redoing_them_changes_nothing(commands):
    session = session_of()
    for command in commands:
        perform(session, *command)
    end, steps = session.candidates, 0
    while session.undo():
        steps += 1
    for _ in range(steps):
        assert session.redo()
    assert session.candidates == end
