"""Stand-ins of published datasets: their files' names and layouts, as documented, with a few tiny images in each."""

import io
import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat


@cache
def _jpeg(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 255 - shade, 99)).save(stream, "JPEG")
    return stream.getvalue()


def _images(root: Path, names: Iterable[str]) -> None:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_jpeg(number % 200))


def _text(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _matlab(root: Path, name: str, **variables: np.ndarray) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables, do_compression=True)


def dogs_vs_cats(root: Path) -> None:
    """Kaggle's "Dogs vs. Cats": the class is in the file's name, the test photos have none."""
    _images(root / "dogs-vs-cats", (f"train/{kind}.{n}.jpg" for kind in ("cat", "dog") for n in range(4)))
    _images(root / "dogs-vs-cats", (f"test1/{n}.jpg" for n in range(1, 4)))


def cats_and_dogs_of_microsoft(root: Path) -> None:
    """Microsoft's "Kaggle Cats and Dogs": folders of classes, among them what Windows leaves behind."""
    _images(
        root / "kagglecatsanddogs", (f"PetImages/{kind}/{n}.jpg" for kind in ("Cat", "Dog") for n in range(4))
    )
    _text(root / "kagglecatsanddogs", "PetImages/Cat/Thumbs.db", "no image")
    _text(root / "kagglecatsanddogs", "readme[1].txt", "read me")


def dog_breeds(root: Path) -> None:
    """Kaggle's "Dog Breed Identification": a table of names without suffix."""
    names = [f"{n:032x}" for n in range(4)]
    _images(root / "dog-breed", (f"train/{name}.jpg" for name in names))
    _images(root / "dog-breed", (f"test/{n + 77:032x}.jpg" for n in range(2)))
    rows = "".join(f"{name},{('boston_bull', 'dingo')[n % 2]}\n" for n, name in enumerate(names))
    _text(root / "dog-breed", "labels.csv", f"id,breed\n{rows}")


def intel_scenes(root: Path) -> None:
    """Kaggle's "Intel Image Classification": splits twice, one below the other, and photos without labels."""
    for split in ("train", "test"):
        _images(
            root / "intel",
            (
                f"seg_{split}/seg_{split}/{kind}/{n}.jpg"
                for kind in ("buildings", "forest", "sea")
                for n in range(2)
            ),
        )
    _images(root / "intel", (f"seg_pred/seg_pred/{n}.jpg" for n in range(3)))


def plant_pathology_2020(root: Path) -> None:
    """Kaggle's "Plant Pathology 2020": one column for each class, one of them 1."""
    kinds = ("healthy", "multiple_diseases", "rust", "scab")
    _images(root / "plants", (f"images/Train_{n}.jpg" for n in range(8)))
    rows = "".join(f"Train_{n},{','.join(str(int(n % 4 == k)) for k in range(4))}\n" for n in range(8))
    _text(root / "plants", "train.csv", f"image_id,{','.join(kinds)}\n{rows}")
    _text(root / "plants", "test.csv", "image_id\nTest_0\n")


def plant_pathology_2021(root: Path) -> None:
    """Kaggle's "Plant Pathology 2021": several labels in one cell."""
    cells = (
        "healthy",
        "scab frog_eye_leaf_spot complex",
        "scab",
        "complex",
        "rust",
        "rust frog_eye_leaf_spot",
    )
    _images(root / "plants2021", (f"train_images/{n:x}f.jpg" for n in range(6)))
    _text(
        root / "plants2021",
        "train.csv",
        "image,labels\n" + "".join(f"{n:x}f.jpg,{cell}\n" for n, cell in enumerate(cells)),
    )


def ham10000(root: Path) -> None:
    """HAM10000 of skin lesions: two folders of images, several photos of one lesion."""
    rows = [
        f"HAM_{n // 2:07d},ISIC_{n:07d},{('bkl', 'nv')[n // 2 % 2]},histo,80.0,male,scalp\n" for n in range(8)
    ]
    for n in range(8):
        _images(root / "ham10000", [f"HAM10000_images_part_{1 + n // 4}/ISIC_{n:07d}.jpg"])
    head = "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
    _text(root / "ham10000", "HAM10000_metadata.csv", head + "".join(rows))


def chest_x_rays(root: Path) -> None:
    """Kaggle's "Chest X-Ray Images (Pneumonia)": all of it again below, and what a Mac leaves behind."""
    names = [
        f"{split}/{kind}/{n}.jpeg"
        for split in ("train", "val", "test")
        for kind in ("NORMAL", "PNEUMONIA")
        for n in (1, 2)
    ]
    for above in ("", "chest_xray/"):
        _images(root / "chest_xray", (above + name for name in names))
    _text(root / "chest_xray", "__MACOSX/chest_xray/._train", "mac")


