"""What the sensor of notifications remembers."""

from platform_location.defs.notifications import State


def test_a_cursor_is_read_as_it_was_written_and_one_that_cannot_be_read_leaves_the_past_alone() -> None:
    state = State(7, ("a", "b"))
    assert State.from_cursor(state.cursor(), newest=9) == state
    assert [State.from_cursor(cursor, newest=9) for cursor in (None, "", "x", "[]", "{}")] == [State(9)] * 5
