"""The section on confusion: its numbers against scikit-learn, and the photos behind its cells."""

import numpy as np
import pytest
from helpers.report_material import HOSTILE, answers, certain, material_of
from sklearn import metrics as sklearn

from featcache.errors import DataError
from featcache.reports.sections.confusion import LARGEST, MOST_PICTURES, confused_pairs, section


def made(labels, values, **how):
    found = section(material_of(np.asarray(labels), values, **how))
    assert found is not None
    return found


def test_its_numbers_are_those_of_scikit_learn():
    labels, values = answers()
    found, guesses = made(labels, values), values.argmax(axis=1)
    assert found.data["accuracy"] == sklearn.accuracy_score(labels, guesses)
    matrix = sklearn.confusion_matrix(labels, guesses, labels=range(5))
    assert found.data["confusion"] == matrix.tolist()
    assert found.content["counts"] == matrix.tolist()
    shares = sklearn.confusion_matrix(labels, guesses, labels=range(5), normalize="true")
    for pair in found.data["pairs"]:
        cell = int(pair["truth"].split()[1]), int(pair["guess"].split()[1])
        assert (pair["count"], pair["share"]) == (matrix[cell], pytest.approx(shares[cell]))
    first = found.data["pairs"][0]
    assert first["count"] == (matrix - np.diag(np.diag(matrix))).max()
    assert found.data["pairs_in_all"] == np.count_nonzero(matrix) - np.count_nonzero(np.diag(matrix))
    assert f"{first['truth']} is taken for {first['guess']} most often" in found.headline
    assert f"{100 * found.data['accuracy']:.1f} % right" in found.headline


def test_every_cell_with_rows_leads_to_photos_of_that_kind():
    labels, values = answers()
    names = [f"{row}.jpg" for row in range(len(labels))]
    found, guesses = made(labels, values, names=names), values.argmax(axis=1)
    behind = {each.anchor: each for each in found.content["behind"]}
    assert len(behind) == len(found.content["behind"])
    matrix = sklearn.confusion_matrix(labels, guesses, labels=range(5))
    for (truth, guess), count in np.ndenumerate(matrix):
        link = found.content["links"].get((truth, guess))
        assert (link is not None) == (count > 0)
        for picture in behind[link[1:]].pictures if link else ():
            place = int(picture.name.removesuffix(".jpg"))
            assert (labels[place], guesses[place]) == (truth, guess)
            assert picture.kind == ("right" if truth == guess else "wrong")
    mistakes = behind[found.content["pairs"][0][2]["href"][1:]].pictures
    confidence = values.max(axis=1)
    assert [p.row for p in mistakes] == sorted((p.row for p in mistakes), key=lambda row: -confidence[row])


def test_of_equal_counts_the_larger_share_comes_first_then_the_earlier_class():
    confusion = np.array([[5, 2, 0], [2, 2, 0], [2, 0, 6]])
    assert [(p.truth, p.guess) for p in confused_pairs(confusion)] == [(1, 0), (0, 1), (2, 0)]
    assert confused_pairs(np.diag([3, 0, 1])) == []


def test_many_classes_come_as_their_most_confused_pairs():
    labels, values = answers(3000, 101, seed=1)
    found = made(labels, values)
    assert found.content["counts"] is found.data["confusion"] is None
    matrix = sklearn.confusion_matrix(labels, values.argmax(axis=1), labels=range(101))
    wrong = matrix - np.diag(np.diag(matrix))
    counts = [pair["count"] for pair in found.data["pairs"]]
    assert counts == sorted(wrong.ravel(), reverse=True)[: len(counts)]
    shown = sum(len(each.pictures) for each in found.content["behind"])
    assert 0 < shown <= MOST_PICTURES
    assert made(*answers(200, LARGEST)).content["counts"] is not None


@pytest.mark.parametrize(
    ("labels", "guesses", "words"),
    [
        ([0, 1, 2], [0, 1, 2], "The 3 test photos are all right"),
        ([1], [1], "The 1 test photo is right"),
        (
            [1],
            [2],
            "0.0 % right (95 % interval 0.0–79.3 %); class 1 is taken for class 2 most often (1 of its 1)",
        ),
        ([0, 0, 0], [1, 1, 1], "0.0 % right"),
        ([0, 0, 0], [0, 0, 1], "class 0 is taken for class 1 most often (1 of its 3)"),
    ],
)
def test_few_rows_all_right_and_all_wrong_are_said(labels, guesses, words):
    found = made(labels, certain(guesses, 3))
    assert words in found.headline
    assert (found.content["pairs_chart"] is None) == (labels == guesses)
    assert found.data["confusion"] == sklearn.confusion_matrix(labels, guesses, labels=range(3)).tolist()


def test_ties_go_to_the_first_class_as_everywhere():
    found = made([0, 1], np.full((2, 2), 0.5, np.float32))
    assert found.data["confusion"] == [[1, 0], [1, 0]]


def test_without_rows_or_for_another_task_there_is_none():
    labels, values = answers(10)
    assert section(material_of(labels[:0], values[:0])) is None
    assert section(material_of(labels, values, task="answers")) is None
    assert section(material_of(labels, None, classes=["a"])) is None  # pyright: ignore[reportArgumentType]


def test_answers_that_are_no_numbers_and_labels_that_are_no_classes_are_refused():
    labels, values = answers(10)
    values[3, 1] = np.nan
    with pytest.raises(
        DataError, match=r"1 of 10 rows have an answer that is NaN or infinite, the first is 'row 3'; "
    ):
        section(material_of(labels, values))
    with pytest.raises(DataError, match=r"labels 7\.\.7; expected 0\.\.4 for 5 classes"):
        section(material_of(np.full(10, 7), answers(10)[1]))


def test_names_are_printable_and_pictures_may_be_missing():
    labels = [0, 1, 2, 3, 4]
    found = made(labels, certain([1, 2, 3, 4, 0], 5), classes=HOSTILE, names=HOSTILE, there=False)
    shown = [picture for each in found.content["behind"] for picture in each.pictures]
    assert len(shown) == 5
    assert all(picture.thumbnail is None and picture.name.isprintable() for picture in shown)
    assert found.headline.isprintable()
    assert all(each.words.isprintable() for each in found.content["behind"])
    assert all(name.isprintable() for name in found.content["classes"])
    assert found.data["classes"] == list(HOSTILE)
