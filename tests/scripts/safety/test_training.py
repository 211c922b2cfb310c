"""The trainer's parts, on problems whose answer is known."""

from __future__ import annotations

import numpy as np

from scripts.safety import grams, mlp
from scripts.safety.measures import auroc
from scripts.safety.report import replaced
from scripts.safety.rows import Row
from scripts.safety.targets import OUTPUTS, targets
from scripts.safety.thresholds import choose
from scripts.safety.train import mix


def test_a_network_learns_what_no_line_separates() -> None:
    """Exclusive or; labels of weight nothing are not learnt from."""
    random = np.random.default_rng(0)
    x = random.choice([-1.0, 1.0], (600, 2)).astype(np.float32)
    y = np.stack([x[:, 0] * x[:, 1] > 0, x[:, 0] > 0], axis=1).astype(np.float32)
    weight = np.ones_like(y)
    weight[:, 1] = 0
    net = mlp.fit(x, y, weight, 1, mlp.Settings(hidden=16, epochs=60, batch=64, rate=0.02))
    assert auroc(y[:, 0], net.logits(x)[:, 0]) > 0.99
    assert np.array_equal(net.w2[:, 1], mlp.fit(x, 1 - y, weight, 1, mlp.Settings(16, 60, 64, 0.02)).w2[:, 1])


def test_n_grams_learn_words() -> None:
    """And are the same for the same seed."""
    texts = [f"please {word} the process number {n}" for n in range(60) for word in ("strangle", "restart")]
    y = np.array([[1.0], [0.0]] * 60, np.float32)
    sparse = grams.Sparse(texts)
    weights, bias = grams.fit(sparse, range(80), y, np.ones_like(y), 3)
    assert auroc(y[80:, 0], sparse.logits(weights, bias)[80:, 0]) == 1
    again, _ = grams.fit(sparse, range(80), y, np.ones_like(y), 3)
    assert np.array_equal(weights, again)


def test_the_better_part_counts_more() -> None:
    """One of the parts is noise."""
    random = np.random.default_rng(0)
    y = (random.random((500, 1)) > 0.5).astype(np.float32)
    good, noise = (4 * y - 2 + random.standard_normal((500, 1))).astype(np.float32), random.standard_normal((500, 1))
    shallow, deep, _ = mix(noise.astype(np.float32), good, y, np.ones_like(y))[:, 0]
    assert deep > 5 * abs(shallow)


def test_what_nobody_judged_is_not_learnt_from() -> None:
    """A collection that says harmful does not say how much; one that says nothing of a harm counts little there."""
    rows = [Row("a", "en", "x", test=False, levels={"hate": 4}), Row("b", "en", "x", test=False)]
    labels, weights = targets(rows)
    column = OUTPUTS.index
    assert labels[0, column("hate2")] == labels[0, column("hate4")] == 1
    assert weights[0, column("hate6")] == 0
    assert 0 < weights[0, column("sexual4")] < 1
    assert not weights[1].any()


def test_a_threshold_keeps_false_alarms_rare() -> None:
    """On look-alikes of ours; the lower level never begins above the middle one."""
    random = np.random.default_rng(0)
    levels = dict.fromkeys(("hate", "sexual", "violence", "self_harm"), 0)
    rows = [Row(str(n), "en", "own", test=False, levels=levels, own=True, note="benign hate") for n in range(800)]
    rows += [
        Row(f"h{n}", "en", "own", test=False, levels={**levels, "hate": 2 * (n % 3 + 1)}, own=True, note="hate")
        for n in range(90)
    ]
    scores = random.random((len(rows), len(OUTPUTS))).astype(np.float32) * 0.6
    scores[800:, OUTPUTS.index("hate4")] = 0.9
    rows.append(Row("n", "en", "x", test=False, hits={"injection": False}))
    scores = np.concatenate([scores, np.full((1, len(OUTPUTS)), 0.1, np.float32)])
    found = choose(rows, scores)
    hate = found[OUTPUTS.index("hate4")]
    assert (scores[:800, OUTPUTS.index("hate4")] >= hate).mean() <= 0.02
    assert found[OUTPUTS.index("hate2")] <= hate < 0.9


def test_tables_are_written_between_their_marks() -> None:
    """And nothing else of the page is touched."""
    page = "a\n<!-- table: x y -->\nold\n<!-- end -->\nb <!-- table: z -->\n<!-- end -->\n"
    assert replaced(page, {"x y": "| new |"}) == page.replace("old\n", "\n| new |\n")
