"""What steps and trainings are where nothing else is said."""

from proxtune.compression.size_constraint import NoSizeConstraint
from proxtune.training.context import StepMaker, StepResult
from support.trainings import PLAN, NoCheckpoints, prepared_model, training_of


def test_steps_keep_nothing_beside_the_weights_where_they_do_not_say_so():
    step_maker = StepMaker(lambda plan, rows, number, share: StepResult(plan=plan, loss=0.0, learning_rate=0.0))
    assert step_maker.optimizer_state() == step_maker.allocate_state({}) == {}
    assert step_maker.replay is None


def test_a_step_is_good_and_did_not_step_down_where_it_does_not_say_so():
    done = StepResult(plan=PLAN, loss=0.5, learning_rate=1e-3)
    assert (done.step_downs, done.rejected, done.rule, done.spread, done.left_out) == ([], None, None, None, [])


def test_a_training_has_no_size_and_rows_are_named_by_their_number(tiny_model, rows):
    training = training_of(prepared_model(tiny_model, PLAN), rows, PLAN, NoCheckpoints())
    assert isinstance(training.constraint, NoSizeConstraint)
    assert training.where(7) == "row 7"
