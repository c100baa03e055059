"""predict: evaluation mode in batches, the mode as it was afterwards, several threads at once."""

import threading

import numpy as np
import pytest

from fastnet.layers.base import Layer


class Shift(Layer):
    """Adds 1 when training, 100 when not; remembers the batch sizes it saw."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, x):
        self.sizes.append(len(x))
        return x[:, :1] + np.float32(1 if self.training else 100)


class Both(Layer):
    def __init__(self):
        super().__init__()
        self.add_child("0", Shift())
        self.add_child("1", Shift())

    def forward(self, x):
        for layer in self.children():
            x = layer(x)
        return x


def test_predict_gives_all_scores_in_evaluation_mode_and_batches():
    net, x = Both(), np.arange(22, dtype=np.float32).reshape(11, 2)
    np.testing.assert_array_equal(net.predict(x, batch_size=4), x[:, :1] + 200)
    assert net.children()[0].sizes == [4, 4, 3]
    assert net.predict(x[:0]).shape == (0, 1)


def test_predict_brings_back_every_layers_own_mode_even_after_an_error():
    net, x = Both(), np.ones((3, 2), np.float32)
    net.children()[1].eval()
    net.predict(x)
    assert [layer.training for layer in net.modules()] == [True, True, False]
    with pytest.raises(TypeError):
        net.predict([[1.0]])
    with pytest.raises(ValueError, match="batch_size"):
        net.predict(x, batch_size=0)
    net.children()[0].forward = None
    with pytest.raises(TypeError):
        net.predict(x)
    assert [layer.training for layer in net.modules()] == [True, True, False]


def test_predict_in_eight_threads_gives_equal_scores_and_the_old_mode():
    net, x, results = Both(), np.arange(3000, dtype=np.float32).reshape(1500, 2), []
    threads = [threading.Thread(target=lambda: results.append(net.predict(x, batch_size=7))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    for scores in results:
        np.testing.assert_array_equal(scores, x[:, :1] + 200)
    assert net.training
