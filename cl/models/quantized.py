"""Weights of linear modules in fewer bits (`model.weights`): the values of a form, and modules that keep them in it.

Forms:

* `4bit`: NF4 of QLoRA (Dettmers et al. 2023, arXiv 2305.14314, appendix E), without its double quantisation;
* `8bit`: 255 equal steps from -1 to 1 (absmax quantisation, arXiv 2208.07339, section 2);
* `bf16`: the nearest bf16 value.

4 and 8 bits are levels times a scale, the largest magnitude of a block of 64 values of the flattened weight. Both forms
have the levels -1, 0 and 1, so a value that has been rounded once is not changed by rounding again. That is what makes
a result unambiguous: the base node rounds the linear modules inside the layers and stores the rounded values in fp32.
Every reader takes them as they are; a train node keeps frozen ones in the form (`hold`), which loses nothing. Merging
adds an adapter to them in fp32, and what is merged is never rounded again.

Embeddings, the output layer, normalisation, experts stored as one tensor and GPT-2's `Conv1D` stay fp32.
Deviation from QLoRA: its double quantisation of scales would make rounding twice differ from rounding once; the scales
take 0.5 bits a weight here.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl.models import linear_modules

Form = Literal["bf16", "8bit", "4bit"]

BLOCK = 64  # values of one scale
NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""Quantiles of a normal distribution, scaled to [-1, 1] (arXiv 2305.14314, appendix E)."""


def levels(form: Form) -> Tensor:
    """The levels of a form in ascending order, fp32: 16 of 4 bits, 255 of 8 bits."""
    return torch.tensor(NF4) if form == "4bit" else torch.arange(-127, 128, dtype=torch.float32) / 127


def pack(weight: Tensor, form: Form) -> tuple[Tensor, ...]:
    """The nearest values that a form has.

    Args:
        weight: values of any shape.
        form: the form.

    Returns:
        For bf16 the rounded values. Otherwise the codes, uint8, two to a byte in 4 bits, and the scales [blocks], fp32.
    """
    if form == "bf16":
        return (weight.detach().bfloat16(),)
    flat = weight.detach().float().flatten()
    blocks = F.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    scales = blocks.abs().amax(1)
    table = levels(form).to(flat.device)
    unit = blocks / scales.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    codes = torch.bucketize(unit, (table[1:] + table[:-1]) / 2).to(torch.uint8).flatten()
    return (codes[0::2] << 4 | codes[1::2] if form == "4bit" else codes), scales


def unpack(packed: tuple[Tensor, ...], form: Form, shape: torch.Size) -> Tensor:
    """Inverse of `pack`: values of a shape, fp32."""
    if form == "bf16":
        return packed[0].float()
    codes, scales = packed
    if form == "4bit":
        codes = torch.stack((codes >> 4, codes & 15), 1)
    table = levels(form).to(scales.device)
    values = table.index_select(0, codes.flatten().int()).view(-1, BLOCK) * scales[:, None]
    return values.flatten()[: shape.numel()].view(shape)


def round_(model: Any, form: Form) -> None:
    """Round the weights of the linear modules inside a model's layers, in place.

    Raises:
        UserError: if the model has none.
    """
    with torch.no_grad():
        for name in linear_modules.names(model, linear_modules.ALL, convolutions=False):
            weight = model.get_submodule(name).weight
            weight.copy_(unpack(pack(weight, form), form, weight.shape))


def hold(model: Any, form: Form) -> int:
    """Keep the frozen weights of linear modules in a form, where that loses nothing.

    Args:
        model: transformers or peft model, whose trained parameters are chosen.
        form: the form in which the base was rounded.

    Returns:
        How many frozen linear modules keep fp32, because the form does not have their values: after a merge.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    left = 0
    for name in linear_modules.names(model, linear_modules.ALL, convolutions=False):
        found = base.get_submodule(name)
        path = f"{name}.base_layer" if hasattr(found, "base_layer") else name
        linear = base.get_submodule(path)
        learns = any(parameter.requires_grad for parameter in linear.parameters())
        if learns or isinstance(linear, FrozenLinear):
            continue
        packed = pack(linear.weight, form)
        if torch.equal(unpack(packed, form, linear.weight.shape), linear.weight):
            base.set_submodule(path, FrozenLinear(linear, packed, form))
        else:
            left += 1
    return left


def train_in_bf16(model: Any) -> None:
    """Keep the trained weights of linear modules in bf16, so that their gradients are bf16, too.

    `cl.training.stochastic_rounding` updates them. Products have the precision of the training.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    for name in linear_modules.names(model, linear_modules.ALL, convolutions=False):
        linear = base.get_submodule(name)
        if type(linear) is nn.Linear and linear.weight.requires_grad:
            trained = vars(linear.weight)
            linear.__class__ = Bf16Linear
            linear.weight = nn.Parameter(linear.weight.detach().bfloat16())
            vars(linear.weight).update(trained)


def parameters(model: nn.Module) -> int:
    """Number of parameters of a model, however they are kept."""
    held = [module for module in model.modules() if isinstance(module, FrozenLinear)]
    kept = sum(value.numel() for module in held for value in module.packed)
    return sum(p.numel() for p in model.parameters()) - kept + sum(module.shape.numel() for module in held)


class Bf16Linear(nn.Linear):
    """A linear module whose trained weight is bf16, whatever the precision of its product."""

    def forward(self, input: Tensor) -> Tensor:
        """Outputs [..., out] of inputs [..., in]."""
        return F.linear(input, self.weight.to(input.dtype), self.bias)


class FrozenLinear(nn.Linear):
    """A frozen linear module that keeps its weight in a form; forward and backward unpack it for the time of a product.

    Args:
        linear: the module.
        packed: its weight, packed.
        form: the form.
    """

    def __init__(self, linear: nn.Linear, packed: tuple[Tensor, ...], form: Form) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        self.form: Form = form
        self.shape = linear.weight.shape
        # Parameters, which move with the model; frozen ones are in no checkpoint.
        self._packed = nn.ParameterList(nn.Parameter(value, requires_grad=False) for value in packed)

    @property
    def packed(self) -> tuple[Tensor, ...]:
        """The packed weight."""
        return tuple(self._packed)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight [out, in], fp32, unpacked anew at each call."""
        return unpack(self.packed, self.form, self.shape)

    def forward(self, input: Tensor) -> Tensor:
        """Outputs [..., out] of inputs [..., in]."""
        device = input.device.type
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else input.dtype
        stored: Tensor | None = self.bias
        bias = None if stored is None else stored.to(kind)
        found: Tensor = _Product.apply(  # type: ignore[no-untyped-call]
            input.to(kind), bias, self.form, self.shape, *self.packed
        )
        return found


class _Product(torch.autograd.Function):
    """input @ weight.T + bias of a packed weight, which the graph keeps packed. No gradient reaches weight and bias."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, bias: Tensor | None, form: Form, shape: torch.Size, *packed: Tensor) -> Tensor:
        ctx.form, ctx.shape = form, shape
        ctx.save_for_backward(*packed)
        return F.linear(input, unpack(packed, form, shape).to(input.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        weight = unpack(ctx.saved_tensors, ctx.form, ctx.shape).to(gradient.dtype)
        return gradient @ weight, None, None, None, *(None for _ in ctx.saved_tensors)
