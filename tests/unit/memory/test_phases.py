"""The peak of each phase: of the whole tree, the largest where a phase is entered twice."""

from proxtune.memory.phases import Phases


class GivenMeter:
    """Peaks that are given, one for each phase."""

    def __init__(self, *peaks: int) -> None:
        self.peaks, self.resets, self.trims = list(peaks), 0, 0

    def reset(self) -> None:
        self.resets += 1

    def peak(self) -> int:
        return self.peaks.pop(0)

    def trim(self) -> None:
        self.trims += 1


def test_each_phase_has_its_own_peak_with_that_of_other_processes():
    phases = Phases(GivenMeter(100, 250), others_bytes=10)
    phases.enter("load")
    phases.enter("train")
    phases.leave()
    assert phases.memory_bytes == {"load": 110, "train": 260}


def test_a_phase_that_is_entered_twice_keeps_its_largest_peak():
    phases = Phases(GivenMeter(300, 200), others_bytes=0)
    for _ in range(2):
        phases.enter("evaluate")
        phases.leave()
    assert phases.memory_bytes == {"evaluate": 300}


def test_memory_goes_back_when_a_phase_ends_and_the_next_is_measured_anew():
    meter = GivenMeter(1, 2)
    phases = Phases(meter, others_bytes=0)
    phases.leave()  # none is under way
    assert (meter.resets, meter.trims) == (0, 0)
    phases.enter("load")
    phases.enter("train")
    assert (meter.resets, meter.trims) == (2, 1)
