from __future__ import annotations

import pytest

from benchmark.errors import BenchError, StillToDo, about


@pytest.mark.parametrize("kind", [BenchError, StillToDo])
def test_a_mistake_is_said_to_be_about_a_file_and_stays_of_its_kind(kind: type[BenchError]) -> None:
    """What passes by itself (`StillToDo`) must not become a failure on the way."""
    with pytest.raises(BenchError, match=r"^a\.yaml: grid: no such class$") as caught, about("a.yaml"), about("grid"):
        raise kind("no such class")
    assert type(caught.value) is kind


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), about("a.yaml"):
        print(1 / 0)
