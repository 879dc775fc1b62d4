"""What can go wrong: which errors are for the user, and how a program ends by them."""

import pytest

from proxtune.errors import DiskFailed, Interrupted, UserError


def test_a_disk_that_failed_is_an_error_for_the_user():
    assert issubclass(DiskFailed, UserError)


def test_an_interruption_is_not_an_error_for_the_user():
    """`except UserError` around a run must not take Ctrl-C for something to fix."""
    assert not issubclass(Interrupted, UserError)


@pytest.mark.parametrize(("given", "by"), [((), 2), (("interrupted", 15), 15)])
def test_an_interruption_names_its_signal(given, by):
    assert Interrupted(*given).by == by
