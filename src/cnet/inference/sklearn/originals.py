"""The estimator itself, loaded when it is needed first."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnet.inference.sklearn import files
from cnet.inference.sklearn.about import About

if TYPE_CHECKING:
    from cnet.inference.sklearn.estimators import Estimator


class Original:
    """The estimator in the file at `path`. May be called from several threads at once."""

    def __init__(self, path: Path, form: str, *, trusted: Sequence[str]) -> None:
        self.path = path
        self.form = form
        self._trusted = trusted
        self._loading = threading.Lock()
        self._loaded: Estimator | None = None

    def get(self) -> Estimator:
        """The estimator; ConfigError with one sentence where the file cannot be served."""
        with self._loading:
            if self._loaded is None:
                # scikit-learn takes a second to import.
                from cnet.inference.sklearn.estimators import Estimator

                found = files.load(self.path, self.form, trusted=self._trusted)
                self._loaded = Estimator(found, form=self.form)
            return self._loaded

    def about(self) -> About:
        """What is to be told of it."""
        import sklearn

        estimator = self.get()
        return About(
            name=estimator.name,
            library=sklearn.__version__,
            signature=estimator.signature,
            labels=estimator.labels,
            feature_names=estimator.feature_names,
        )
