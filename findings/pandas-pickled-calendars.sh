#!/usr/bin/env bash
# pandas 3.1.1, numpy 2.4.6, Python 3.11: a frequency with a calendar given as numpy.busdaycalendar
# loses it when it is pickled, as on the way to another process. It is a week of six days before, and one
# of five after; the two compare equal, and so do the indexes that have them, so no check sees it:
#
#   before  2024-01-06 (a Saturday)
#   after   2024-01-08
#   equal   True
#   series  Saturday rows in the next period: before 1 after 0
#
# Exits with an error if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "pandas==3.1.1" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PY'
import pickle

import numpy as np
import pandas as pd

six_days = pd.offsets.CustomBusinessDay(calendar=np.busdaycalendar("1111110"))
after = pickle.loads(pickle.dumps(six_days))
friday = pd.Timestamp("2024-01-05")
print("before ", (friday + six_days).date(), "(a Saturday)")
print("after  ", (friday + after).date())
print("equal  ", six_days == after)

prices = pd.Series(range(6), index=pd.date_range("2024-01-01", periods=6, freq=six_days))
sent = pickle.loads(pickle.dumps(prices))
pd.testing.assert_series_equal(prices, sent, check_freq=True)
saturdays = [
    int((pd.date_range(s.index[-1], periods=6, freq=s.index.freq).day_of_week == 5).sum())
    for s in (prices.iloc[:5], sent.iloc[:5])
]
print("series  Saturday rows in the next period: before", saturdays[0], "after", saturdays[1])

assert friday + six_days == pd.Timestamp("2024-01-06")
assert friday + after == pd.Timestamp("2024-01-08")
assert six_days == after
assert saturdays == [1, 0]
PY