def cub_200(root: Path) -> None:
    """CUB-200-2011 of birds: lists that are joined by numbers."""
    names = [f"{k:03d}.{kind}/{kind}_{n}.jpg" for k, kind in ((1, "Auk"), (2, "Owl")) for n in (1, 2)]
    _images(root / "CUB_200_2011" / "images", names)
    for file, lines in {
        "images": [f"{i} {name}" for i, name in enumerate(names, 1)],
        "image_class_labels": ["1 1", "2 1", "3 2", "4 2"],
        "classes": ["1 001.Auk", "2 002.Owl"],
        "train_test_split": ["1 1", "2 0", "3 1", "4 0"],
        "bounding_boxes": ["1 60.0 27.0 325.0 304.0"],
    }.items():
        _text(root / "CUB_200_2011", f"{file}.txt", "\n".join(lines) + "\n")


def stanford_dogs(root: Path) -> None:
    """Stanford's dogs: folders of classes below one folder."""
    _images(
        root / "stanford-dogs",
        (
            f"Images/{kind}/{kind[:9]}_{n}.jpg"
            for kind in ("n02085620-Chihuahua", "n02115641-dingo")
            for n in (1, 2)
        ),
    )


def stanford_cars(root: Path) -> None:
    """Stanford's cars, as Kaggle's "Stanford Car Dataset by classes folder" has them."""
    _images(
        root / "stanford-cars",
        (
            f"car_data/car_data/{split}/{kind}/{n:05d}.jpg"
            for split in ("train", "test")
            for kind in ("AM General Hummer SUV 2000", "Volvo 240 Sedan 1993")
            for n in (1, 2)
        ),
    )
    _text(root / "stanford-cars", "names.csv", "AM General Hummer SUV 2000\nVolvo 240 Sedan 1993\n")


def oxford_pets(root: Path) -> None:
    """The Oxford-IIIT pets: the class is in the file's name, the splits are in lists."""
    names = [
        (f"{kind}_{n}", k) for k, kind in ((1, "Abyssinian"), (2, "american_bulldog")) for n in range(1, 5)
    ]
    _images(root / "oxford-iiit-pet", (f"images/{name}.jpg" for name, _ in names))
    for file, own in (("trainval", names[::2]), ("test", names[1::2])):
        _text(
            root / "oxford-iiit-pet",
            f"annotations/{file}.txt",
            "".join(f"{name} {k} {k} 1\n" for name, k in own),
        )
    _text(root / "oxford-iiit-pet", "annotations/list.txt", "#Image CLASS-ID SPECIES BREED ID\n")


def oxford_flowers(root: Path) -> None:
    """Oxford's flowers, as they come with courses: classes are numbers, ``valid`` is a split."""
    _images(
        root / "flower_data",
        (
            f"{split}/{kind}/image_0{kind}{n}.jpg"
            for split in ("train", "valid", "test")
            for kind in (1, 2, 10)
            for n in (1, 2)
        ),
    )
    _text(
        root / "flower_data",
        "cat_to_name.json",
        '{"1": "pink primrose", "2": "orchid", "10": "globe thistle"}',
    )


def oxford_flowers_of_the_publisher(root: Path) -> None:
    """Oxford's 102 flowers as published: numbered images, labels and splits in MATLAB files."""
    _images(root / "flowers-102", (f"jpg/image_{n:05d}.jpg" for n in range(1, 7)))
    _matlab(root / "flowers-102", "imagelabels.mat", labels=np.array([[1, 10, 1, 2, 10, 2]], np.uint8))
    splits = {"trnid": [[1, 2, 4]], "valid": [[3]], "tstid": [[6, 5]]}
    _matlab(
        root / "flowers-102", "setid.mat", **{name: np.array(own, np.uint16) for name, own in splits.items()}
    )


