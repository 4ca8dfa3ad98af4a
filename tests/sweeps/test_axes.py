"""The grammar of a sweep's axes: what it reads, and what it refuses in which words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.errors import UnknownNameError, UsageError
from featcache.sweeps.axes import Range, read_axis


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("learning_rate", "1e-4:1e-1:log4", (1e-4, 1e-3, 1e-2, 1e-1)),
        ("weight_decay", "0,1e-4,1e-2", (0.0, 1e-4, 1e-2)),
        ("weight_decay", "0, 1e-4:1e-2:log3", (0.0, 1e-4, 1e-3, 1e-2)),
        ("dropout", "0:0.5:lin3", (0.0, 0.25, 0.5)),
        ("neighbours", "1:20:lin3", (1, 10, 20)),  # 10.5, rounded to even
        ("neighbours", "1:3:log5", (1, 2, 3)),  # rounding makes equal ones
        ("head", "linear,mlp,linear", ("linear", "mlp")),
        ("hidden", "256,512x128,64×32", ((256,), (512, 128), (64, 32))),
        ("hidden", (512, 128), ((512, 128),)),
        ("hidden", [(256,), (512, 128)], ((256,), (512, 128))),
        ("hidden", [[256], [512, 128]], ((256,), (512, 128))),
        ("hidden", [256, "64x64"], ((256,), (64, 64))),
        ("temperature", "none,0.07", (None, 0.07)),
        ("temperature", None, (None,)),
        ("class_weights", "none,balanced", ("none", "balanced")),
        ("batch_norm", "true,no", (True, False)),
        ("batch_norm", [True, False], (True, False)),
        ("epochs", "1e2", (100,)),
        ("epochs", 50, (50,)),
        ("learning_rate", [0.1, "1e-3,1e-2"], (0.1, 1e-3, 1e-2)),
    ],
)
def test_values(name, text, values):
    read = read_axis(name, text).values
    assert read == pytest.approx(values) if isinstance(values[0], float) else read == values
    assert [type(value) for value in read] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("learning_rate", "fast", "learning_rate 'fast': expected a number; give values such as 1e-4,1e-3"),
        ("learning_rate", "", "learning_rate '': expected a number"),
        ("learning_rate", [], r"learning_rate \[\]: no values"),
        ("learning_rate", "1e-1:1e-4:log8", "expected low:high with low below high and above 0 on a log"),
        ("learning_rate", "0:1:log3", "above 0 on a logarithmic scale"),
        ("learning_rate", "0:1:lin0", "expected 1 to 10000 values"),
        ("learning_rate", "0:1:lin99999999999", "expected 1 to 10000 values"),
        ("learning_rate", "0:1:cubic3", "expected a number"),
        ("learning_rate", "none", "expected a number"),
        ("learning_rate", None, "learning_rate: a value is missing"),
        ("epochs", "1.5", "epochs '1.5': expected a whole number"),
        ("epochs", "inf", "expected a whole number"),
        ("batch_norm", "perhaps", "expected true or false"),
        ("hidden", "256x", "expected widths as 512x128"),
        ("head", "1:2:lin2", "a range is for numbers; give the values one by one"),
    ],
)
def test_refusals(name, text, says):
    with pytest.raises(UsageError, match=says):
        read_axis(name, text)


def test_an_unknown_setting_names_the_nearest():
    with pytest.raises(
        (UsageError, UnknownNameError), match="no setting 'learning_rat'; did you mean 'learning_rate'"
    ):
        read_axis("learning_rat", "1")


@given(st.floats(1e-6, 1), st.floats(1.1, 1e6), st.integers(2, 50))
def test_a_logarithmic_range_has_its_ends_and_equal_ratios(low, factor, count):
    values = read_axis("c", f"{low!r}:{low * factor!r}:log{count}").values
    assert values[0] == pytest.approx(low)
    assert values[-1] == pytest.approx(low * factor)
    ratios = np.diff(np.log(values))
    # Values are kept to twelve digits.
    np.testing.assert_allclose(ratios, ratios.mean(), rtol=1e-3, atol=1e-9)


def test_drawing_stays_inside_and_follows_the_scale():
    random = np.random.default_rng(0)
    axis = read_axis("learning_rate", "1e-4:1e-1:log")
    assert axis.values == ()
    drawn = np.array([axis.draw(random) for _ in range(500)])
    assert (drawn >= 1e-4).all()
    assert (drawn <= 1e-1).all()
    # Half of them below the geometric mean; 500 fair coins are within 60 of that (5 sigma).
    assert abs((drawn < np.sqrt(1e-5)).sum() - 250) < 60
    assert {type(read_axis("neighbours", "1:30:lin").draw(random)) for _ in range(5)} == {int}
    assert {read_axis("head", "linear,mlp").draw(random) for _ in range(50)} == {"linear", "mlp"}


def test_a_range_of_one_is_its_low_end():
    assert Range(0.5, 2.0, log=True).spread(1) == [0.5]
