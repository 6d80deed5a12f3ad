"""One photo has the same pixels as a path, as bytes, as an open file, as a Pillow image and in the example."""

import importlib.util
import io
import struct
import sys
import types
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kdistill.data import Image, UnreadableImage
from kdistill.data.decoding import photo_pixels

EXAMPLE = Path(__file__).parents[2] / "export" / "examples" / "python" / "search.py"
HEIGHT, WIDTH = 6, 9
ORIENTATION = 0x0112

# How the pixels lie in the file, for each value of the EXIF tag "Orientation": row 0 and column 0 by the standard.
STORED = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: np.swapaxes(pixels, 0, 1),
    6: lambda pixels: np.swapaxes(pixels, 0, 1)[::-1],
    7: lambda pixels: np.swapaxes(pixels, 0, 1)[::-1, ::-1],
    8: lambda pixels: np.swapaxes(pixels, 0, 1)[:, ::-1],
}
TRANSPOSED = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's numbers for the same
RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
GREY = COLOURS[..., 0]
ALPHA = RANDOM.integers(1, 256, (HEIGHT, WIDTH), np.uint8)
DEEP = RANDOM.integers(0, 65536, (HEIGHT, WIDTH), np.uint16)
PALETTE = RANDOM.integers(0, 256, (256, 3), np.uint8)


def three(grey):
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)


def with_palette(mode):
    image = PIL.Image.fromarray(GREY).convert("L")
    image.putpalette(PALETTE.tobytes())
    if mode == "PA":
        image = image.convert("PA")
        image.putalpha(PIL.Image.fromarray(ALPHA))
    return image


def deep(mode):
    if mode == "I;16":
        return PIL.Image.fromarray(DEEP)
    return PIL.Image.frombytes(mode, (WIDTH, HEIGHT), DEEP.astype(">u2" if mode == "I;16B" else "<u2").tobytes())


def whole(values, alpha):
    """The colour of a premultiplied value, as Pillow rounds it."""
    return np.minimum(255, 255 * values.astype(int) // alpha)


def cmyk_to_rgb(values):
    # Pillow's: each of 255 - c, m, y scaled by 255 - k, with its rounding of a division by 255.
    product = (255 - values[..., :3].astype(int)) * (255 - values[..., 3:].astype(int)) + 128
    return ((product >> 8) + product) >> 8


CMYK = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
RGBA = np.dstack([COLOURS, ALPHA])
FOUR = dict(RGBA=RGBA, RGBa=RGBA, RGBX=RGBA, CMYK=CMYK)


def build(mode):
    """Returns a Pillow image of a mode and the pixels that it shows."""
    if mode in ("P", "PA"):
        return with_palette(mode), PALETTE[GREY]
    if mode.startswith("I;16"):
        return deep(mode), three(DEEP >> 8)
    if mode == "1":
        return PIL.Image.fromarray(GREY > 127), three(np.where(GREY > 127, 255, 0))
    if mode == "L":
        return PIL.Image.fromarray(GREY), three(GREY)
    if mode in ("LA", "La"):
        image = PIL.Image.merge("LA", [PIL.Image.fromarray(GREY), PIL.Image.fromarray(ALPHA)])
        if mode == "LA":
            return image, three(GREY)
        image = image.convert("La")
        return image, three(whole(np.asarray(image)[..., 0], ALPHA))
    if mode in FOUR:
        image = PIL.Image.frombytes(mode, (WIDTH, HEIGHT), FOUR[mode].tobytes())
        if mode == "CMYK":
            return image, cmyk_to_rgb(CMYK).astype(np.uint8)
        return image, COLOURS if mode != "RGBa" else whole(COLOURS, ALPHA[..., None]).astype(np.uint8)
    image = PIL.Image.frombytes(mode, (WIDTH, HEIGHT), COLOURS.tobytes())
    # No formula of ours: Pillow's own conversion of a picture that nothing was done to.
    return image, np.asarray(image.convert("RGB"))


MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"] + [
    f"I;16{order}" for order in ("", "L", "B", "N")
]
FILES = {  # what each format can hold
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "tif": ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I;16", "I;16B"),
    "webp": ("RGB", "RGBA"),
}


