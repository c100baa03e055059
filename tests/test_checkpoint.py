"""Files of arrays: what goes in comes out, damage is found, and a failed save leaves the old file."""

import errno
import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest

from fastnet import checkpoint, files, safetensors
from fastnet.checkpoint import Checkpoint, load, load_settings, pack, save, unpack
from fastnet.errors import FormatError


def small_state():
    rng = np.random.default_rng(5)
    return {
        "0.weight": rng.standard_normal((3, 2, 5)).astype(np.float32),
        "0.bias": rng.standard_normal(3),
        "1.num_batches_tracked": np.array(7, np.int64),
        "mask": np.array([True, False, True]),
    }


def raw(header, data=b""):
    """A file with this header (text or an object) and these bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize("kind", ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"])
@pytest.mark.parametrize("shape", [(), (0,), (4, 0, 3), (2, 3, 5)])
def test_every_dtype_and_shape_comes_back_as_it_was(tmp_path, kind, shape):
    array = np.random.default_rng(1).integers(0, 2, shape).astype(kind)
    save({"x": array, "other": np.ones(3, np.float32)}, tmp_path / "f")
    back = load(tmp_path / "f")["x"]
    assert back.dtype == array.dtype
    assert back.shape == shape
    assert back.tobytes() == array.tobytes()


def test_any_memory_layout_is_saved_by_its_values(tmp_path):
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {
        "fortran": np.asfortranarray(x),
        "swapped": x.astype(">f4"),
        "back": x[::-1, ::-2],
        "broad": np.broadcast_to(x, (5, 2, 3, 4)),
    }
    save(arrays, tmp_path / "f")
    for name, back in load(tmp_path / "f").items():
        np.testing.assert_array_equal(back, arrays[name])
        assert back.dtype == np.float32


def test_settings_come_back_and_a_file_without_has_none(tmp_path):
    settings = {"model": "lenet", "size": [1, 28, 28], "rate": 0.1, "big": 1 << 127, "text": 'é " \\'}
    save(small_state(), tmp_path / "f", settings)
    assert load_settings(tmp_path / "f")[1] == settings
    save(small_state(), tmp_path / "g")
    assert load_settings(tmp_path / "g")[1] == {}


def test_the_official_library_agrees(tmp_path):
    official = pytest.importorskip("safetensors.numpy")
    save(small_state(), tmp_path / "f", {"a": 1})
    theirs = official.load_file(tmp_path / "f")
    official.save_file(theirs, tmp_path / "g")
    for name, array in load(tmp_path / "g").items():
        np.testing.assert_array_equal(array, small_state()[name])


def test_bfloat16_is_widened_exactly(tmp_path):
    values = np.array([1.0, -2.5, np.inf, 0.15625], np.float32)
    data = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    (tmp_path / "f").write_bytes(raw({"x": entry("BF16", (4,), (0, 8))}, data))
    np.testing.assert_array_equal(load(tmp_path / "f")["x"], values)


def test_every_truncation_is_a_format_error(tmp_path):
    save(small_state(), tmp_path / "f", {"a": 1})
    whole = (tmp_path / "f").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "g").write_bytes(whole[:length])
        with pytest.raises(FormatError):
            load(tmp_path / "g")
    (tmp_path / "g").write_bytes(whole + b"\0")
    with pytest.raises(FormatError):
        load(tmp_path / "g")


def test_every_flipped_bit_of_a_small_file_is_found(tmp_path):
    save(small_state(), tmp_path / "f", {"rate": 0.125, "model": "lenet"})
    whole = (tmp_path / "f").read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "g").write_bytes(flipped)
        with pytest.raises(FormatError):
            load_settings(tmp_path / "g")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "8 bytes"),
        (b"\xff" * 8, "bytes"),
        (struct.pack("<Q", 1 << 40) + b"{}", "only 2 follow"),
        (raw(b"[]"), "start with"),
        (raw(b"{"), "JSON"),
        (raw(b'{"x":NaN}'), "NaN"),
        (raw(b'{"\xff":1}'), "JSON"),
        (raw(b'{"a":' * 100_000), "JSON"),
        (raw(b'{"x":' + b"9" * 10_000 + b"}"), "JSON"),
        (raw(b'{"__metadata__":{"a":1}}'), "text by name"),
        (raw(b'{"__metadata__":[]}'), "text by name"),
        (raw(b'{"__metadata__":{},"__metadata__":{}}'), "twice"),
        (raw({"x": [1]}), "data_offsets"),
        (raw({"x": {**entry(), "more": 1}}, b"\0" * 8), "data_offsets"),
        (raw({"x": entry("F31")}, b"\0" * 8), "F31"),
        (raw({"x": entry(["F32"])}, b"\0" * 8), "F32"),
        (raw({"x": entry(shape=(-2,))}, b"\0" * 8), "shape"),
        (raw({"x": entry(shape=(2.0,))}, b"\0" * 8), "shape"),
        (raw({"x": entry(shape=(True, 2))}, b"\0" * 8), "shape"),
        (raw({"x": entry(shape=(2, *[1] * 40))}, b"\0" * 8), "shape"),
        (raw({"x": entry(shape=(0, 1 << 62), offsets=(0, 0))}), "larger than any array"),
        (raw({"x": entry(shape=(1 << 62,), offsets=(0, 1 << 64))}), "larger than any array"),
        (raw({"x": entry(shape=(3,))}, b"\0" * 8), "is not F32"),
        (raw({"x": entry(offsets=(0, 8, 8))}, b"\0" * 8), "data_offsets"),
        (raw({"x": entry(offsets=(8, 0))}, b"\0" * 8), "bytes"),
        (raw({"x": entry(offsets=(4, 12))}, b"\0" * 12), "gap"),
        (raw({"x": entry(), "y": entry(offsets=(4, 12))}, b"\0" * 12), "overlap"),
        (raw({"x": entry(), "y": entry(offsets=(16, 24))}, b"\0" * 24), "gap"),
        (raw({"x": entry()}, b"\0" * 9), "appended"),
        (raw({"x": entry()}, b"\0" * 7), "cut off"),
        (raw({"x": entry("BOOL", (2,), (0, 2))}, b"\1\2"), "BOOL"),
    ],
)
def test_hostile_files_get_a_format_error_that_says_why(tmp_path, content, complaint):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(FormatError, match=complaint):
        load(tmp_path / "f")


def test_settings_that_are_no_object_are_a_format_error(tmp_path):
    for text in ("[]", "{", "[" * 100_000):
        safetensors.write(tmp_path / "f", {}, {checkpoint.SETTINGS: text})
        with pytest.raises(FormatError, match="settings"):
            load_settings(tmp_path / "f")


@pytest.mark.parametrize(
    ("state", "settings", "complaint"),
    [
        (3, None, "mapping"),
        ({"x": [1.0]}, None, "NumPy array"),
        ({"x": np.array([object()])}, None, "object"),
        ({"x": np.ones(2, complex)}, None, "complex"),
        ({"__metadata__": np.ones(2)}, None, "name"),
        ({1: np.ones(2)}, None, "name"),
        ({"x": np.ones(2)}, {"a": np.ones(2)}, "JSON"),
        ({"x": np.ones(2)}, {"a": float("nan")}, "JSON"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_leaves_the_file(tmp_path, state, settings, complaint):
    save(small_state(), tmp_path / "f")
    before = (tmp_path / "f").read_bytes()
    with pytest.raises((TypeError, ValueError), match=complaint):
        save(state, tmp_path / "f", settings)
    assert (tmp_path / "f").read_bytes() == before
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_failing_system_call_leaves_the_old_file_whole(tmp_path, monkeypatch, call, code):
    save(small_state(), tmp_path / "f")
    before = (tmp_path / "f").read_bytes()

    def fail(*_arguments, **_options):
        raise OSError(code, os.strerror(code))

    if call == "open":
        monkeypatch.setattr(files, "open", fail, raising=False)
    else:
        monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(OSError, match=re_escape(os.strerror(code))):
        save({"x": np.zeros(9)}, tmp_path / "f")
    monkeypatch.undo()
    assert (tmp_path / "f").read_bytes() == before
    assert os.listdir(tmp_path) == ["f"]
    save({"x": np.zeros(9)}, tmp_path / "f")  # and the next save works
    assert load(tmp_path / "f")["x"].shape == (9,)


def re_escape(text):
    return text.replace("(", r"\(").replace(")", r"\)")


def test_a_full_disk_leaves_the_old_file_whole(tmp_path):
    resource = pytest.importorskip("resource")
    assert resource
    save(small_state(), tmp_path / "f")
    before = (tmp_path / "f").read_bytes()
    script = (
        "import resource, signal, sys, numpy as np\n"
        "from fastnet.checkpoint import save\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n    save({'x': np.zeros(10_000)}, sys.argv[1])\n"
        "except OSError:\n    print('refused')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "f")], capture_output=True, text=True, check=True
    )
    assert run.stdout == "refused\n"
    assert (tmp_path / "f").read_bytes() == before
    assert os.listdir(tmp_path) == ["f"]


def test_a_save_through_a_link_writes_the_file_behind_it(tmp_path):
    (tmp_path / "real").mkdir()
    save(small_state(), tmp_path / "real" / "f")
    os.symlink(tmp_path / "real" / "f", tmp_path / "link")
    save({"x": np.ones(4)}, tmp_path / "link")
    assert os.path.islink(tmp_path / "link")
    assert load(tmp_path / "real" / "f")["x"].shape == (4,)


def test_pack_and_unpack_are_inverse():
    tree = {"a": [1, 2.5, None, np.arange(3)], "b": {"c": np.float32(0.5), "d": float("-inf")}, "e": "text", "f": True}
    packed, arrays = pack(tree, "top")
    back = unpack(json.loads(json.dumps(packed, allow_nan=False)), arrays)
    assert list(arrays) == ["top/a/3"]
    np.testing.assert_array_equal(back["a"].pop(), np.arange(3))
    assert back == {"a": [1, 2.5, None], "b": {"c": 0.5, "d": float("-inf")}, "e": "text", "f": True}
    with pytest.raises(FormatError, match="missing"):
        unpack(packed, {})
    with pytest.raises(FormatError, match="missing"):
        unpack({"@": [1]}, arrays)


def test_a_checkpoint_is_due_by_epochs_and_by_steps():
    both = Checkpoint("f", every_epochs=2, every_steps=5)
    assert [step for step in range(1, 13) if both.due(step, step // 3 if step % 3 == 0 else None)] == [5, 6, 10, 12]
    never = Checkpoint("f", every_epochs=None)
    assert not never.due(4, 4)


def test_a_checkpoint_pattern_keeps_the_latest_files(tmp_path):
    several = Checkpoint(tmp_path / "run" / "{step:03d}.safetensors", keep=2)
    for step in (1, 2, 3, 3):
        several.write({"x": np.full(2, step)}, {}, step=step, epoch=0)
    assert sorted(os.listdir(tmp_path / "run")) == ["002.safetensors", "003.safetensors"]


def test_a_checkpoint_refuses_settings_that_contradict():
    with pytest.raises(ValueError, match="keep=3 needs"):
        Checkpoint("f", keep=3)
    for bad in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="every_steps"):
            Checkpoint("f", every_steps=bad)
