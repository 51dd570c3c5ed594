"""CueCo's training step in PyTorch, as its users write it: the yardstick of `benchmark step`.

Network, head, queue, losses, clusters and optimizer are CueCo's, the second and third loss at
their full weight; tensors are in channels-last order, and what PyTorch can do to many tensors at
once (SGD, moving average) is done so. Needs the extra `bench`.
"""

import torch
from torch.nn import functional

from cueco_tf.parts.clusters import seeding_trials
from pipelines.benchmarking import torch_clusters
from pipelines.benchmarking.torch_network import (
    Network,
    padding_of_tensorflow,
    take_weights,
    to_torch,
)

_WARM_UP = 3  # calls before a function is recorded, in which PyTorch makes what it keeps


class TorchCueCo:
    """Trains on the same two views again and again; a call is a step.

    Args:
        name: `"resnet10"`, `"resnet18"` or `"resnet34"`, with the stem for small images.
        width: integer >= 1, the channels of the first stage.
        model: a compiled `CueCo` whose weights, queue, clusters, sizes and settings are taken over.
        views: two float32 `(n, height, width, 3)` arrays, pixels 0 to 255.
        clusters: whether it has clusters and the losses of them; else it is MoCo. Defaults to True.
        device: as in PyTorch. Defaults to `"cpu"`.
        bfloat16: whether the networks compute in bfloat16 (autocast). Defaults to False.
    """

    def __init__(self, name, width, model, views, clusters=True, device="cpu", bfloat16=False):
        self.settings, self.clustered = model.settings, clusters
        self.device, self.bfloat16 = torch.device(device), bfloat16
        sizes = name, width, self.settings["hidden_dim"], self.settings["projection_dim"]
        self.network, self.key_network = (Network(*sizes) for _ in range(2))
        for network in (self.network, self.key_network):
            take_weights(network, model)
            network.to(self.device, memory_format=torch.channels_last)
        self.key_network.requires_grad_(False)
        self.views = [to_torch(view).to(self.device) for view in views]
        owner = model.clusters
        state = (model.memory.queue, owner.centroids, owner.variances, owner.usage)
        self.queue, *self.clusters = (
            torch.tensor(weight.numpy(), device=self.device) for weight in state
        )
        self.places = torch.arange(len(views[0]), device=self.device)  # of the next keys
        self.parameters = list(self.network.parameters())
        self.key_parameters = list(self.key_network.parameters())
        rate = 0.01
        self.kept = 1.0 - rate * model.optimizer.weight_decay  # decoupled, as Keras's
        self.optimizer = torch.optim.SGD(self.parameters, rate, momentum=0.9, foreach=True)
        self.done = 0

    def __call__(self):
        """Takes a step; returns the loss, a scalar on the device."""
        loss = self._learn()
        self.done += 1
        refresh = self.settings["refresh_steps"]
        if self.clustered and refresh and self.done % refresh == 0:
            self._remake()
        elif self.clustered:
            self._move()
        return loss

    def compile(self):
        """Lets `torch.compile` have both networks; the next call takes a minute or more."""
        self.network.compile()
        self.key_network.compile()

    def record(self):
        """Records the step as CUDA graphs, which every later call replays."""
        self._learn = _recorded(self._learn)
        if self.clustered:  # after the former, whose keys they take
            self._move, self._remake = _recorded(self._move), _recorded(self._remake)

    def first_losses(self):
        """The means of the losses under TensorFlow's padding, without a step: one, or three."""
        with torch.no_grad(), padding_of_tensorflow():
            keys = self._project(self.key_network, self.views[1])
            queries = self._project(self.network, self.views[0])
            return [float(term) for term in self._terms(queries, keys, self._assign(keys))]

    def _project(self, network, view):
        # Without the cache of autocast, which a recorded function must not read.
        with torch.autocast(self.device.type, torch.bfloat16, self.bfloat16, cache_enabled=False):
            return network(view)

    def _assign(self, keys):
        return torch_clusters.assign(keys, self.clusters[0]) if self.clustered else None

    def _terms(self, queries, keys, assignments):
        positive = (queries * keys).sum(1, keepdim=True)
        logits = torch.cat([positive, queries @ self.queue.T], 1) / self.settings["temperature"]
        terms = [functional.cross_entropy(logits, torch.zeros_like(self.places))]
        if self.clustered:
            centroids, variances, _ = self.clusters
            similarity = queries @ centroids.T / self.settings["centroid_temperature"]
            terms.append(functional.cross_entropy(similarity, assignments))
            distance = (queries - centroids[assignments]).square().sum(1)
            terms.append((distance / (2.0 * variances[assignments] + 1e-6)).mean())
        return terms

    def _learn(self):
        with torch.no_grad():
            followed = 1.0 - self.settings["key_momentum"][0]
            torch._foreach_lerp_(self.key_parameters, self.parameters, followed)
            self.keys = self._project(self.key_network, self.views[1])
            self.assignments = self._assign(self.keys)
        queries = self._project(self.network, self.views[0])
        terms = self._terms(queries, self.keys, self.assignments)
        weights = self.settings["loss_weights"]
        loss = sum(weight * term for weight, term in zip(weights, terms, strict=False))
        self.optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            torch._foreach_mul_(self.parameters, self.kept)
            self.optimizer.step()
            self.queue.index_copy_(0, self.places, self.keys)
            self.places.add_(len(self.places)).remainder_(len(self.queue))
        return loss.detach()

    @torch.no_grad()
    def _move(self):
        settings, (centroids, variances, usage) = self.settings, self.clusters
        momenta = settings["centroid_momentum"], settings["variance_momentum"]
        given = self.keys, self.assignments, momenta, settings["variance_floor"]
        moved = torch_clusters.update(centroids, variances, *given)
        usage = torch_clusters.update_usage(usage, self.assignments)
        uniforms = torch.rand(len(self.queue), device=self.device)
        self._keep(torch_clusters.reseed(*moved, usage, self.queue, uniforms))

    @torch.no_grad()
    def _remake(self):
        count = len(self.clusters[0])
        uniforms = torch.rand(count, seeding_trials(count), device=self.device)
        floor = self.settings["variance_floor"]
        self._keep(torch_clusters.spherical_kmeans(self.queue, uniforms, floor))

    def _keep(self, made):
        for own, new in zip(self.clusters, made, strict=True):
            own.copy_(new)


def _recorded(function):
    """A function without arguments as a CUDA graph; it gives the same tensors at every call."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function()

    def replay():
        graph.replay()
        return result

    return replay
