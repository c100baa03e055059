"""Pictures: drawn without a window system, with the right content, and clear about what they cannot draw."""

import sys

import numpy as np
import pytest

from fastnet import plot
from fastnet.training.history import History

pytest.importorskip("matplotlib")


@pytest.fixture
def history():
    h = History()
    h.loss = [2.3 * 0.99**i for i in range(120)]
    h.lr = [0.1] * 120
    h.epoch_steps = [40, 80, 120]
    h.train_accuracy, h.val_accuracy, h.val_loss = [0.5, 0.75, 0.9], [0.4, 0.7, 0.875], [1.0, 0.5, 0.25]
    h.update_ratio, h.seconds = [1e-3] * 3, [1.0, 2.0, 3.0]
    return h


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 2000


def test_curves_show_the_loss_of_every_step_and_the_accuracies_of_every_epoch(history, tmp_path):
    figure = history.plot(tmp_path / "curves.png")
    left, right = figure.axes
    np.testing.assert_array_equal(left.lines[0].get_ydata(), history.loss)
    assert [list(line.get_ydata()) for line in right.lines] == [history.train_accuracy, history.val_accuracy]
    assert "87.50%" in right.get_legend().get_texts()[1].get_text()
    assert is_png(tmp_path / "curves.png")


def test_curves_take_a_dictionary_and_survive_nan_and_a_single_step(history, tmp_path):
    plot.curves(history.to_dict(), tmp_path / "a.png")
    history.loss[7] = float("nan")
    history.val_accuracy = [float("nan")] * 3
    plot.curves(history, tmp_path / "b.png")
    one = History()
    one.loss, one.lr = [1.0], [0.1]
    plot.curves(one, tmp_path / "c.png")
    assert all(is_png(tmp_path / name) for name in ("a.png", "b.png", "c.png"))
    with pytest.raises(ValueError, match="no steps"):
        plot.curves(History())


@pytest.mark.parametrize(
    ("shape", "tiles"), [((5, 3, 4, 2), 5), ((7, 1, 3, 2), 7), ((3, 2, 5, 4), 6), ((1, 1, 1, 1), 1)]
)
def test_filters_are_one_tile_each_or_one_per_channel(shape, tiles, tmp_path):
    figure = plot.filters(np.random.default_rng(0).standard_normal(shape).astype(np.float32), tmp_path / "f.png")
    assert sum(bool(axes.images) for axes in figure.axes) == tiles
    assert is_png(tmp_path / "f.png")


@pytest.mark.parametrize("shape", [(5, 3, 4, 2), (7, 1, 3, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_are_drawn_with_their_titles(shape, dtype, tmp_path):
    x = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    figure = plot.images(x, tmp_path / "i.png", titles=range(shape[0]))
    assert [axes.get_title() for axes in figure.axes if axes.images] == [str(i) for i in range(shape[0])]
    assert is_png(tmp_path / "i.png")


def test_confusion_writes_the_counts_and_the_share_that_is_right(tmp_path):
    figure = plot.confusion(
        np.array([[8, 2, 0], [1, 9, 0], [0, 5, 0]]), tmp_path / "c.png", names=["cat", "dog", "horse"]
    )
    (axes,) = figure.axes
    assert sorted(text.get_text() for text in axes.texts) == ["1", "2", "5", "8", "9"]
    assert "68.00%" in axes.get_title(loc="left")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "horse"]


@pytest.mark.parametrize(
    ("draw", "complaint"),
    [
        (lambda: plot.filters(np.ones((2, 3))), "weights"),
        (lambda: plot.images(np.ones((2, 4, 3, 5))), "1 or 3 channels"),
        (lambda: plot.images(np.ones((2, 3, 4, 5)), titles=["a"]), "2 titles"),
        (lambda: plot.confusion(np.ones((2, 3))), "square"),
        (lambda: plot.confusion(np.ones((2, 2)), names=["a"]), "2 names"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, complaint):
    with pytest.raises(ValueError, match=complaint):
        draw()


def test_without_matplotlib_the_message_names_the_extra(monkeypatch, history):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    for draw in (lambda: history.plot(), lambda: plot.filters(np.ones((1, 1, 2, 3)))):
        with pytest.raises(ImportError, match=r"fastnet\[plot\]"):
            draw()
