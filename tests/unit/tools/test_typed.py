"""tools/typed.py, which make types holds mypy's report against."""

from tools import typed

HEADER = "     Name   Anys   Exprs   Coverage\n---------------------------------\n"


def report(**anys: int) -> str:
    rooms = {room.rpartition(".")[2]: 0 for room in typed.LIMITS} | anys
    lines = [f"  pyrunc.{room}.x.y {some} 500 9%\n  pyrunc.{room} 0 500 100%\n" for room, some in rooms.items()]
    return HEADER + "".join(lines) + "  Total 1 2 50.00%\n"


def test_a_room_is_held_to_its_limit() -> None:
    assert typed.problems(report(plan=19, steps=0)) == []
    assert typed.problems(report(plan=20)) == ["pyrunc.plan: 20 of 1000 expressions are Any, 2 % may be"]


def test_a_room_of_which_nothing_is_said_is_a_problem() -> None:
    assert len(typed.problems(HEADER)) == len(typed.LIMITS)


def test_modules_with_the_name_of_a_room_in_theirs_are_not_in_it() -> None:
    assert typed.counts(HEADER + "pyrunc.planet 9 9 0%\npyrunc.cli.plan 9 9 0%\n")["pyrunc.plan"] == (0, 0)
