"""What each image set is: its role, source, licence, official counts, and how it becomes 32x32. Facts only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from benchmark.errors import BenchError

_SQUARE = "RGB, central square, PIL bicubic with antialias to 32x32"
_FIX = "RGB, shorter side to 256, central 256x256, then 32x32, PIL bicubic with antialias (CSI's artefact-free recipe)"
_NATIVE = "32x32 as published, untouched"


@dataclass(frozen=True)
class SetInfo:
    """One image set.

    title: as in the paper's tables. roles: "id", "aux", "ood". counts: split -> official number of images, None where
    none is known. checksum: file -> md5. recipe: how the originals become 32x32. how_to_get: one line, shown in errors.
    near_for: the in-distribution sets for which it is near OOD. stands_for: the paper's set that it replaces, if any.
    taken_from: the larger collection that its images are from; "" where it is one of its own.
    builtin: drawn by `benchmark.data.synthetic` on demand.
    """

    name: str
    title: str
    roles: tuple[str, ...]
    counts: Mapping[str, int | None]
    source: str = ""
    licence: str = ""
    checksum: Mapping[str, str] = field(default_factory=dict)
    recipe: str = _SQUARE
    how_to_get: str = ""
    near_for: tuple[str, ...] = ()
    stands_for: str | None = None
    taken_from: str = ""
    notes: str = ""
    builtin: bool = False


def _prepare(name: str, size: str) -> str:
    return f"`bench data prepare {name}` downloads it ({size}); with `--source DIR` it reads unpacked files you have"


def _by_hand(name: str, what: str) -> str:
    return f"by hand: {what}, then `bench data prepare {name} --source PATH`"


def _import(name: str, split: str) -> str:
    return f"bring it yourself: `bench data import DIR` with {name}-{split}.npz or a folder {name}-{split}/ in DIR"


def _builtin(
    name: str, title: str, role: str, counts: dict[str, int | None], what: str, near: tuple[str, ...] = ()
) -> SetInfo:
    return SetInfo(
        name, title, (role,), counts, source="benchmark/data/synthetic.py", licence="Apache-2.0 (part of this package)",
        recipe="drawn at 32x32", how_to_get="built in, drawn when first used", near_for=near, notes=what, builtin=True,
    )  # fmt: skip


_SETS = (
    SetInfo(
        "cifar10", "CIFAR10", ("id", "ood"), {"train": 50_000, "test": 10_000},
        source="https://www.cs.toronto.edu/~kriz/cifar.html", licence="none stated; free to download for research",
        checksum={"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"}, recipe=_NATIVE,
        how_to_get=_prepare("cifar10", "170 MB"), near_for=("cifar100",),
    ),
    SetInfo(
        "cifar100", "CIFAR100", ("id", "ood"), {"train": 50_000, "test": 10_000},
        source="https://www.cs.toronto.edu/~kriz/cifar.html", licence="none stated; free to download for research",
        checksum={"cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85"}, recipe=_NATIVE,
        how_to_get=_prepare("cifar100", "169 MB"), near_for=("cifar10",),
    ),
    SetInfo(
        "svhn", "SVHN", ("ood",), {"test": 26_032},
        source="http://ufldl.stanford.edu/housenumbers", licence="non-commercial use only",
        checksum={"test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3"}, recipe=_NATIVE,
        how_to_get=_prepare("svhn", "64 MB"),
        notes="very smooth images: sharpness alone separates it from CIFAR10",
    ),
    SetInfo(
        "imagenet30", "ImageNet30", ("ood",), {"test": 3_000},
        source="https://www.image-net.org (30 of its ILSVRC12 classes)", licence="research only, terms of access",
        recipe=_FIX,
        how_to_get=_by_hand("imagenet30", "get ILSVRC12 from image-net.org under its terms, one folder a wnid"),
        notes="30 classes by wnid (IMAGENET30); the ILSVRC12 validation tree has 50 images per class, 1,500 in all. "
        "CSI leaves out airliner, ambulance, parking meter and schooner against CIFAR10; they are kept here, as 30 "
        "were published",
        taken_from="ImageNet",
    ),
    SetInfo(
        "tinyimagenet", "TinyImageNet", ("ood",), {"test": 10_000},
        source="http://cs231n.stanford.edu/tiny-imagenet-200.zip", licence="research only (ImageNet's terms)",
        checksum={"tiny-imagenet-200.zip": "90528d7ca1a48142e341f4ef8d21d0de"},
        how_to_get=_by_hand("tinyimagenet", "get tiny-imagenet-200.zip from cs231n.stanford.edu"),
        notes="the 10,000 labelled validation images (the test split has no labels); 64x64 JPEG, halved in size",
        taken_from="ImageNet",
    ),
    SetInfo(
        "lsun", "LSUN", ("ood",), {"test": 10_000},
        source="https://www.yf.io/p/lsun", licence="research only", recipe=_FIX,
        how_to_get=_by_hand("lsun", "export the scenes' LMDB to image files, one folder a scene (or one flat folder)"),
        notes="ten scenes (LSUN_SCENES). LSUN_resize of older work has resampling artefacts and is not this set",
    ),
    SetInfo(
        "stl10", "STL10", ("ood",), {"test": 8_000},
        source="https://cs.stanford.edu/~acoates/stl10", licence="research (images from ImageNet)",
        checksum={"stl10_binary.tar.gz": "91f7769df0f17e558f3565bffb0c7dfb"},
        how_to_get=_prepare("stl10", "2.6 GB"),
        notes="shares all classes but monkey with CIFAR10: against CIFAR10 a test of shift, not of new classes",
        taken_from="ImageNet",
    ),
    SetInfo(
        "places365", "Places365", ("ood",), {"test": 36_500},
        source="http://places2.csail.mit.edu/download.html", licence="research and education only, terms of access",
        checksum={"val_256.tar": "e27b17d8d44f4af9a78502beb927f808"},
        how_to_get=_by_hand(
            "places365",
            "get val_256.tar and filelist_places365-standard.tar and unpack both in one folder",
        ),
        notes="the 36,500 small (256x256) validation images",
    ),
    SetInfo(
        "texture", "Texture", ("ood",), {"test": 1_880},
        source="https://www.robots.ox.ac.uk/~vgg/data/dtd", licence="research only",
        checksum={"dtd-r1.0.1.tar.gz": "fff73e5086ae6bdbea199a49dfb8a4c1"},
        how_to_get=_prepare("texture", "600 MB"),
        notes="DTD, test images of its first official split; the paper does not state which images it used",
    ),
    SetInfo(
        "imagenet", "ImageNet", ("aux",), {"aux": 1_281_167},
        source="https://www.image-net.org", licence="research only, terms of access",
        how_to_get=_by_hand("imagenet", "get ILSVRC12 train from image-net.org under its terms, one folder a wnid"),
        notes="auxiliary only, never an OOD test; holds classes of CIFAR10 and CIFAR100",
        taken_from="ImageNet",
    ),
    SetInfo(
        "dti", "DTI", ("aux",), {"aux": 300_000},
        source="https://github.com/hendrycks/outlier-exposure",
        licence="none stated (80 Million Tiny Images, its origin, was withdrawn)",
        checksum={"300K_random_images.npy": "64ca64357de98351f28454274a112dc3"}, recipe=_NATIVE,
        how_to_get=_by_hand("dti", "get 300K_random_images.npy, linked from the Outlier Exposure repository"),
        notes="debiased tiny images: made with labels, so its rows are not label-free",
    ),
    SetInfo(
        "lsunlike", "LSUN-like", ("ood",), {"test": None}, how_to_get=_import("lsunlike", "test"), stands_for="lsun",
        notes="a stand-in: images of LSUN's scene classes from another source, not LSUN",
    ),
    SetInfo(
        "stl10-unlabeled", "STL10 unlab.", ("ood",), {"test": None}, how_to_get=_import("stl10-unlabeled", "test"),
        stands_for="stl10",
        notes="a stand-in: images of STL10's unlabelled part, not its test set; shares classes with CIFAR10",
        taken_from="ImageNet",
    ),
    SetInfo(
        "imagenet1k", "ImageNet-1k", ("aux",), {"aux": None}, how_to_get=_import("imagenet1k", "aux"),
        stands_for="imagenet",
        notes="a stand-in: few images of many ImageNet classes",
        taken_from="ImageNet",
    ),
    _builtin("synthetic", "Synthetic", "id", {"train": 2000, "test": 600}, "upright objects of ten classes"),
    _builtin("synthetic-near", "Synthetic near", "ood", {"test": 400}, "eight other objects", ("synthetic",)),
    _builtin("synthetic-digits", "Synthetic digits", "ood", {"test": 400}, "house numbers"),
    _builtin("synthetic-textures", "Synthetic textures", "ood", {"test": 400}, "surfaces without an up"),
    _builtin("synthetic-scenes", "Synthetic scenes", "ood", {"test": 400}, "places without an object"),
    _builtin("synthetic-aux", "Synthetic aux", "aux", {"aux": 2000},
             "broad: invented objects, scenes, textures, and the in-distribution classes, as ImageNet holds CIFAR's"),
    _builtin("synthetic-dti", "Synthetic DTI", "aux", {"aux": 1500},
             "synthetic-aux without the in-distribution classes: labels were used, so not label-free"),
)  # fmt: skip

OTHER_BACKGROUNDS = "-other-backgrounds"  # after a set's name: its test images before one another's (views/controls.py)

CATALOG: dict[str, SetInfo] = {info.name: info for info in _SETS}

_FAR = ("svhn", "imagenet30", "tinyimagenet", "lsun", "stl10", "places365", "texture")
# The paper's eight OOD sets of an in-distribution set, in the order of its tables.
PAPER_OOD: dict[str, tuple[str, ...]] = {"cifar10": ("cifar100", *_FAR), "cifar100": ("cifar10", *_FAR)}

LSUN_SCENES = (
    "bedroom", "bridge", "church_outdoor", "classroom", "conference_room", "dining_room", "kitchen", "living_room",
    "restaurant", "tower",
)  # fmt: skip

IMAGENET30: dict[str, str] = {
    "n12267677": "acorn", "n02690373": "airliner", "n02701002": "ambulance", "n01698640": "American alligator",
    "n02787622": "banjo", "n02793495": "barn", "n02837789": "bikini", "n03196217": "digital clock",
    "n02268443": "dragonfly", "n03255030": "dumbbell", "n03384352": "forklift", "n03443371": "goblet",
    "n03452741": "grand piano", "n07697537": "hotdog", "n03544143": "hourglass", "n03717622": "manhole cover",
    "n03788195": "mosque", "n03804744": "nail", "n03891332": "parking meter", "n03938244": "pillow",
    "n04086273": "revolver", "n03187595": "dial telephone", "n04147183": "schooner", "n04252077": "snowmobile",
    "n04254680": "soccer ball", "n01498041": "stingray", "n07745940": "strawberry", "n04389033": "tank",
    "n04442312": "toaster", "n09472597": "volcano",
}  # fmt: skip

# Names of the labels 0, 1, ... in the official order.
CLASSES: dict[str, tuple[str, ...]] = {
    "cifar10": (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
    "cifar100": (
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
        "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
        "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
        "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
        "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
        "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
        "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
        "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
        "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
        "willow_tree", "wolf", "woman", "worm",
    ),
}  # fmt: skip

_AT_SIZE = re.compile(r"(.+)@(\d+)")


def split_size(name: str) -> tuple[str, int]:
    """The set and the side in pixels of NAME or NAME@SIZE: ("texture", 256) for "texture@256", 32 if none is given."""
    match = _AT_SIZE.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, 32)


def name_at(base: str, size: int) -> str:
    """What the set `base` is called at `size` pixels a side: NAME at 32, else NAME@SIZE."""
    return base if size == 32 else f"{base}@{size}"


def at_size(name: str, size: int) -> tuple[str, int]:
    """What NAME or NAME@SIZE is stored as, and its side in pixels: the name's own, or `size` where it gives none."""
    base, asked = split_size(name)
    side = size if asked == 32 else asked
    return name_at(base, side), side


