"""NNO: it goes downhill on functions and networks, tunes its own sizes, and does it again from the record alone."""

import hashlib
import math

import pytest
import torch

from proxtune.errors import UserError
from proxtune.optim.nno import NNO, replay
from proxtune.optim.points import Points
from proxtune.optim.step_record import unpack

ONE_ROW = torch.zeros(1)


def search(function, start, steps, **options):
    points = Points([torch.tensor(start)])
    nno = NNO(points, **options)
    values = []
    for _ in range(steps):
        record = nno.step(ONE_ROW, points, lambda place, _: function(points.tensors(place[0])[0]))
        values.append(record.centre)
    return values, points.tensors()[0], nno


def sphere(x):
    return (x**2).sum()


def ellipsoid(x):
    return (10 ** torch.linspace(0, 3, len(x)) * x**2).sum()


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def rastrigin(x):
    return (x**2 - 10 * torch.cos(2 * math.pi * x) + 10).sum()


@pytest.mark.parametrize("rule", ["estimate", "greedy", "nearest"])
@pytest.mark.parametrize(
    ("function", "start", "share"),
    [
        (sphere, [3.0] * 10, 0.01),
        (ellipsoid, [1.0] * 6, 0.05),
        (rosenbrock, [-1.2, 1.0], 0.2),
        (rastrigin, [3.3] * 4, 0.8),
    ],
    ids=["sphere", "ellipsoid", "rosenbrock", "rastrigin"],
)
def test_it_goes_down_on_functions_that_optimizers_are_tested_with(function, start, share, rule):
    ends = []
    for seed in range(5):
        values, _, _ = search(function, start, 300, seed=seed, rule=rule)
        ends.append(min(values[-20:]) / values[0])
    assert sorted(ends)[2] < share


def a_task(dtype=torch.float32, width=32):
    torch.manual_seed(0)
    x = torch.randn(512, 12)
    y = (x[:, 0] * x[:, 1] + x[:, 2] > 0).long()
    model = torch.nn.Sequential(torch.nn.Linear(12, width), torch.nn.Tanh(), torch.nn.Linear(width, 2)).to(dtype)
    return model, x.to(dtype), y


def batches(x, y, count, rows=64):
    order = torch.Generator().manual_seed(1)
    for number in range(count):
        few = torch.randperm(len(x), generator=order)[:rows]
        yield number, {"x": x[few], "y": y[few]}


def forward_of(model):
    return lambda batch: model(batch["x"])


def cross_entropy(outputs, batch):
    return torch.nn.functional.cross_entropy(outputs.float(), batch["y"])


def minus_accuracy(outputs, batch):
    return -(outputs.argmax(1) == batch["y"]).float().mean()


def accuracy(model, x, y):
    with torch.inference_mode():
        return float((model(x).argmax(1) == y).float().mean())


@pytest.mark.parametrize("objective", [cross_entropy, minus_accuracy])
def test_a_network_learns_from_a_loss_and_from_a_metric_without_gradient(objective):
    model, x, y = a_task()
    before = accuracy(model, x, y)
    nno = NNO(model, neighbours=32)
    for number, batch in batches(x, y, 300):
        nno.step(batch, forward_of(model), objective, number)
    assert accuracy(model, x, y) > max(0.75, before + 0.15)
    assert all(p.grad is None for p in model.parameters())


class EightBits(torch.nn.Module):
    """A linear layer held in int8, which cannot learn, and a low-rank one in bfloat16 beside it, which can."""

    def __init__(self, linear, rank=4):
        super().__init__()
        scale = linear.weight.detach().abs().max() / 127
        self.register_buffer("scale", scale)
        self.register_buffer("weight", (linear.weight.detach() / scale).round().to(torch.int8))
        self.register_buffer("bias", linear.bias.detach())
        self.down = torch.nn.Linear(linear.in_features, rank, bias=False, dtype=torch.bfloat16)
        self.up = torch.nn.Linear(rank, linear.out_features, bias=False, dtype=torch.bfloat16)
        torch.nn.init.zeros_(self.up.weight)

    def forward(self, x):
        frozen = torch.nn.functional.linear(x, self.weight * self.scale, self.bias)
        return frozen + self.up(self.down(x.bfloat16())).float()


