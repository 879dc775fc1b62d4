"""A power cut as a file system sees it: what was shown is there afterwards. On an ext4 of its own that is shut down at once."""

import fcntl
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxtune.checkpoint.snapshot import snapshots
from proxtune.config.plan import Plan
from proxtune.storage.events import Continued
from proxtune.storage.journal import read_records
from support.trainings import digest, run_training

_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN: nothing that is not on disk gets there any more
PLANS = {
    "full": Plan("full", "fp32", 8, 8, 32, False, "adamw", 1e-3, 10.0, 60, 0),
    "nno": Plan("nno", "fp32", 8, 48, 32, False, "none", 0.0, 10.0, 60, 0, neighbours=4, last_layers=2),
}

CHILD = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[4], str(Path(sys.argv[4]) / "integration")]
import numpy as np
import test_power_cut
from support import trainings
from proxtune.checkpoint import checkpointer as keeping
from proxtune.data.dataset import Encoded
from proxtune.tasks.classification.objective import LABELS
from proxtune.training.trainer import train
keeping._SHARE, keeping._LEAST_SECONDS = 0.5, 0.001
folder, source, plan = Path(sys.argv[1]), Path(sys.argv[2]), test_power_cut.PLANS[sys.argv[3]]
with np.load(sys.argv[5]) as own:
    rows = Encoded(ids=own["ids"], starts=own["starts"], labels=own["labels"], truncated=0, objective=LABELS)
folder.mkdir(exist_ok=True)
model = trainings.prepared_model(source, plan)
checkpointer, unseen = trainings.checkpointer_in(folder, model, plan), []
for event in train(plan, trainings.training_of(model, rows, plan, checkpointer, folder)):
    unseen.append(event)
    if checkpointer.commit():
        for one in unseen:
            print(one.kind, getattr(one, "step", 0), flush=True)
        unseen.clear()
"""


@pytest.fixture
def disk(tmp_path):
    """An ext4 of 64 MB on a loop device; `cut(disk)` cuts its power and mounts it again."""
    tools = [name for name in ("mkfs.ext4", "mount", "umount") if shutil.which(name) is None]
    if os.geteuid() != 0 or tools:
        pytest.skip(f"a file system to shut down needs root and {', '.join(tools) or 'its tools'}")
    image, place = tmp_path / "disk.img", tmp_path / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(place)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no loop device can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def one_thread():
    """This process computes with one thread, as those that are cut off."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cut(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(descriptor)


def mounted_again(place: Path) -> None:
    subprocess.run(["umount", str(place)], check=True)
    subprocess.run(["mount", "-o", "loop", str(place.with_name("disk.img")), str(place)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANS)
def test_what_was_shown_is_there_after_a_power_cut(disk, one_thread, tmp_path, tiny_model, rows, name):
    plan, draw = PLANS[name], random.Random(name)
    np_rows = tmp_path / "rows.npz"
    import numpy as np

    np.savez(np_rows, ids=rows.ids, starts=rows.starts, labels=rows.labels)
    command = [
        sys.executable,
        "-c",
        CHILD,
        str(disk / "run"),
        str(tiny_model),
        name,
        str(Path(__file__).parents[1]),
        str(np_rows),
    ]
    cuts = 0
    for _ in range(4):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        # So many lines and not so many seconds: a quiet machine makes all 60 steps in one, a loaded one none.
        lines = [child.stdout.readline() for _ in range(draw.randint(1, 12))]
        shown = [line.split() for line in lines if line.endswith("\n")]
        time.sleep(draw.uniform(0.0, 0.02))  # between two steps, or in one
        cut(disk)
        child.send_signal(signal.SIGKILL)
        # The kill may come within a line, where output is not buffered: what was not said to its end was not said.
        shown += [line.split() for line in child.stdout if line.endswith("\n")]
        child.stdout.close()
        child.wait()
        mounted_again(disk)
        cuts += 1
        steps = [int(step) for kind, step in shown[1:] if kind == "step"]
        found = [data for _, data in read_records(disk / "run" / "journal.bin")]
        validated = [int(step) for kind, step in shown if kind == "validation"]
        assert sum(b'"judged"' in data for data in found) >= len(set(validated))
        if plan.neighbours:
            assert sum(data.startswith(b"s") for data in found) >= max(steps, default=0)
        kept = [int(path.stem.rpartition("-")[2]) for path in snapshots(disk / "run")]
        if max(steps, default=0) >= plan.steps:
            break
    assert cuts > 1
    told, model = run_training(disk / "run", tiny_model, rows, plan)
    assert isinstance(told[0], Continued)
    assert plan.neighbours or not kept or told[0].step == max(kept)
    _, straight = run_training(tmp_path / "straight", tiny_model, rows, plan)
    assert digest(model) == digest(straight)
