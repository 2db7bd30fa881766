from __future__ import annotations

import torch

from kt3d_bench.nn.layers import reverse_gradient


def test_forward_is_identity_and_backward_changes_sign_and_size() -> None:
    features = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    out = reverse_gradient(features, 0.5)
    torch.testing.assert_close(out, features)
    (out * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    torch.testing.assert_close(features.grad, torch.tensor([-0.5, -5.0, -50.0]))


def test_descending_behind_the_reversal_ascends_before_it() -> None:
    weight = torch.tensor(1.0, requires_grad=True)
    loss = (reverse_gradient(weight) - 3).square()
    loss.backward()
    assert weight.grad is not None
    moved = weight.detach() - 0.1 * weight.grad
    assert (moved - 3).square() > loss
