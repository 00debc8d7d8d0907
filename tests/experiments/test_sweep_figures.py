"""Figures of sweeps, of rows that are made up."""

import numpy as np

from sdelimit.experiments.plot import COLOUR_MAP, heat_maps

RATES = (0.1, 0.2, 0.4, 0.8)


def rows(risks, optimizer="sgd"):
    fixed = {"covariance": "identity", "noise": "none", "batch_size": 1, "model": "linear", "status": "ok"}
    return [
        fixed | {"optimizer": optimizer, "d": d, "lr": lr, "lr_start": lr, "theory_risk": risk, "run_risk": risk,
                 "run_standard_error": 0.0}
        for d, own in zip((50, 100), risks, strict=True)
        for lr, risk in zip(RATES, own, strict=True)
    ]  # fmt: skip


def drawn(table):
    figure = heat_maps(table, "d", (50, 100), "title")
    return figure, figure.axes[0].images[0], [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_cell_that_runs_away_does_not_flatten_the_others():
    sound = [[0.3, 0.2, 0.4, 0.5], [0.3, 0.1, 0.4, 0.6]]
    wild = [[0.3, 0.2, 0.4, 1e11], [0.3, 0.1, 3e5, np.inf]]
    _, image, texts = drawn(rows(sound))
    assert np.allclose([image.norm.vmin, image.norm.vmax], [0.1, 0.6]) and len(texts) == 3
    figure, image, texts = drawn(rows(wild))
    assert np.allclose([image.norm.vmin, image.norm.vmax], [0.1, 0.4])
    colours = image.to_rgba(image.get_array())
    over = np.array(COLOUR_MAP.get_over())
    assert np.allclose(colours[0, 3], over) and np.allclose(colours[1, 2], over)
    assert not np.allclose(colours[0, 2], over) and len(figure.axes[0].patches) == 1
    assert texts[-1] == "more than 1000 times the lowest"


def test_a_rule_that_runs_away_everywhere_is_off_the_scale_of_the_others():
    table = [*rows([[0.3, 0.2, 0.4, 0.5]] * 2, "sign_sgd"), *rows([[1e9, 1e9, 1e10, 1e11]] * 2)]
    _, image, _ = drawn(table)
    assert np.allclose([image.norm.vmin, image.norm.vmax], [0.2, 0.5])
    _, image, _ = drawn(rows([[1e9, 1e9, 1e10, 1e11]] * 2))
    assert np.allclose([image.norm.vmin, image.norm.vmax], [1e9, 1e11])
