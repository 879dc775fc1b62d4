"""Lean imports: what no plan uses stays outside, what is used works, and the compiler comes back when asked for."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys
from proxtune.memory.lean_imports import import_lean, without_sharding
import_lean()
import_lean()
import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification
found = {}
heavy = ("scipy", "sklearn", "sympy", "pandas", "accelerate", "torch._inductor", "torch._functorch.aot_autograd")
found["heavy"] = [name for name in heavy if name in sys.modules]
config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
model = BertForSequenceClassification(config)
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
before = model.classifier.weight.detach().clone()
output = model(input_ids=torch.ones(2, 5, dtype=torch.long), labels=torch.tensor([0, 1]))
output.loss.backward()
optimizer.step()
found["moved"] = not torch.equal(before, model.classifier.weight)
found["heavy after a step"] = [name for name in heavy if name in sys.modules]
model.gradient_checkpointing_enable({"use_reentrant": False})
model.train()(input_ids=torch.ones(2, 5, dtype=torch.long), labels=torch.tensor([0, 1])).loss.backward()
found["heavy after checkpointing"] = [name for name in heavy if name in sys.modules]
import tempfile
with tempfile.TemporaryDirectory() as folder, without_sharding():
    model.save_pretrained(folder)
    again = BertForSequenceClassification.from_pretrained(folder)
found["loaded"] = torch.equal(again.bert.embeddings.word_embeddings.weight, model.bert.embeddings.word_embeddings.weight)
found["heavy after loading"] = [name for name in heavy if name in sys.modules]
found["drawn"] = float(torch.nn.init.normal_(torch.zeros(1000)).std()) > 0.5
stand_in = sys.modules["torch._dynamo"]
found["stand-in"] = type(stand_in).__name__
found["compiling"] = torch._dynamo.is_compiling()
found["importable"] = __import__("importlib.util").util.find_spec("scipy") is not None
found["distributed"] = torch.distributed.is_available()
"""
ASK_FOR_MORE = """
found["config"] = hasattr(torch._dynamo.config, "cache_size_limit") or hasattr(torch._dynamo.config, "recompile_limit")
found["optimize"] = callable(stand_in.optimize)
found["real"] = sys.modules["torch._dynamo"] is not stand_in and "torch._dynamo.eval_frame" in sys.modules
"""
ASK_FOR_SHAPES = """
from torch.fx.experimental import symbolic_shapes
found["shapes"] = callable(symbolic_shapes.ShapeEnv) and symbolic_shapes.expect_true(True)
from torch._subclasses.fake_tensor import FakeTensorMode
with FakeTensorMode():
    found["fake"] = list((torch.ones(2, 3) @ torch.ones(3, 4)).shape)
"""
LAST = "print(json.dumps(found))"

META = "Metadata-Version: 2.1\nName: torchao\nVersion: 0.18.0\n"


def run(*parts: str) -> dict:
    script = "\n".join([*parts, LAST])
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def lean() -> dict:
    return run(SCRIPT)


def test_what_no_plan_uses_is_not_imported(lean):
    assert lean["heavy"] == []


def test_a_training_step_works_and_imports_none_of_it(lean):
    assert lean["moved"]
    assert lean["heavy after a step"] == []
    assert lean["heavy after checkpointing"] == []
    assert lean["loaded"]
    assert lean["drawn"]
    assert lean["heavy after loading"] == []


def test_others_are_told_the_truth_afterwards(lean):
    import torch.distributed

    assert lean["importable"]
    assert lean["distributed"] == torch.distributed.is_available()


def test_the_stand_in_answers_what_the_decorators_ask(lean):
    assert lean["stand-in"] == "_StandIn"
    assert lean["compiling"] is False


@pytest.mark.slow
def test_asking_for_more_brings_in_the_real_compiler():
    found = run(SCRIPT, ASK_FOR_MORE)
    assert found["config"]
    assert found["optimize"]
    assert found["real"]


@pytest.mark.slow
def test_the_real_compiler_can_be_brought_back():
    found = run(SCRIPT, ASK_FOR_SHAPES)
    assert found["shapes"]
    assert found["fake"] == [2, 4]


def test_peft_comes_without_the_heavy_ones():
    found = run(
        "import json, sys\nfrom proxtune.memory.lean_imports import import_lean, import_peft\nimport_lean()\n"
        "peft = import_peft()\n"
        "heavy = [name for name in ('scipy', 'sklearn', 'torch._inductor') if name in sys.modules]\n"
        "found = {'heavy': heavy, 'is': peft.__name__}"
    )
    assert found == {"heavy": [], "is": "peft"}


def test_a_session_waits_with_torch_until_the_data_are_known_to_do():
    code = "import sys, proxtune.runtime.session; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_quantizer_that_is_installed_is_not_imported(tmp_path):
    """torchao imports the compiler, for which there is a stand-in: with it in the environment nothing else worked."""
    files = {"torchao/__init__.py": "raise KeyError('torch._dynamo')", "torchao-0.18.0.dist-info/METADATA": META}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    script = "from proxtune.memory.lean_imports import import_lean; import_lean(); import transformers.quantizers"
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stderr
