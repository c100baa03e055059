"""After a fork the child computes on as many threads as its parent, and the same bits; it used to hang in libgomp."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

SETUP = """
import multiprocessing, os, signal, threading
import numpy as np
import fastnet
fastnet.set_num_threads(3)
x = np.random.default_rng(0).standard_normal((5, 16, 30, 28)).astype(np.float32)
layer = fastnet.Conv2d(16, 32, 3)

def work(_=None):
    signal.alarm(20)                       # a hang ends the process
    y = layer(x)
    dx = layer.backward(y)
    x @ x.transpose(0, 1, 3, 2)            # NumPy's own threads too
    return y.tobytes() + dx.tobytes() + layer.weight.grad.tobytes()
"""
PROGRAMS = {
    "a child, and its child": """
before = work()
for _ in range(3):
    child = os.fork()
    if child == 0:
        same = work() == before
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if work() == before else 5)
        os._exit(0 if same and os.waitpid(grandchild, 0)[1] == 0 else 4)
    assert os.waitpid(child, 0)[1] == 0
    assert work() == before
""",
    "a pool of processes": """
before = work()
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(work, range(6)) == [before] * 6
assert work() == before
""",
    "a fork in the middle of a recording": """
from fastnet import _ext
from fastnet.functional import capture
kernel = _ext.correlate.correlate
def slowly(array):
    recording.set()
    go_on.wait(10)
    return array
recording, go_on = threading.Event(), threading.Event()
thread = threading.Thread(target=lambda: capture.Program(slowly, np.ones(3, np.float32)))
thread.start()
recording.wait(10)
assert _ext.correlate.correlate is not kernel
child = os.fork()
if child == 0:
    signal.alarm(10)
    same = _ext.correlate.correlate is kernel
    capture.Program(lambda array: array, np.ones(3, np.float32))
    os._exit(0 if same else 3)
status = os.waitpid(child, 0)[1]
go_on.set()
thread.join()
assert status == 0 and _ext.correlate.correlate is kernel
""",
    "a fork in one thread while another computes": """
layer.eval()
wanted, stop = layer(x).tobytes(), threading.Event()
def compute():
    while not stop.is_set():
        assert layer(x).tobytes() == wanted
thread = threading.Thread(target=compute)
thread.start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if layer(x).tobytes() == wanted else 4)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
thread.join()
""",
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_work_goes_on_in_a_forked_child(program):
    run = [sys.executable, "-W", "ignore", "-c", SETUP + program + "print('done')"]
    found = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert found.stdout == "done\n", found.stderr
