"""Features that somebody else's network gave: scored like any other, and made elsewhere."""

from __future__ import annotations

from torch import Tensor

from benchmark.errors import BenchError
from benchmark.methods.base import Method, Outputs


class Features(Method):
    """Eq. 6, and whatever scores need no network, of features that were brought."""

    def embed(self, images: Tensor) -> Outputs:
        raise BenchError(
            "method features: its features were made elsewhere and can be scored, not made again; bring them by "
            "`bench import-features` or benchmark.evaluate"
        )
