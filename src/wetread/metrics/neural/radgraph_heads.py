"""The heads of RadGraph's network (DyGIE++, Wadden et al. 2019): from word vectors to entities and relations.

A span is described by the vectors of its first and its last word and one of its width, so the first layer of each head
is taken apart: it is applied to every word once, not to every span, and the spans only add up what it gave. Relations are
scored only between spans that are both entities and among those that the relation head keeps; no other pair can be in a
graph. Texts are laid one after another, so that a batch is one matrix and no text sees another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wetread.metrics.neural.radgraph_archive import WIDTHS, Archive, hidden_dims

PAIRS = 8_192
"""Pairs of spans that are scored at once."""
Row = tuple[int, int, str, list[tuple[str, int]]]
"""An entity: first word, last word, label, and each relation with the place of the other entity."""
Layer = tuple[Tensor, Tensor]
"""Weight of shape (out, in) and bias of a linear layer."""
Numbers = NDArray[np.int64]


class Heads:
    """Entity head, pruning head and relation head of one checkpoint."""

    def __init__(self, archive: Archive, device: torch.device) -> None:
        state = {key: value.to(device, torch.float32) for key, value in archive.state.items() if "_embedder" not in key}
        layers = len(hidden_dims(archive.config["model"]["feedforward_params"]))
        entity, relation = archive.entity_namespace, archive.relation_namespace
        pruner = f"_relation._mention_pruners.{relation}._scorer"
        self.entity = _layers(state, f"_ner._ner_scorers.{entity}", layers)
        self.pruner = _layers(state, pruner, layers)
        ends = f"_relation._relation_feedforwards.{relation}", f"_relation._relation_scorers.{relation}"
        self.relation = [_layer(state, f"{ends[0]}._linear_layers.{number}") for number in range(layers)]
        self.relation.append(_layer(state, ends[1]))
        self.widths = state[WIDTHS]
        self.entity_labels = archive.vocabulary[entity]
        self.relation_labels = archive.vocabulary[relation]
        self.share = np.float32(archive.config["model"]["modules"]["relation"]["spans_per_word"])
        self.max_width = int(archive.config["dataset_reader"]["max_span_width"])

    def __call__(self, words: Tensor, lengths: Sequence[int]) -> list[list[Row]]:
        """Return the entities of each text with their relations.

        Parameters
        ----------
        words
            Vectors of the words of all texts, one text after another, of shape (sum of ``lengths``, hidden).
        lengths
            Words of each text, at least one.
        """
        labels, scores = self._spans(words, lengths)
        kept = self._kept(scores, lengths) & (labels > 0)
        first, width = torch.nonzero(labels, as_tuple=True)
        bounds = np.cumsum([0, *lengths])
        texts = np.searchsorted(bounds, first.cpu().numpy(), side="right") - 1
        rows: list[list[Row]] = [[] for _ in lengths]
        places: list[tuple[int, int]] = []
        names = [self.entity_labels[label] for label in labels[first, width].tolist()]
        for text, start, more, name in zip(texts.tolist(), first.tolist(), width.tolist(), names, strict=True):
            start -= int(bounds[text])
            places.append((text, len(rows[text])))
            rows[text].append((start, start + more, name, []))
        chosen = torch.nonzero(kept[first, width]).flatten()
        if len(chosen):
            counts = np.bincount(texts[chosen.cpu().numpy()], minlength=len(lengths))
            found = self._relations(words, first[chosen], width[chosen], scores[first, width][chosen], counts)
            numbers = chosen.tolist()
            for one, other, label in found:
                text, place = places[numbers[one]]
                rows[text][place][3].append((self.relation_labels[label], places[numbers[other]][1]))
        return rows

    def _spans(self, words: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return label (0: none) and pruning score of each span by first word and width - 1; -inf past a text's end."""
        (entity, entity_bias), (pruner, pruner_bias) = self.entity[0], self.pruner[0]
        hidden, cut = words.shape[1], entity.shape[0]
        both = torch.cat((entity, pruner))
        width = min(self.max_width, max(lengths))
        sized = self.widths[:width] @ both[:, 2 * hidden :].T + torch.cat((entity_bias, pruner_bias))
        starts, ends = words @ both[:, :hidden].T, words @ both[:, hidden : 2 * hidden].T
        last = torch.arange(len(words), device=words.device)[:, None] + torch.arange(width, device=words.device)
        stop = torch.from_numpy(np.repeat(np.cumsum(lengths), lengths)).to(words.device)
        inside = last < stop[:, None]
        spans = (starts[:, None] + ends[last.clamp_(max=len(words) - 1)]).add_(sized).relu_()
        scores = _forward(spans[..., :cut], self.entity[1:])
        best, label = scores.max(dim=-1)
        labels = torch.where(inside & (best > 0), label + 1, 0)
        kept = _forward(spans[..., cut:], self.pruner[1:]).squeeze(-1)
        return labels, kept.masked_fill_(~inside, -math.inf)

    def _kept(self, scores: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return which spans are among the best of their text, a fixed share of its number of words."""
        kept = torch.zeros_like(scores, dtype=torch.bool)
        start = 0
        for length in lengths:
            here = scores[start : start + length].reshape(-1)
            possible = length * scores.shape[1]
            best = here.topk(min(possible, max(1, math.ceil(np.float32(length) * self.share)))).indices
            kept[start : start + length].view(-1)[best] = True
            start += length
        return kept

    def _relations(
        self,
        words: Tensor,
        first: Tensor,
        width: Tensor,
        scores: Tensor,
        counts: Numbers,
    ) -> list[tuple[int, int, int]]:
        """Return (span, other span, label) of each relation, in order; ``counts`` says how many spans each text has.

        The part of the first layer that sees the product of two spans is the same in both directions: it is computed once.
        """
        weight, bias = self.relation[0]
        spans = torch.cat((words[first], words[first + width], self.widths[width]), dim=1)
        size = spans.shape[1]
        heads, tails = spans @ weight[:, :size].T + bias, spans @ weight[:, size : 2 * size].T
        product = weight[:, 2 * size :].T.contiguous()
        one, other = _pairs(counts)
        found: list[tuple[int, int, int]] = []
        for begin in range(0, len(one), PAIRS):
            i = torch.from_numpy(one[begin : begin + PAIRS]).to(words.device)
            j = torch.from_numpy(other[begin : begin + PAIRS]).to(words.device)
            shared = (spans[i] * spans[j]) @ product
            hidden = torch.stack((heads[i] + tails[j] + shared, heads[j] + tails[i] + shared)).relu_()
            logits = _forward(hidden, self.relation[1:]) + (scores[i] + scores[j])[:, None]
            best, label = logits.max(dim=-1)
            best[1].masked_fill_(i == j, -1.0)
            side, row = torch.nonzero(best > 0, as_tuple=True)
            from_, to = torch.where(side == 0, i[row], j[row]), torch.where(side == 0, j[row], i[row])
            found += zip(from_.tolist(), to.tolist(), label[side, row].tolist(), strict=True)
        return sorted(found)


def _pairs(counts: Numbers) -> tuple[Numbers, Numbers]:
    """Return the pairs (i, j), i <= j, of the spans of each text, spans being numbered through all texts."""
    total = int(counts.sum())
    numbers = np.arange(total)
    left = np.repeat(np.cumsum(counts), counts) - numbers
    one = np.repeat(numbers, left)
    other = np.arange(len(one)) - np.repeat(np.cumsum(left) - left, left) + one
    return one, other


def _layer(state: Mapping[str, Tensor], name: str) -> Layer:
    return state[f"{name}.weight"], state[f"{name}.bias"]


def _layers(state: Mapping[str, Tensor], name: str, number: int) -> list[Layer]:
    """Return the layers of a feed-forward network and of the linear one that scores what comes out of it."""
    inner = [_layer(state, f"{name}.0._module._linear_layers.{layer}") for layer in range(number)]
    return [*inner, _layer(state, f"{name}.1._module")]


def _forward(values: Tensor, layers: Sequence[Layer]) -> Tensor:
    """Apply linear layers, with a ReLU after each but the last."""
    for weight, bias in layers[:-1]:
        values = torch.nn.functional.linear(values, weight, bias).relu_()
    weight, bias = layers[-1]
    return torch.nn.functional.linear(values, weight, bias)
