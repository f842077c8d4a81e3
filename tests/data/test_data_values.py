"""Images whose numbers mean something else than 0 to 255: read as what they are, refused, or told."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from picture_files import noise, quiet
from PIL import Image

from benchmark.data.importing import import_dir
from benchmark.data.pictures import Values, read_picture, to_rgb, to_square, turned_by_exif
from benchmark.errors import BenchError

UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # TIFF's SampleFormat


def tiff(values: np.ndarray, kind: int, bits: int, turn: int = 1) -> bytes:
    """A grey TIFF with these bytes as they are."""
    height, width = values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (274, turn), (277, 1),
            (278, height), (279, values.nbytes), (339, kind)]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    return (
        b"II*\0"
        + struct.pack("<I", 8 + values.nbytes)
        + values.tobytes()
        + struct.pack("<H", len(tags))
        + directory
        + bytes(4)
    )


def ramp(kind: str, low: int, high: int) -> np.ndarray:
    return np.linspace(low, high, 32 * 32).astype(kind).reshape(32, 32)


REFUSED: dict[str, Callable[[], bytes]] = {
    "CT: 16 bits with a sign": lambda: tiff(ramp("<i2", -1000, 1040), SIGNED, 16),
    "16 bits with a sign, unused": lambda: tiff(ramp("<i2", 0, 1040), SIGNED, 16),
    "the same, turned": lambda: tiff(ramp("<i2", -1000, 1040), SIGNED, 16, turn=3),
    "8 bits with a sign": lambda: tiff(ramp("i1", -128, 127), SIGNED, 8),
    "32 bits from 0 to 255": lambda: tiff(ramp("<i4", 0, 255), SIGNED, 32),
    "32 bits from 0 to 65535": lambda: tiff(ramp("<u4", 0, 65535), UNSIGNED, 32),
    "floats": lambda: tiff(ramp("<f4", 0, 1), FLOAT, 32),
}


@pytest.mark.parametrize("how", REFUSED)
def test_values_of_which_nobody_knows_the_white_are_refused(tmp_path: Path, how: str) -> None:
    (tmp_path / "mine-test").mkdir()
    (tmp_path / "mine-test/a.tif").write_bytes(REFUSED[how]())
    said: list[str] = []
    with pytest.raises(BenchError, match="no images, nothing stored"):
        import_dir(tmp_path, tmp_path / "data", report=said.append)
    assert any("a.tif (" in line and "save it with 8 or 16 bits" in line for line in said)


def test_an_image_of_32_bits_in_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="with a sign or of 32 bits"):
        to_square(Image.fromarray(ramp("<i4", 0, 255)), 32)


def test_older_pillows_give_a_png_of_16_bits_in_32_and_it_may_be_turned() -> None:
    deep = Image.fromarray(noise(8, 8).astype(np.int32) * 257)
    deep.format = "PNG"
    deep.getexif()[0x0112] = 3
    read = np.asarray(to_rgb(turned_by_exif(deep)))
    assert np.array_equal(read[..., 0], noise(8, 8)[::-1, ::-1])


def test_known_depths_are_read_as_they_are(tmp_path: Path) -> None:
    grey = noise(32, 32)
    deep = grey.astype(">u2") * 257
    twelve = (grey[:, ::2].astype(int) << 4, grey[:, 1::2].astype(int) << 4)
    packed = np.stack([twelve[0] >> 4, (twelve[0] & 15) << 4 | twelve[1] >> 8, twelve[1] & 255], -1).astype(np.uint8)
    files = {
        "a.pgm": b"P5 32 32 65535\n" + deep.tobytes(),
        "b.pgm": b"P5 32 32 4095\n" + (grey.astype(int) * 16 + (grey >> 4)).astype(">u2").tobytes(),
        "c.tif": tiff(deep.astype("<u2"), UNSIGNED, 16),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    # 12 bits packed: two pixels in three bytes; the directory still says 32 by 32.
    body = tiff(np.zeros((32, 32), np.uint8), UNSIGNED, 12)
    head = struct.pack("<I", 8 + packed.nbytes)
    count = struct.pack("<HHII", 279, 4, 1, 1024), struct.pack("<HHII", 279, 4, 1, packed.nbytes)
    (tmp_path / "d.tif").write_bytes(b"II*\0" + head + packed.tobytes() + body[8 + 1024 :].replace(*count))
    Image.fromarray(deep.astype(np.uint16)).save(tmp_path / "e.png")
    for name in (*files, "d.tif", "e.png"):
        read = np.asarray(to_rgb(read_picture(str(tmp_path / name))))
        assert np.array_equal(read, np.repeat(grey[..., None], 3, 2)), name


def test_a_sixteenth_of_the_range_is_told_and_a_little_more_is_not() -> None:
    for low, high, told in ((0, 15, True), (0, 16, False), (200, 215, True), (200, 216, False), (7, 7, True)):
        values = Values()
        values.add(low, high)
        assert bool(values.narrow()) is told
        assert not told or f"from {low} to {high} of 0 to 255" in values.narrow()
    assert Values().narrow() == ""  # of no images
    both = Values()
    both.add(0, 10)
    both.add(100, 110)  # each of few values, but not the same
    assert both.narrow() == ""


def test_values_of_many_threads_and_all_channels() -> None:
    pictures = []
    for channel in range(3):
        pixels = np.full((8, 8, 3), 100, np.uint8)
        pixels[3, 4, channel] = 90 + 10 * channel
        pictures.append(Image.fromarray(pixels))
    values = Values()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(values.of, pictures * 50))
    assert (values.low, values.high) == (90, 110)


@pytest.mark.parametrize("form", ["12 bits in files of 16", "0 to 1 as whole numbers", "full"])
def test_an_import_tells_of_a_narrow_range(tmp_path: Path, form: str) -> None:
    if form == "0 to 1 as whole numbers":
        np.savez(tmp_path / "mine-test.npz", images=noise(6, 32, 32, 3) // 128, labels=np.zeros(6, int))
    else:
        (tmp_path / "mine-test").mkdir()
        for i in range(3):
            pixels = noise(48, 48, seed=i).astype(np.uint16) * (16 if form.startswith("12") else 257)
            Image.fromarray(pixels).save(tmp_path / f"mine-test/{i}.png")
    said: list[str] = []
    import_dir(tmp_path, tmp_path / "data", report=quiet, warn=said.append)
    told = [line for line in said if "a sixteenth of the range or less" in line and "multiply" in line]
    assert len(told) == (form != "full") and all(line.startswith("mine/test: ") for line in told)


def test_nobody_sees_what_pillow_warns_of(tmp_path: Path) -> None:
    """In a process of its own, for pytest has filters of its own."""
    (tmp_path / "mine-test").mkdir()
    content = io.BytesIO()
    Image.fromarray(noise(32, 32, 3)).save(content, "TIFF")
    cut = content.getvalue().replace(struct.pack("<HHI", 262, 3, 1), struct.pack("<HHI", 262, 3, 9), 1)
    (tmp_path / "mine-test/a.tif").write_bytes(cut)
    program = (
        "from PIL import Image; Image.MAX_IMAGE_PIXELS = 1000\n"
        "import sys; from pathlib import Path; from benchmark.data.importing import import_dir\n"
        "import warnings; warnings.warn('ours')\n"
        "import_dir(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    (tmp_path / "mine-test/b.png").write_bytes(content.getvalue())  # 1,024 pixels, above the limit
    words = [sys.executable, "-c", program, str(tmp_path), str(tmp_path / "data")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "Warning: ours" in done.stderr, done.stderr
    assert "PIL" not in done.stderr and "warnings.warn(\n" not in done.stderr, done.stderr