def stanford_cars_of_the_publisher(root: Path) -> None:
    """Stanford's cars as published: structures of boxes, classes and names in MATLAB files of a "devkit"."""
    place = root / "stanford_cars"
    _images(place, (f"cars_{split}/{n:05d}.jpg" for split in ("train", "test") for n in range(1, 5)))
    names = np.array([["Volvo 240 Sedan 1993", "AM General Hummer SUV 2000"]], object)
    _matlab(place, "devkit/cars_meta.mat", class_names=names)
    kinds = [(name, "u1") for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class")]
    for file in ("devkit/cars_train_annos", "cars_test_annos_withlabels"):
        rows = [(1, 2, 30, 40, 1 + n % 2, f"{n:05d}.jpg") for n in range(1, 5)]
        _matlab(place, f"{file}.mat", annotations=np.array([rows], [*kinds, ("fname", object)]))
    rows = [(1, 2, 30, 40, f"{n:05d}.jpg") for n in range(1, 5)]
    _matlab(
        place, "devkit/cars_test_annos.mat", annotations=np.array([rows], [*kinds[:-1], ("fname", object)])
    )


def caltech_101(root: Path) -> None:
    """Caltech-101: folders of classes."""
    kinds = ("accordion", "airplanes", "BACKGROUND_Google")
    _images(
        root / "caltech-101",
        (f"101_ObjectCategories/{kind}/image_{n:04d}.jpg" for kind in kinds for n in (1, 2)),
    )


def eurosat(root: Path) -> None:
    """EuroSAT: folders of classes below a folder that is called as the images are many."""
    _images(
        root / "EuroSAT",
        (f"2750/{kind}/{kind}_{n}.jpg" for kind in ("AnnualCrop", "SeaLake") for n in (1, 2)),
    )


def food_101(root: Path) -> None:
    """Food-101: lists of names without suffix."""
    _images(
        root / "food-101", (f"images/{kind}/{n}.jpg" for kind in ("apple_pie", "waffles") for n in (1, 2))
    )
    for file, text in {
        "classes": "apple_pie\nwaffles\n",
        "labels": "Apple pie\nWaffles\n",
        "train": "apple_pie/1\nwaffles/1\n",
        "test": "apple_pie/2\nwaffles/2\n",
    }.items():
        _text(root / "food-101", f"meta/{file}.txt", text)


def isic_2019(root: Path) -> None:
    """ISIC 2019 of skin lesions: one column for each class with 1.0 or 0.0, names without suffix."""
    kinds = ("MEL", "NV", "BCC")
    _images(root / "isic2019", (f"ISIC_2019_Training_Input/ISIC_{n:07d}.jpg" for n in range(6)))
    rows = "".join(f"ISIC_{n:07d},{','.join(str(float(n % 3 == k)) for k in range(3))}\n" for n in range(6))
    _text(root / "isic2019", "ISIC_2019_Training_GroundTruth.csv", f"image,{','.join(kinds)}\n{rows}")


def image_folder_of_hugging_face(root: Path) -> None:
    """The Hugging Face library's ``imagefolder``: a table of labels in each split folder, names of its own files."""
    for split in ("train", "validation", "test"):
        names = [f"{n:04d}.png" for n in range(1, 5)]
        _images(root / "imagefolder", (f"{split}/{name}" for name in names))
        rows = ({"file_name": name, "label": ("cat", "dog")[n % 2]} for n, name in enumerate(names))
        _text(
            root / "imagefolder", f"{split}/metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows)
        )


def _coco(images: list[str], labels: list[tuple[int, int]], categories: dict[int, str]) -> str:
    return json.dumps(
        {
            "info": {"year": 2017},
            "images": [
                {"id": n, "file_name": name, "width": 8, "height": 8} for n, name in enumerate(images)
            ],
            "annotations": [
                {"id": n, "image_id": image, "category_id": category, "bbox": [0, 0, 4, 4], "iscrowd": 0}
                for n, (image, category) in enumerate(labels)
            ],
            "categories": [
                {"id": n, "name": name, "supercategory": "animal"} for n, name in categories.items()
            ],
        }
    )


def coco_animals(root: Path) -> None:
    """COCO: objects of several categories in one photo."""
    names = [f"{n:012d}.jpg" for n in range(1, 5)]
    _images(root / "coco", (f"val2017/{name}" for name in names))
    labels = [(0, 17), (0, 18), (1, 17), (1, 17), (2, 18), (3, 25)]
    text = _coco(names, labels, {17: "cat", 18: "dog", 25: "giraffe"})
    _text(root / "coco", "annotations/instances_val2017.json", text)


def inaturalist_2018(root: Path) -> None:
    """iNaturalist 2018: COCO's format with one category for each photo, whose names are numbers."""
    names = [f"train_val2018/Plantae/{kind}/{n}.jpg" for kind in (7477, 6020) for n in (1, 2)]
    _images(root / "inat2018", names)
    _text(
        root / "inat2018",
        "train2018.json",
        _coco(names, [(0, 1), (1, 1), (2, 0), (3, 0)], {0: "6020", 1: "7477"}),
    )


def inaturalist_2021(root: Path) -> None:
    """iNaturalist 2021: the small training split has a name of its own."""
    kinds = ("00000_Animalia_Annelida_Lumbricus_terrestris", "00001_Animalia_Annelida_Sabella_spallanzanii")
    _images(
        root / "inat2021",
        (f"{split}/{kind}/{n}.jpg" for split in ("train_mini", "val") for kind in kinds for n in (1, 2)),
    )


LAYOUTS: tuple[Callable[[Path], None], ...] = (
    dogs_vs_cats,
    cats_and_dogs_of_microsoft,
    dog_breeds,
    intel_scenes,
    plant_pathology_2020,
    plant_pathology_2021,
    ham10000,
    chest_x_rays,
    cub_200,
    stanford_dogs,
    stanford_cars,
    stanford_cars_of_the_publisher,
    oxford_pets,
    oxford_flowers,
    oxford_flowers_of_the_publisher,
    caltech_101,
    eurosat,
    food_101,
    isic_2019,
    image_folder_of_hugging_face,
    coco_animals,
    inaturalist_2018,
    inaturalist_2021,
)
