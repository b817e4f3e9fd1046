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

CELLS = 1 << 23
"""Pairs of spans that are scored at once, times the length of a span's description."""
Layer = tuple[Tensor, Tensor]
"""Weight of shape (out, in) and bias of a linear layer."""
Numbers = NDArray[np.int32]
Found = tuple[Numbers, Numbers]
"""What is found in a text: its entities as (first word, last word, label), in order of their words, and its relations as
(entity, other entity, label), in order, an entity being its row."""


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

    def __call__(self, words: Tensor, lengths: Sequence[int]) -> list[Found]:
        """Return the entities and relations of each text.

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
        entities = torch.stack((first, first + width, labels[first, width]), dim=1).cpu().numpy()
        bounds = np.cumsum([0, *lengths])
        ends = np.searchsorted(entities[:, 0], bounds)  # of each text among the entities, which are in order
        chosen = torch.nonzero(kept[first, width]).flatten()
        numbers = chosen.cpu().numpy()
        counts = np.diff(np.searchsorted(numbers, ends))
        links = self._relations(words, first[chosen], width[chosen], scores[first, width][chosen], counts)
        links[:, :2] = numbers[links[:, :2]]
        cuts = np.searchsorted(links[:, 0], ends)
        found: list[Found] = []
        for text in range(len(lengths)):
            mine = entities[ends[text] : ends[text + 1]] - np.array((bounds[text], bounds[text], 0))
            between = links[cuts[text] : cuts[text + 1]] - np.array((ends[text], ends[text], 0))
            found.append((mine.astype(np.int32), between.astype(np.int32)))
        return found

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
        self, words: Tensor, first: Tensor, width: Tensor, scores: Tensor, counts: NDArray[np.int64]
    ) -> Numbers:
        """Return (span, other span, label) of each relation, in order; ``counts`` says how many spans each text has.

        The part of the first layer that sees the product of two spans is the same in both directions: it is computed once.
        """
        weight, bias = self.relation[0]
        spans = torch.cat((words[first], words[first + width], self.widths[width]), dim=1)
        size = spans.shape[1]
        heads, tails = spans @ weight[:, :size].T + bias, spans @ weight[:, size : 2 * size].T
        product = weight[:, 2 * size :].T.contiguous()
        one, other = _pairs(counts)
        step = max(1, CELLS // size)
        found = [np.empty((0, 3), dtype=np.int32)]
        for begin in range(0, len(one), step):
            i = torch.from_numpy(one[begin : begin + step]).to(words.device)
            j = torch.from_numpy(other[begin : begin + step]).to(words.device)
            shared = (spans[i] * spans[j]) @ product
            hidden = torch.stack((heads[i] + tails[j] + shared, heads[j] + tails[i] + shared)).relu_()
            best, label = (_forward(hidden, self.relation[1:]) + (scores[i] + scores[j])[:, None]).max(dim=-1)
            best[1].masked_fill_(i == j, -1.0)
            side, row = torch.nonzero(best > 0, as_tuple=True)
            near, far = torch.stack((i, j))[side, row], torch.stack((j, i))[side, row]
            found.append(torch.stack((near, far, label[side, row]), dim=1).int().cpu().numpy())
        every = np.concatenate(found)
        return every[np.lexsort((every[:, 1], every[:, 0]))]


def _pairs(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
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
