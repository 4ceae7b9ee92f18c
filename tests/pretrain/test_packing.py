"""Packed crops give what separate passes give, and what a block-diagonal mask gives."""

from __future__ import annotations

import torch

from pretrain.encoder import Encoder, build_encoder, set_drop_path
from pretrain.packing import _dropped, packed_attention, packed_forward
from tests.pretrain.method_parts import random_batch, tiny_config


def _encoder(depth: int = 2) -> Encoder:
    return build_encoder(tiny_config("dinov2", depth=depth)).eval()


def test_packed_tokens_equal_separate_ones_with_masks_and_gradients() -> None:
    encoder, batch = _encoder(), random_batch(local=3)
    groups, mask = [batch.views.flatten(0, 1), batch.local.flatten(0, 1)], torch.rand(16, 16) < 0.4
    packed = packed_forward(encoder, groups, [mask, None])
    apart = [encoder(groups[0], mask=mask), encoder(groups[1])]
    assert [tuple(one.shape) for one in packed] == [(16, 17, 192), (24, 5, 192)]
    weight = encoder.network.blocks[0].attn.qkv.weight
    gradients = []
    for tokens in (packed, apart):
        loss = sum((one.square().sum() for one in tokens), torch.zeros(()))
        gradients.append(torch.autograd.grad(loss, weight)[0])
    for found, wanted in zip(packed, apart, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-3)


def test_recomputed_activations_give_the_same() -> None:
    encoder, batch = _encoder(), random_batch(local=1)
    groups = [batch.views.flatten(0, 1), batch.local.flatten(0, 1)]
    plain = packed_forward(encoder, groups)
    encoder.vit.set_grad_checkpointing(True)
    for found, wanted in zip(packed_forward(encoder, groups), plain, strict=True):
        torch.testing.assert_close(found, wanted)


def test_packed_attention_is_block_diagonal() -> None:
    attention = _encoder().network.blocks[0].attn
    shapes = [(2, 5), (3, 2)]
    tokens = torch.randn(16, 192)
    owner = torch.tensor([0] * 5 + [1] * 5 + [2] * 2 + [3] * 2 + [4] * 2)
    wanted = attention(tokens[None], attn_mask=(owner[:, None] == owner[None])[None, None])[0]
    torch.testing.assert_close(packed_attention(attention, tokens, shapes), wanted, rtol=1e-4, atol=1e-5)


def test_stochastic_depth_drops_whole_crops() -> None:
    encoder = _encoder()
    set_drop_path(encoder.network, 0.5)
    drop = encoder.network.blocks[1].drop_path1.train()
    shapes = [(200, 3), (100, 2)]
    kept = _dropped(drop, torch.ones(800, 4), shapes)
    crops = [kept[:600].view(200, 3, 4), kept[600:].view(100, 2, 4)]
    for group in crops:
        assert bool((group == group[:, :1, :1]).all())
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert 0.35 < float((kept == 0).float().mean()) < 0.65
