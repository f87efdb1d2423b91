"""docs/scikit-learn.md happens: fitted estimators predict the same before and after."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError
from tests.support.prepared import python

pytest.importorskip("sklearn")
pytest.importorskip("xgboost")
pytest.importorskip("lightgbm")

import lightgbm
import pandas as pd
import xgboost
from sklearn import cluster, compose, ensemble, impute, linear_model, naive_bayes, svm, tree
from sklearn.datasets import make_classification
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree._tree import Tree
from sklearn.utils import all_estimators

PAGE = Path(__file__).parent.parent / "docs" / "scikit-learn.md"
TRUSTED = [Tree, *(cls for _, cls in all_estimators())]
X, Y = make_classification(200, 8, random_state=0)
TABLE = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": np.where(X[:, 2] > 0, "x", "y"), "d": 1})
COLUMNS = compose.ColumnTransformer(
    [
        ("numbers", make_pipeline(impute.SimpleImputer(), StandardScaler()), ["a", "b"]),
        ("words", OneHotEncoder(handle_unknown="ignore"), ["c"]),
        ("order", OrdinalEncoder(dtype=np.float32), ["c"]),
    ],
    remainder="passthrough",
)


def estimators() -> list[Any]:
    return [
        linear_model.LinearRegression(), linear_model.LogisticRegression(), linear_model.Ridge(),
        linear_model.ElasticNet(), linear_model.LassoCV(), svm.SVC(probability=False),
        svm.LinearSVC(), naive_bayes.GaussianNB(), cluster.KMeans(3, random_state=0),
        tree.DecisionTreeClassifier(), tree.DecisionTreeRegressor(),
        ensemble.RandomForestClassifier(5), ensemble.ExtraTreesRegressor(5),
        ensemble.AdaBoostClassifier(n_estimators=3), ensemble.IsolationForest(n_estimators=5),
        make_pipeline(StandardScaler(), linear_model.LogisticRegression()),
    ]  # fmt: skip


def fitted(estimator: Any, data: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(data, Y)


@pytest.mark.parametrize("estimator", estimators(), ids=lambda one: type(one).__name__)
def test_estimators_predict_the_same(estimator: Any, path: Path) -> None:
    assert_predicts_the_same(fitted(estimator, X), X, path)


def test_columns_of_a_frame(path: Path) -> None:
    model = fitted(make_pipeline(COLUMNS, linear_model.Ridge()), TABLE)
    assert_predicts_the_same(model, TABLE, path)


def assert_predicts_the_same(model: Any, data: Any, path: Path) -> None:
    ptrarray.dump(model, path, trusted=TRUSTED)
    ptrarray.verify(path)
    loaded = ptrarray.load(path, trusted=TRUSTED)
    for name in ("predict", "predict_proba", "decision_function", "transform"):
        if hasattr(model, name):
            assert np.array_equal(getattr(model, name)(data), getattr(loaded, name)(data))
    assert repr(loaded) == repr(model)
    assert type(model).__qualname__ in " ".join(ptrarray.classes_in(path))
    assert type(ptrarray.load(path)) is ptrarray.Record


BOOSTED: list[tuple[Any, list[type[Any]]]] = [
    (xgboost.XGBClassifier(n_estimators=5), [xgboost.Booster]),
    (xgboost.XGBRegressor(n_estimators=5), [xgboost.Booster]),
    (lightgbm.LGBMClassifier(n_estimators=5, verbose=-1), [lightgbm.Booster, LabelEncoder]),
    (lightgbm.LGBMRegressor(n_estimators=5, verbose=-1), [lightgbm.Booster]),
]


@pytest.mark.parametrize(("estimator", "inside"), BOOSTED, ids=lambda one: type(one).__name__)
def test_models_of_other_libraries_predict_the_same(
    estimator: Any, inside: list[type[Any]], path: Path
) -> None:
    """Those of XGBoost are a bytearray, which was refused."""
    model, trusted = fitted(estimator, X), [type(estimator), *inside]
    ptrarray.dump(model, path, trusted=trusted)
    assert np.array_equal(ptrarray.load(path, trusted=trusted).predict(X), model.predict(X))
    assert set(ptrarray.classes_in(path)) == {f"{cls.__module__}.{cls.__name__}" for cls in trusted}


def test_arrays_lie_in_the_store_and_can_be_trained_on_in_memory(path: Path) -> None:
    model = fitted(linear_model.SGDRegressor(), X)
    ptrarray.dump(model, path, trusted=TRUSTED)
    loaded = ptrarray.load(path, "c", trusted=TRUSTED)
    loaded.partial_fit(X, Y)
    read_only = ptrarray.load(path, trusted=TRUSTED)
    assert not read_only.coef_.flags.writeable
    assert np.array_equal(read_only.coef_, model.coef_)
    assert not np.array_equal(loaded.coef_, model.coef_)


def test_a_class_that_is_missing_is_named_by_its_place(path: Path) -> None:
    model = fitted(ensemble.RandomForestClassifier(3), X)
    message = r"^obj\[0\].estimators_\[0\].tree_ is a sklearn.tree._tree.Tree; "
    with pytest.raises(BadInputError, match=message):
        ptrarray.dump([model], path, trusted=TRUSTED[1:])


def test_the_page_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    python(script, cwd=tmp_path).check_returncode()
