"""A user's own network on prepared data, without the method contract: trained, predicted and evaluated."""

from __future__ import annotations

import torch
from torch import nn
from training_workplace import Workplace

import kt3d_bench as kt


def test_own_module_without_the_contract(workplace: Workplace) -> None:
    workplace.prepare("dots-target", train=64, test=9)
    data = workplace.root

    train, test = kt.load("dots-target", "train", data=data), kt.load("dots-target", "test", data=data)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 7 * 7, 51))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        for batch in torch.utils.data.DataLoader(train.torch(input_px=32), batch_size=16, shuffle=True):
            error = 1000 * net(batch["rgb"]).view(-1, 17, 3) - batch["joints_root_mm"]
            loss = error.norm(dim=-1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss))

    net.eval()
    keys, poses = [], []
    with torch.no_grad():
        for batch in torch.utils.data.DataLoader(test.torch(input_px=32), batch_size=4):
            root = batch["joints_cam_mm"][:, :1]
            keys += batch["key"]
            poses.append(1000 * net(batch["rgb"]).view(-1, 17, 3) + root)
    joints_cam_mm = torch.cat(poses).numpy()
    scores = kt.evaluate("dots-target-rgb", keys, joints_cam_mm, data=data)

    assert keys == test.keys.tolist()
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4]), "the network learns"
    expected = kt.mpjpe(joints_cam_mm, test.joints_cam_mm, root=0).mean()
    assert abs(scores.overall["mpjpe_mm"] - expected) < 1e-3