def split_class(name: str) -> tuple[str, str | None]:
    """The stored set and the class of SET:CLASS: ("cifar10", "automobile"); (name, None) for a whole set.

    Raises BenchError for what is neither.
    """
    parent, colon, of = name.partition(":")
    if not colon:
        return name, None
    if not parent or not of or ":" in of:
        raise BenchError(f"image set {name!r}: a class of a set is SET:CLASS, as in cifar10:automobile")
    return parent, of


def set_behind(name: str) -> str:
    """The set itself, of which NAME@SIZE is another size and NAME:CLASS or NAME@SIZE:CLASS a part."""
    return split_size(split_class(name)[0])[0]


def info(name: str) -> SetInfo:
    """Facts about the set NAME, NAME@SIZE or a class of one; one not in the catalogue is the user's own and titled by
    its name. A class is got as its set is, and stands for nothing of the paper's."""
    if name in CATALOG:
        return CATALOG[name]
    parent, of = split_class(name)
    if of is not None:
        whole, others = info(parent), of.startswith("not-")
        title = f"{whole.title} {'not ' if others else ''}{of.removeprefix('not-').replace('-', ' ')}"
        counts = {split: _of_class(parent, count, others) for split, count in whole.counts.items()}
        return replace(whole, name=name, title=title, counts=counts, stands_for=None)
    base, size = split_size(name)
    if base not in CATALOG:
        unknown: dict[str, int | None] = {}
        source = base.removesuffix(OTHER_BACKGROUNDS)
        if source and source != base:
            title, how = f"{info(source).title} before other backgrounds", f"bench data backgrounds {source}"
            return SetInfo(name, title, ("ood",), unknown, source="made of the set", how_to_get=how)
        return SetInfo(name, name, ("id", "aux", "ood"), unknown, source="imported", how_to_get=_import(name, "SPLIT"))
    found = CATALOG[base]
    if size == 32:
        return replace(found, name=name)
    return replace(
        found,
        name=name,
        title=f"{found.title} ({size} px)",
        recipe=found.recipe.replace("to 32x32", f"to {size}x{size}").replace("then 32x32", f"then {size}x{size}"),
        how_to_get=found.how_to_get.replace(f"prepare {base}", f"prepare {name}"),
    )


