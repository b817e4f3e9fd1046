"""The heads of RadGraph's network (DyGIE++, Wadden et al. 2019): from word vectors to entities and relations.

A span is described by the vectors of its first and its last word and one of its width, so the first layer of each head
is taken apart: it is applied to every word once, not to every span, and the spans only add up what it gave. Relations are
scored only between spans that are both entities and among those that the relation head keeps; no other pair can be in a
graph. Texts are laid one after another, so that a batch is one matrix; no text sees another, to the bit on a CPU: see
``products``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wetread.metrics.neural.products import dense, filled, padded
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
        self.cut = len(self.entity[0][1])
        both = torch.cat((self.entity[0][0], self.pruner[0][0]))
        hidden = (both.shape[1] - self.widths.shape[1]) // 2
        # What the first layers of both heads make of a span's first word, of its last, and of its width with the bias.
        self.of_words = torch.cat((both[:, :hidden], both[:, hidden : 2 * hidden]))
        self.of_widths = self.widths @ both[:, 2 * hidden :].T + torch.cat((self.entity[0][1], self.pruner[0][1]))
        weight, _ = self.relation[0]
        size = both.shape[1]
        self.of_spans = torch.cat((weight[:, :size], weight[:, size : 2 * size]))
        self.of_products = weight[:, 2 * size :].contiguous()
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
        rows = filled(words)
        starts, ends = dense(rows, self.of_words).chunk(2, dim=1)
        last = torch.arange(len(rows), device=words.device)[:, None] + torch.arange(self.max_width, device=words.device)
        stop = torch.from_numpy(np.repeat(np.cumsum(lengths), lengths)).to(words.device)
        inside = last[: len(words)] < stop[:, None]
        last.clamp_(max=len(rows) - 1)
        found = []
        for part, layers in ((slice(self.cut), self.entity), (slice(self.cut, None), self.pruner)):
            spans = (starts[:, None, part] + ends[:, part][last]).add_(self.of_widths[: self.max_width, part]).relu_()
            found.append(_forward(spans, layers[1:])[: len(words)])
        best, label = found[0].max(dim=-1)
        labels = torch.where(inside & (best > 0), label + 1, 0)
        return labels, found[1].squeeze(-1).masked_fill_(~inside, -math.inf)

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
        spans = torch.cat((words[first], words[first + width], self.widths[width]), dim=1)
        heads, tails = dense(filled(spans), self.of_spans).chunk(2, dim=1)
        heads = heads + self.relation[0][1]
        one, other = _pairs(counts)
        step = padded(CELLS // spans.shape[1], words.device)
        found = [np.empty((0, 3), dtype=np.int32)]
        for begin in range(0, len(one), step):
            i, j = (torch.from_numpy(side[begin : begin + step]).to(words.device) for side in (one, other))
            shared = dense(filled(spans[i] * spans[j]), self.of_products)[: len(i)]
            hidden = torch.cat((heads[i] + tails[j] + shared, heads[j] + tails[i] + shared)).relu_()
            scored = _forward(filled(hidden), self.relation[1:])[: len(hidden)].view(2, len(i), -1)
            best, label = scored.add_((scores[i] + scores[j])[:, None]).max(dim=-1)
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
        values = dense(values, weight, bias).relu_()
    weight, bias = layers[-1]
    return dense(values, weight, bias)