@pytest.fixture(scope="module")
def example():
    """The example's function; its runtime is not needed for it."""
    fake = types.ModuleType("ai_edge_litert.interpreter")
    fake.Interpreter = None
    replaced = {"ai_edge_litert": types.ModuleType("ai_edge_litert"), "ai_edge_litert.interpreter": fake}
    with pytest.MonkeyPatch.context() as patch:
        for name, module in replaced.items():
            patch.setitem(sys.modules, name, module)
        spec = importlib.util.spec_from_file_location("search_example", EXAMPLE)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return lambda photo: np.asarray(module.upright_rgb(photo))


def exif_of(orientation):
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def turned(image, orientation):
    method = TRANSPOSED[orientation]
    return image if method is None else image.transpose(PIL.Image.Transpose(method))


def assert_same_everywhere(path, expected, example):
    name = f"{path.name}"
    found = {
        "image": Image(name, path=path).pixels(),
        "path": photo_pixels(path),
        "text": photo_pixels(str(path)),
        "bytes": photo_pixels(path.read_bytes()),
        "memory": photo_pixels(memoryview(path.read_bytes())),
        "buffer": photo_pixels(io.BytesIO(path.read_bytes())),
    }
    with open(path, "rb") as file:
        file.seek(7)
        found["open file"] = photo_pixels(file)
    with PIL.Image.open(path) as image:
        found["lazy"] = photo_pixels(image)
        found["read before"] = photo_pixels(image)
        assert image.filename == str(path)
    for what, read in (("pillow", photo_pixels), ("example", example)):
        # From memory: Pillow's own loading turns some TIFF files wrongly when it knows their name.
        with PIL.Image.open(io.BytesIO(path.read_bytes())) as image:
            found[f"lazy, {what}"] = read(image)
        with PIL.Image.open(io.BytesIO(path.read_bytes())) as image:
            image.load()
            found[f"loaded, {what}"] = read(image)
            found[f"again, {what}"] = read(image)
            if image.mode != "I":  # a copy does not know the format, which says how far these integers reach
                found[f"copied, {what}"] = read(image.copy())
    for what, pixels in found.items():
        assert pixels.dtype == np.uint8, what
        np.testing.assert_array_equal(pixels, expected, err_msg=f"{name} as {what}")


def test_the_table_of_orientations_is_the_standards():
    # Orientation 6: row 0 of the file is the right side of the picture, column 0 its top.
    assert STORED[6](np.array([[1, 2], [3, 4]])).tolist() == [[2, 4], [1, 3]]
    for orientation, store in STORED.items():
        image = turned(PIL.Image.fromarray(COLOURS), orientation)
        np.testing.assert_array_equal(np.asarray(image), store(COLOURS))


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_and_orientation_in_memory(mode, orientation, example):
    image, expected = build(mode)
    assert image.mode == mode
    image = turned(image, orientation)
    for bare in (image, image.copy()):
        np.testing.assert_array_equal(photo_pixels(bare), STORED[orientation](expected))
        np.testing.assert_array_equal(example(bare), STORED[orientation](expected))
    tagged = image.copy()
    tagged.info["exif"] = exif_of(orientation).tobytes()
    np.testing.assert_array_equal(photo_pixels(tagged), expected)
    np.testing.assert_array_equal(example(tagged), expected)
    assert tagged.mode == mode  # the caller's picture is as it was
    assert tagged.size == STORED[orientation](expected).shape[1::-1]
    np.testing.assert_array_equal(np.asarray(tagged), np.asarray(image))


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(("suffix", "mode"), [(suffix, mode) for suffix, modes in FILES.items() for mode in modes])
def test_every_mode_and_orientation_in_a_file(tmp_path, suffix, mode, orientation, example):
    image, expected = build(mode)
    path = tmp_path / f"photo.{suffix}"
    options = {"tif": dict(tiffinfo={ORIENTATION: orientation}), "png": {}, "webp": dict(lossless=True, exact=True)}
    exif = {} if suffix == "tif" else dict(exif=exif_of(orientation))
    turned(image, orientation).save(path, **options[suffix], **exif)
    assert_same_everywhere(path, expected, example)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpegs(tmp_path, mode, orientation, example):
    shades = np.full((8, 16), 40, np.uint8)
    shades[:, 8:] = 200
    path = tmp_path / "photo.JPG"
    turned(PIL.Image.fromarray(shades).convert(mode), orientation).save(
        path, "JPEG", quality=95, exif=exif_of(orientation)
    )
    pixels = photo_pixels(path)
    np.testing.assert_allclose(pixels, three(shades), atol=3)
    assert_same_everywhere(path, pixels, example)


