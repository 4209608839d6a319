"""OSF's projection by hand."""

from __future__ import annotations

import torch

from strategies.adapters.orthogonal_factors import outside


def test_the_projection_by_hand() -> None:
    factor, basis = torch.tensor([[3.0, 1.0], [4.0, 2.0]]), torch.tensor([[0.6], [0.8]])
    found = outside(factor, basis, complement=False)  # (3, 4) lies in it; (1, 2) = 2.2 (.6, .8) + (-.32, .24)
    torch.testing.assert_close(found, torch.tensor([[0.0, -0.32], [0.0, 0.24]]), atol=1e-6, rtol=0)
    other = outside(factor, torch.tensor([[-0.8], [0.6]]), complement=True)
    torch.testing.assert_close(other, found, atol=1e-6, rtol=0)
