"""Pictures: drawn without a window system, with the right content, and clear about what they cannot draw."""

import sys

import numpy as np
import pytest

import fastnet
from fastnet import plot
from fastnet.plot.saliency import slopes
from fastnet.training.history import History

pytest.importorskip("matplotlib")


X = np.random.default_rng(3).standard_normal((5, 3, 6, 4)).astype(np.float32)
Y = np.array([0, 3, 6, 1, 1])


def net(dtype=np.float32):
    fastnet.manual_seed(7)
    layers = [fastnet.Conv2d(3, 5, 3), fastnet.BatchNorm2d(5), fastnet.ReLU(), fastnet.MaxPool2d(2), fastnet.Flatten()]
    layers += [fastnet.VanillaDropout(0.3), fastnet.Dropout(0.5), fastnet.DropConnect(10, 9), fastnet.Tanh()]
    built = fastnet.Sequential(*layers, fastnet.Linear(9, 7)).astype(dtype)
    built[1].running_mean[...], built[1].running_var[...] = 0.2, 2.0
    return built


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
        (lambda: plot.filters(fastnet.Sequential(fastnet.Linear(3, 2))), "no convolution"),
        (lambda: plot.confusion_matrix(np.ones((4, 3)), np.arange(4)), "from 0 to 2"),
        (lambda: plot.confusion_matrix(np.ones((4, 3)), np.arange(3)), "labels"),
        (lambda: plot.misclassified(np.ones((2, 1, 3, 4)), np.eye(2), np.arange(2)), "all 2 images"),
        (lambda: plot.misclassified(np.ones((2, 1, 3, 4)), np.eye(3), np.arange(2)), "as many"),
        (lambda: plot.saliency(net(), np.ones((2, 5, 4), np.float32)), "1 or 3 channels"),
        (lambda: plot.saliency(net(), X, [9] * 5), "from 0 to 6"),
        (lambda: plot.saliency(net(), X, [1, 2]), "one class for each"),
        (lambda: plot.gradients(net(), X, Y, of="biases"), "'outputs' or 'weights'"),
        (lambda: plot.activations(net(), X, select=lambda layer: False), "no layer"),
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


# --- nets looked into -----------------------------------------------------------------------------------------------


def unchanged(before, model, random):
    np.testing.assert_equal(model.state_dict(), before)
    assert model[6].rng.bit_generator.state == random
    assert model.training


def test_filters_of_a_net_are_those_of_its_first_convolution():
    figure = plot.filters(net())
    assert sum(bool(axes.images) for axes in figure.axes) == 5


def test_histograms_show_every_activation_layer_and_leave_the_net_alone(tmp_path):
    model = net()
    before, random = model.state_dict(), model[6].rng.bit_generator.state
    figure = plot.activations(model, X, tmp_path / "a.png")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["2 ReLU", "8 Tanh"]
    assert "% zero" in figure.axes[0].get_xlabel()
    figure = plot.gradients(model, X, Y, tmp_path / "g.png")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["2 ReLU", "8 Tanh"]
    figure = plot.gradients(model, X, Y, tmp_path / "w.png", of="weights", loss=fastnet.losses.MulticlassSVM())
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["0.weight", "7.weight", "9.weight"]
    figure = plot.activations(model, X, select=lambda layer: isinstance(layer, fastnet.Conv2d))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["0 Conv2d"]
    assert all(is_png(tmp_path / name) for name in ("a.png", "g.png", "w.png"))
    unchanged(before, model, random)
    with pytest.raises(RuntimeError, match="backward without a forward"):
        model.backward(np.ones((5, 7), np.float32))


def test_a_layer_that_gives_nan_is_drawn_and_named_as_such():
    model = fastnet.Sequential(fastnet.Linear(3, 4), fastnet.Tanh())
    figure = plot.activations(model, np.full((2, 3), np.nan, np.float32))
    assert "nothing finite" in figure.axes[0].get_xlabel()
    assert "8 not finite" in figure.axes[0].get_xlabel()
    linear = plot.activations(fastnet.Sequential(fastnet.Linear(3, 4)), np.ones((2, 3), np.float32))
    assert linear.axes[0].get_title(loc="left") == "0 Linear"


def test_saliency_is_the_slope_of_the_score_in_evaluation_mode(tmp_path):
    model, x = net(np.float64), X.astype(np.float64)
    before, random = model.state_dict(), model[6].rng.bit_generator.state
    found, classes = slopes(model, x, Y)
    np.testing.assert_array_equal(classes, Y)
    for n, i, j in [(0, 0, 0), (1, 3, 2), (4, 5, 3), (2, 2, 1)]:
        steps = []
        for c in range(3):
            scores = []
            for sign in (1, -1):
                moved = x.copy()
                moved[n, c, i, j] += sign * 1e-6
                scores.append(model.predict(moved)[n, Y[n]])
            steps.append(abs(scores[0] - scores[1]) / 2e-6)
        assert found[n, i, j] == pytest.approx(max(steps), rel=1e-5, abs=1e-8)
    assert (slopes(model, x)[1] == model.predict(x).argmax(1)).all()
    figure = plot.saliency(model, x, path=tmp_path / "s.png", names="abcdefg")
    assert len(figure.axes) == 10
    assert is_png(tmp_path / "s.png")
    unchanged(before, model, random)


def test_confusion_is_counted_from_scores_or_decisions():
    scores = np.eye(3)[[0, 2, 1, 1]]
    wanted = [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
    y = np.array([0, 1, 2, 0])
    np.testing.assert_array_equal(plot.confusion_matrix(scores, y), wanted)
    np.testing.assert_array_equal(plot.confusion_matrix(scores.argmax(1), y), wanted)
    assert plot.confusion_matrix(scores.argmax(1), y, 5).shape == (5, 5)


def test_mistakes_are_shown_the_surest_first(tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (4, 1, 6, 5), np.uint8)
    scores = np.array([[0, 3.0, 0], [9.0, 0, 0], [0, 0, 1.0], [5.0, 0, 0]])
    figure = plot.misclassified(x, scores, np.array([0, 0, 1, 2]), tmp_path / "m.png", names=["ant", "bee", "cat"])
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert [title.split(" (")[0] for title in titles] == ["cat → ant", "ant → bee", "bee → cat"]
    assert "3 of 4 wrong" in figure.get_suptitle()
    assert is_png(tmp_path / "m.png")