def test_orientation_in_xmp_alone(tmp_path, example):
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    turned(PIL.Image.fromarray(COLOURS), 6).save(tmp_path / "photo.webp", lossless=True, xmp=xmp)
    assert_same_everywhere(tmp_path / "photo.webp", COLOURS, example)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_the_first_frame_of_an_animation(tmp_path, suffix, example):
    frames = [PIL.Image.new("RGB", (WIDTH, HEIGHT), (shade, 0, 0)) for shade in (255, 0)]
    options = dict(lossless=True) if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    assert_same_everywhere(tmp_path / f"a.{suffix}", np.asarray(frames[0]), example)


def test_colours_under_transparency_are_kept(tmp_path, example):
    clear = np.dstack([COLOURS, np.zeros((HEIGHT, WIDTH), np.uint8)])
    PIL.Image.fromarray(clear).save(tmp_path / "clear.png")
    assert_same_everywhere(tmp_path / "clear.png", COLOURS, example)
    with_palette("P").save(tmp_path / "clear palette.png", transparency=int(GREY[0, 0]))
    assert_same_everywhere(tmp_path / "clear palette.png", PALETTE[GREY], example)


def tiff(values, *, photometric=1, planar=1, kind=1, bits=None, order="<", extra=(), packed=None):
    """An uncompressed TIFF of [H, W] or [H, W, C]; `kind` is its SampleFormat."""
    array = values if values.ndim == 3 else values[..., None]
    height, width, channels = array.shape
    stored = array.astype(array.dtype.newbyteorder(order))
    planes = [stored] if planar == 1 else [stored[..., channel] for channel in range(channels)]
    strips = [packed] if packed else [np.ascontiguousarray(plane).tobytes() for plane in planes]
    bits = bits or array.dtype.itemsize * 8
    tags = [(256, "I", [width]), (257, "I", [height]), (258, "H", [bits] * channels), (259, "H", [1])]
    tags += [(262, "H", [photometric]), (273, "I", [0] * len(strips)), (277, "H", [channels]), (278, "I", [height])]
    tags += [(279, "I", [len(strip) for strip in strips]), (284, "H", [planar])]
    tags += [(338, "H", list(extra))] if extra else []
    tags += [(339, "H", [kind] * channels)]
    start = 8 + 2 + 12 * len(tags) + 4
    later = sum(struct.calcsize(f"<{len(v)}{t}") for _, t, v in tags if struct.calcsize(f"<{len(v)}{t}") > 4)
    places = np.cumsum([start + later] + [len(strip) for strip in strips])[:-1].tolist()
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(tags))
    outside = b""
    for tag, letter, numbers in tags:
        content = struct.pack(f"{order}{len(numbers)}{letter}", *(places if tag == 273 else numbers))
        head += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[letter], len(numbers))
        head += content.ljust(4, b"\0") if len(content) <= 4 else struct.pack(f"{order}I", start + len(outside))
        outside += content if len(content) > 4 else b""
    return head + bytes(4) + outside + b"".join(strips)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bit_tiffs_keep_their_upper_eight_bits(tmp_path, channels, order, example):
    values = RANDOM.integers(0, 65536, (HEIGHT, WIDTH, channels), np.uint16)
    path = tmp_path / "deep.tif"
    path.write_bytes(tiff(values, photometric=1 if channels == 1 else 2, order=order, extra=(2,) * (channels == 4)))
    upper = (values >> 8).astype(np.uint8)
    assert_same_everywhere(path, three(upper[..., 0]) if channels == 1 else upper[..., :3], example)