def test_adapters_learn_beside_weights_of_eight_bits_which_stay():
    def a_model():
        plain, x, y = a_task()
        return torch.nn.Sequential(EightBits(plain[0]), plain[1], EightBits(plain[2])), x, y

    model, x, y = a_model()
    before = accuracy(model, x, y)
    nno = NNO(model, neighbours=32)
    records = [nno.step(batch, forward_of(model), cross_entropy, number) for number, batch in batches(x, y, 300)]
    assert accuracy(model, x, y) > max(0.7, before + 0.1)
    again, _, _ = a_model()
    replay(again, records)
    for (name, learned), repeated in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(learned, repeated), name
    for name, buffer in a_model()[0].named_buffers():
        assert torch.equal(buffer, dict(model.named_buffers())[name]), f"{name} was frozen"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rule", ["estimate", "greedy", "nearest"])
def test_the_record_alone_leads_to_the_same_weights_to_the_last_bit(dtype, rule):
    def digest(model):
        return hashlib.sha256(
            b"".join(p.detach().view(torch.uint8).numpy().tobytes() for p in model.parameters())
        ).digest()

    # a slope through the nearest points takes all dimensions to the third power; 80 steps are more points than it uses
    width, steps = (8, 80) if rule == "nearest" else (32, 200)
    model, x, y = a_task(dtype, width)
    nno = NNO(model, neighbours=8, rule=rule)
    written = b"".join(
        nno.step(batch, forward_of(model), cross_entropy, number).pack() for number, batch in batches(x, y, steps)
    )
    assert len(written) == steps * (40 + 4 * 8)
    threads, found = torch.get_num_threads(), set()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            again, _, _ = a_task(dtype, width)
            replay(again, unpack(written))
            found.add(digest(again))
    finally:
        torch.set_num_threads(threads)
    assert found == {digest(model)}


def test_the_order_of_rows_in_a_batch_does_not_matter():
    ends = []
    for turned in (False, True):
        model, x, y = a_task()
        nno = NNO(model, neighbours=8)
        for number, batch in batches(x, y, 30):
            rows = {key: value.flip(0) for key, value in batch.items()} if turned else batch
            nno.step(rows, forward_of(model), cross_entropy, number)
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*ends, atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize("at_a_time", [1, 3, 7])
def test_points_seen_a_few_at_a_time_are_the_same_points(at_a_time):
    found = []
    for few in (None, at_a_time):
        model, x, y = a_task()
        nno = NNO(model, neighbours=8, at_a_time=few)
        found.append([nno.step(batch, forward_of(model), cross_entropy, n) for n, batch in batches(x, y, 3)])
    for whole, cut in zip(*found, strict=True):
        assert cut.losses == pytest.approx(whole.losses, rel=1e-4)
        assert cut.centre == pytest.approx(whole.centre, rel=1e-4)


def test_spread_grows_out_of_rounding_noise_and_shrinks_out_of_curvature():
    for start in (1e-7, 3.0):
        _, _, nno = search(lambda x: sphere(x - 5), [3.0] * 10, 1, seed=0)
        nno.sizes = type(nno.sizes).initial(start, None, 16, 10, tune_spread=True)
        spreads = []
        for _ in range(60):
            nno.step(ONE_ROW, nno.model, lambda place, _: sphere(place[0] - 5))
            spreads.append(nno.sizes.spread)
        assert (spreads[-1] > 3 * start) if start < 1 else (spreads[-1] < start / 3)


def test_sizes_that_are_given_stay():
    _, _, nno = search(sphere, [3.0] * 4, 20, spread=0.01, rate=0.02)
    assert nno.sizes.spread == 0.01
    assert nno.sizes.rate == pytest.approx(0.02)