def class_titles(name: str) -> tuple[str, ...] | None:
    """What the labels 0, 1, ... of a set are called where the catalogue knows, of all sizes and parts of the set."""
    base = set_behind(name)
    if base in CATALOG and CATALOG[base].builtin:
        from benchmark.data import synthetic

        return tuple(synthetic.classes(base))
    return CLASSES.get(base)


def _of_class(name: str, count: int | None, others: bool) -> int | None:
    """Of `count` official images those of a class, or of all others: the sets whose classes are known are balanced."""
    titles = class_titles(name)
    if count is None or titles is None or count % len(titles):
        return None
    alone = count // len(titles)
    return count - alone if others else alone


def is_control(in_dist: str, ood: str) -> bool:
    """True where `ood` is the in-distribution test images themselves before other backgrounds: how far a detector goes
    by these is no measure of detection, so it has no part in a mean."""
    return set_behind(ood) == set_behind(in_dist) + OTHER_BACKGROUNDS


def is_near(in_dist: str, ood: str) -> bool:
    """True where `ood` is near OOD for `in_dist`; a stand-in is as near as the set it stands for, a class as its set.

    Classes of one set are near to each other.
    """

    def original(name: str) -> SetInfo:
        found = info(set_behind(name))
        return info(found.stands_for) if found.stands_for else found

    if ":" in in_dist and ":" in ood and set_behind(in_dist) == set_behind(ood):
        return True
    return original(in_dist).name in original(ood).near_for