def deep_png(values):
    """A PNG of 16 bits a channel: [H, W, C] with C 1 grey, 2 with alpha, 3 colour, 4 with alpha."""
    import zlib

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bit_pngs_keep_their_upper_eight_bits(tmp_path, channels, example):
    values = RANDOM.integers(0, 65536, (HEIGHT, WIDTH, channels), np.uint16)
    (tmp_path / "deep.png").write_bytes(deep_png(values))
    upper = (values >> 8).astype(np.uint8)
    expected = three(upper[..., 0]) if channels < 3 else upper[..., :3]
    assert_same_everywhere(tmp_path / "deep.png", expected, example)


@pytest.mark.parametrize("most", [255, 65535, 1023])
def test_grey_maps_by_the_range_that_they_state(tmp_path, most, example):
    values = RANDOM.integers(0, most + 1, (HEIGHT, WIDTH))
    values[0, :2] = 0, most
    packed = values.astype(">u2" if most > 255 else np.uint8).tobytes()
    (tmp_path / "grey.pgm").write_bytes(f"P5 {WIDTH} {HEIGHT} {most}\n".encode() + packed)
    expected = values if most == 255 else np.round(values / most * 65535).astype(int) >> 8
    assert_same_everywhere(tmp_path / "grey.pgm", three(expected), example)