def test_a_step_that_did_harm_is_taken_back():
    points = Points([torch.zeros(3)])
    nno = NNO(points, neighbours=8, rule="estimate")
    nno.step(ONE_ROW, points, lambda place, _: place[0].sum())
    moved = points.place.detach().clone()
    assert float(moved.abs().max()) > 0
    record = nno.step(
        ONE_ROW, points, lambda place, _: float(place[0].abs().max() > 1e-5)
    )  # other rows see it otherwise
    assert record.rule == "taken back"
    torch.testing.assert_close(points.place.detach(), torch.zeros(3), atol=1e-6, rtol=0)
    assert nno.sizes.ratio == nno.sizes.most / 2


def test_a_loss_that_is_not_finite_leaves_the_weights_and_too_many_end_it_with_advice():
    points = Points([torch.ones(3)])
    nno = NNO(points, neighbours=4)
    for _ in range(9):
        assert nno.step(ONE_ROW, points, lambda place, _: math.nan).rule == "rejected"
    assert torch.equal(points.place.detach(), torch.ones(3))
    assert nno.step(ONE_ROW, points, lambda place, _: (place**2).sum()).rule == "nearest"
    for _ in range(9):
        nno.step(ONE_ROW, points, lambda place, _: 1e300)
    with pytest.raises(UserError, match="not finite"):
        nno.step(ONE_ROW, points, lambda place, _: math.inf)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"neighbours": 1}, "2 or more"),
        ({"rule": "best"}, "choose estimate, greedy, nearest"),
        ({"at_a_time": 0}, "1 or more"),
        ({"spread": 0.0}, "above zero"),
        ({"rate": math.nan}, "above zero"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        NNO(torch.nn.Linear(2, 2), **options)


def test_outputs_that_are_not_row_by_row_are_refused():
    model = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="rows first"):
        NNO(model).step(torch.zeros(3, 2), lambda batch: model(batch).mean(), lambda out, _: out)


def test_dropout_is_refused():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.1))
    nno = NNO(model)
    with pytest.raises(ValueError, match=r"model\.eval"):
        nno.step(torch.zeros(3, 2), model, lambda out, _: out.sum())
    assert nno.step(torch.zeros(3, 2), model.eval(), lambda out, _: out.sum()).step == 0


@pytest.mark.parametrize("rule", ["estimate", "greedy", "nearest"])
@pytest.mark.parametrize("made", [0, 1, 7, 20])
def test_a_search_that_follows_the_records_goes_on_as_the_one_that_made_them(rule, made):
    """Weights, sizes, the step that may be taken back, the points seen: all from the records, without a look."""

    def go_on(points, nno, steps):
        return [
            nno.step(ONE_ROW, points, lambda place, _: ellipsoid(points.tensors(place[0])[0])) for _ in range(steps)
        ]

    def begun():
        points = Points([torch.ones(6)])
        return points, NNO(points, seed=3, rule=rule)

    points, nno = begun()
    records = go_on(points, nno, made)
    later = go_on(points, nno, 15)
    others, again = begun()
    again.again(records)
    assert go_on(others, again, 15) == later
    assert torch.equal(others.place, points.place)


def test_records_that_are_not_those_of_all_steps_are_not_followed():
    points = Points([torch.ones(6)])
    nno = NNO(points, seed=3, rule="estimate")
    records = [nno.step(ONE_ROW, points, lambda place, _: sphere(points.tensors(place[0])[0])) for _ in range(3)]
    for wrong in (records[1:], records[::-1], [records[0], records[2]]):
        with pytest.raises(ValueError, match="from the first"):
            NNO(Points([torch.ones(6)]), seed=3).again(wrong)
    with pytest.raises(ValueError, match="by this seed"):
        NNO(Points([torch.ones(6)]), seed=4).again(records)
    with pytest.raises(ValueError, match="do all steps again"):
        NNO(Points([torch.ones(6)]), seed=3, rule="nearest").again(records, applied=2)