FLOATS = np.linspace(0, 1, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
SMALL = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
REFUSED = {
    "float": (tiff(FLOATS, kind=3), "floating-point"),
    "float of another order": (tiff(FLOATS, kind=3, order=">"), "floating-point"),
    "float, zero is white": (tiff(FLOATS, kind=3, photometric=0), "floating-point"),
    "float of 0 to 255": (tiff(FLOATS * 255, kind=3), "floating-point"),
    "integers": (tiff(SMALL.astype(np.int32), kind=2), "integers of 32 bits"),
    "integers without a sign": (tiff(SMALL.astype(np.uint32)), "integers of 32 bits"),
    "short integers": (tiff(SMALL.astype(np.int16), kind=2), "with a sign"),
    "bytes with a sign": (tiff(SMALL.astype(np.int8), kind=2), "with a sign"),
    "12 bits": (tiff(SMALL, bits=12, packed=bytes(HEIGHT * ((WIDTH * 12 + 7) // 8))), "12-bit grey"),
    "16 bits, zero is white": (tiff(DEEP, photometric=0), "zero is white"),
    "16 bits in planes": (tiff(np.dstack([DEEP] * 3), photometric=2, planar=2), "separate planes"),
    "portable float map": (b"Pf\n9 6\n-1.0\n" + FLOATS.tobytes(), "floating-point"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_unit_is_never_guessed(tmp_path, case, example):
    content, words = REFUSED[case]
    path = tmp_path / "scan.tif"
    path.write_bytes(content)
    for read in (photo_pixels, lambda given: Image("scan.tif", path=given).pixels()):
        with pytest.raises(UnreadableImage, match=rf"scan\.tif' holds .*{words}.*; save it as"):
            read(path)
    with PIL.Image.open(path) as image:
        with pytest.raises(UnreadableImage, match=words):
            photo_pixels(image)
        with pytest.raises(SystemExit, match="which of its values is white"):
            example(image)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pillow_images_without_a_known_range(mode, example):
    image = PIL.Image.new(mode, (4, 4), 200)
    with pytest.raises(UnreadableImage, match="which of them is white; save it as"):
        photo_pixels(image)
    with pytest.raises(SystemExit):
        example(image)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "NoneType was given"),
        (3, "int was given"),
        (np.zeros((4, 4), np.uint8), r"this one is uint8 \[4, 4\]"),
        (np.zeros((4, 4, 4), np.uint8), r"this one is uint8 \[4, 4, 4\]"),
        (np.zeros((4, 4, 3), np.float32), "this one is float32"),
        (np.zeros((0, 4, 3), np.uint8), r"this one is uint8 \[0, 4, 3\]"),
        (b"", "it is empty"),
        (b"no image", "no image of a known kind"),
        (bytes(4) + b"ftypheic" + bytes(40), "a HEIC photo, which is not read here; convert it to JPEG"),
        (bytes(4) + b"ftypavif" + bytes(40), "an AVIF photo"),
        (b"%PDF-1.7", "a PDF"),
        ("nowhere/photo.jpg", "nowhere/photo.jpg cannot be read: No such file"),
        (Path("a\0b.jpg"), "cannot be read"),
        (Path(__file__).parent, "not a regular file|Is a directory"),
        (io.StringIO("text"), "opened as text; open it with mode 'rb'"),
        (io.BytesIO(b""), "it is empty"),
    ],
)
def test_what_is_no_photo_is_refused_in_a_sentence(given, words):
    with pytest.raises(UnreadableImage, match=words):
        photo_pixels(given)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "RGB"])
def test_a_turned_tiff_that_pillow_confuses_while_loading_is_refused(tmp_path, mode, orientation):
    path = tmp_path / "scan.tif"
    build(mode)[0].save(path, exif=exif_of(orientation))
    expected = photo_pixels(path)
    with PIL.Image.open(path) as image:
        image.load()  # by its name, where Pillow maps some modes into memory and confuses the sides of turned ones
        if mode != "RGB" and orientation > 4:
            with pytest.raises(UnreadableImage, match=r"confuses the sides .*; give the path"):
                photo_pixels(image)
        else:
            np.testing.assert_array_equal(photo_pixels(image), expected)


def test_closed_files_are_refused_in_a_sentence(tmp_path):
    path = tmp_path / "a.png"
    PIL.Image.fromarray(COLOURS).save(path)
    with open(path, "rb") as file, PIL.Image.open(path) as image:
        pass
    for given, words in ((file, "closed file"), (image, "it was closed before its pixels were loaded")):
        with pytest.raises(UnreadableImage, match=words):
            photo_pixels(given)


@pytest.mark.parametrize("megapixels", [0.00005, 200, 10_000])
def test_the_limit_is_the_one_that_was_given(tmp_path, monkeypatch, megapixels):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 20)  # Pillow refuses twice as much: 54 pixels are too many
    path = tmp_path / "a.png"
    PIL.Image.fromarray(COLOURS).save(path)
    readers = [
        lambda: photo_pixels(path, megapixels),
        lambda: photo_pixels(path.read_bytes(), megapixels),
        lambda: Image("a", path=path, max_megapixels=megapixels).pixels(),
    ]
    for read in readers:
        if megapixels < 1:
            with pytest.raises(UnreadableImage, match=r"more than the 5e-05 million .*--max_megapixels"):
                read()
        else:
            np.testing.assert_array_equal(read(), COLOURS)
        assert PIL.Image.MAX_IMAGE_PIXELS == 20
    image = PIL.Image.fromarray(COLOURS)
    if megapixels < 1:
        with pytest.raises(UnreadableImage, match=r"9 x 6 pixels .* more than the 5e-05 million .*--max_megapixels"):
            photo_pixels(image, megapixels)
    else:
        np.testing.assert_array_equal(photo_pixels(image, megapixels), COLOURS)
