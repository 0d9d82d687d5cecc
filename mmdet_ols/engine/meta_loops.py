"""Training loops that learn the weights of samples from a few clean ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmdet_ols.core import no_teaching, sample_numbers
from mmdet_ols.core.arguments import check_integer
from mmdet_ols.core.random_streams import generator, seed_of_run, stream_seed
from mmdet_ols.core.rolling_state import world_size
from mmdet_ols.core.sample_gradients import (
    Parameters,
    SampleDerivatives,
    SampleLosses,
    total_count,
)
from mmdet_ols.core.sample_weights import OPTIMIZER, WeightingNetwork, learned_weights
from mmdet_ols.datasets import NumberedDataset
from mmdet_ols.datasets.clean_part import clean_part_of
from mmdet_ols.evaluation.passes import unwrapped
from mmdet_ols.losses import SampleWeightLoss
from mmdet_ols.registry import EpochBasedTrainLoop, Hook, register_loop

#: Where a checkpoint holds the weighting network and its optimizer.
CHECKPOINT_KEY = 'weighting_network'
_STREAM = 1902  # tells these draws from others of the same seed
#: Below this mean of w (1 - w), which its gradient is proportional to, a sigmoid is saturated.
SATURATED = 0.01


class MetaTrainLoop(EpochBasedTrainLoop):
    """An epoch-based loop that weighs the samples of each batch before it takes the step.

    Around a step it is MMEngine's loop, and all hooks see what they are used to. The clean part of
    the training data (`CleanPartDataset`) is repeated along with the batches that are trained
    on. Trial passes compute in float32, on copies of BatchNorm's statistics, and teach
    nothing; the step itself computes as the `optim_wrapper` says.

    Args:
        runner: The runner.
        dataloader: The training data, with a clean part held out, or their config.
        max_epochs: Number of epochs.
        val_begin: The first epoch after which is validated.
        val_interval: Number of epochs between two validations.
        dynamic_intervals: See MMEngine's `EpochBasedTrainLoop`.
        clean_batch_size: Number of clean samples that each process looks at in a step; all of its
            part where there are fewer.

    Raises:
        ValueError: `clean_batch_size` is no positive integer, the training data have no clean part,
            or the runner is a FlexibleRunner.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: list[tuple[int, int]] | None = None,
        clean_batch_size: int = 100,
    ) -> None:
        from mmengine.runner import FlexibleRunner

        check_integer('clean_batch_size', clean_batch_size)
        if isinstance(runner, FlexibleRunner):
            raise ValueError(
                f"{type(self).__name__} needs MMEngine's Runner, but got a FlexibleRunner, whose "
                'strategies may split the model: leave `runner_type` out.'
            )
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval, dynamic_intervals)
        self._seed = seed_of_run(runner.seed)
        self._clean_loader = _clean_loader(self.dataloader, clean_batch_size, self._seed)
        self._clean_batches: Iterator[Any] = iter(())
        self.derivatives = SampleDerivatives()

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Weigh a batch, and take a step on it; the arguments are MMEngine's."""
        if idx == 0:
            self._clean_batches = self._endless_clean_batches()
        self.runner.call_hook('before_train_iter', batch_idx=idx, data_batch=data_batch)
        outputs = self._step(data_batch, next(self._clean_batches))
        self.runner.call_hook(
            'after_train_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs
        )
        self._iter += 1

    def _endless_clean_batches(self) -> Iterator[Any]:
        """Passes over the clean part whose order depends on nothing but seed and epoch."""
        passes = self.epoch * (-(-len(self.dataloader) // len(self._clean_loader)))
        while True:
            self._clean_loader.sampler.set_epoch(passes)
            yield from self._clean_loader
            passes += 1

    def _step(self, data_batch: Any, clean_batch: Any) -> dict[str, Tensor]:
        model, optim_wrapper = self.runner.model, self.runner.optim_wrapper
        bare = _whole_model(model)
        data = bare.data_preprocessor(data_batch, True)
        clean = bare.data_preprocessor(clean_batch, True)
        parameters = {n: p for n, p in bare.named_parameters() if p.requires_grad}
        with no_teaching():
            log = self._before_step(_losses_at(bare, data), _losses_at(bare, clean), parameters)
        with optim_wrapper.optim_context(model):
            outputs = model._run_forward(data, mode='loss')
        losses = sample_losses(outputs, len(data['data_samples']), bare)
        cost, weights, more = self._weigh(losses)
        _record(bare, data['data_samples'], weights)
        optim_wrapper.update_params(cost)
        others = {key: value for key, value in outputs.items() if 'loss' not in key}
        return dict(loss=cost.detach(), **log, **more, **others)

    def _before_step(
        self, noisy: SampleLosses, clean: SampleLosses, parameters: Parameters
    ) -> dict[str, Tensor]:
        """Look at a batch before the step; return what is logged of that.

        Args:
            noisy: The losses of the batch that is trained on.
            clean: Those of the clean batch.
            parameters: The trained parameters.
        """
        raise NotImplementedError

    def _weigh(self, losses: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Weigh the losses of the step.

        Args:
            losses: Of the samples of the batch, with their graph.

        Returns:
            What the step is taken on; what each sample weighs, 1 being what it does without the
            method; and what is logged of that.
        """
        raise NotImplementedError


@register_loop
class L2RWTrainLoop(MetaTrainLoop):
    """Weighs each sample by how much a step on it helps the clean ones: Ren et al., ICML 2018.

    Logs, besides the weighted loss, `clean_loss`, the mean loss of the clean batch, and
    `helpful`, the share of the batch with a weight above 0. See `MetaTrainLoop` for the arguments.
    """

    def _before_step(
        self, noisy: SampleLosses, clean: SampleLosses, parameters: Parameters
    ) -> dict[str, Tensor]:
        self._weights, clean_loss = learned_weights(noisy, clean, parameters, self.derivatives)
        return dict(clean_loss=clean_loss)

    def _weigh(self, losses: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        weights = self._weights
        # They sum to 1 over all processes, of whose gradients DDP takes the mean.
        cost = world_size() * (weights * losses).sum()
        return cost, weights * total_count(weights), dict(helpful=(weights > 0).float().mean())


@register_loop
class MetaWeightNetTrainLoop(MetaTrainLoop):
    """Weighs each sample by a small network of its loss: Shu et al., NeurIPS 2019.

    In each step the network learns, by an optimizer of its own, to make the clean loss small after
    a plain gradient step of the model; then the model takes its step with the new weights. Network
    and optimizer are part of the checkpoints of the run, and not of the model. Logs, besides the
    weighted loss, `clean_loss`, the mean loss of the clean batch after the trial step, and
    `mean_weight`. Warns after an epoch in which all weights were nearly 0 or nearly 1. See
    `MetaTrainLoop` for the other arguments.

    Args:
        hidden: Width of the weighting network's hidden layer.
        normalize: Whether the weights of a batch are divided by their sum; else by its size.
        optimizer: Config of the weighting network's optimizer; None is `OPTIMIZER`, the
            authors' Adam at a hundredth of their learning rate.

    Raises:
        ValueError: See `MetaTrainLoop` and `WeightingNetwork`.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: list[tuple[int, int]] | None = None,
        clean_batch_size: int = 100,
        hidden: int = 100,
        normalize: bool = False,
        optimizer: Mapping[str, Any] | None = None,
    ) -> None:
        from mmengine.registry import OPTIMIZERS

        super().__init__(
            runner,
            dataloader,
            max_epochs,
            val_begin,
            val_interval,
            dynamic_intervals,
            clean_batch_size,
        )
        # The weights of the model are drawn later, and are to be those of any other method. So the
        # generators of GPUs, in which the model may be already, are left alone.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(stream_seed(self._seed, _STREAM))
            network = WeightingNetwork(hidden, normalize)
        self.network = network.to(next(runner.model.parameters()).device)
        settings = dict(optimizer or OPTIMIZER)
        self.optimizer = OPTIMIZERS.build(dict(settings, params=self.network.parameters()))
        runner.register_hook(_WeightingNetworkHook(self))
        self._slopes: list[Tensor] = []  # of the sigmoid, in the steps of this epoch

    def run_epoch(self) -> None:
        """Train for an epoch, and say if the weighting network was saturated in it."""
        self._slopes.clear()
        super().run_epoch()
        slope = float(torch.stack(self._slopes).mean())
        if slope < SATURATED:
            self.runner.logger.warning(
                f'The weighting network was saturated in epoch {self.epoch}: the mean of w (1 - w) '
                f'over the weights w of its samples is {slope:.1g}, so that all count alike, as '
                'with hard labels, and the network hardly learns. Give it a smaller learning rate '
                '(`weight_lr` of meta_weight_net), a tenth or a hundredth, and start again.'
            )

    def _before_step(
        self, noisy: SampleLosses, clean: SampleLosses, parameters: Parameters
    ) -> dict[str, Tensor]:
        rates = _learning_rates(self.runner.optim_wrapper, parameters)
        clean_loss = self.network.meta_gradient(noisy, clean, parameters, rates, self.derivatives)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return dict(clean_loss=clean_loss)

    def _weigh(self, losses: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            weights = self.network(losses)
            shares = self.network.shares(weights)
            self._slopes.append((weights * (1 - weights)).mean())
        cost = world_size() * (shares * losses).sum()
        return cost, shares * total_count(losses), dict(mean_weight=weights.mean())

    def state_dict(self) -> dict[str, Any]:
        """The weighting network and its optimizer, for a checkpoint."""
        return dict(
            state_dict=self.network.state_dict(),
            optimizer=self.optimizer.state_dict(),
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the network and the optimizer of a checkpoint."""
        self.network.load_state_dict(state['state_dict'])
        self.optimizer.load_state_dict(state['optimizer'])


class _WeightingNetworkHook(Hook):
    """Puts the weighting network of a loop into checkpoints, and takes it from what is resumed."""

    def __init__(self, loop: MetaWeightNetTrainLoop) -> None:
        self.loop = loop

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint[CHECKPOINT_KEY] = self.loop.state_dict()

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        if not runner._resume:
            return  # a new training starts from the weights of the model only
        if CHECKPOINT_KEY not in checkpoint:
            raise ValueError(
                f'The checkpoint that is resumed must hold `{CHECKPOINT_KEY}`, the network that '
                'weighs the samples, but has none: resume one of a run with meta_weight_net.'
            )
        self.loop.load_state_dict(checkpoint[CHECKPOINT_KEY])


def sample_losses(outputs: Mapping[str, Any], count: int, model: nn.Module) -> Tensor:
    """The loss of each sample of a batch, in float32 at least.

    Args:
        outputs: What a classifier of MMPretrain returns for its losses.
        count: Number of samples in the batch.
        model: The classifier.

    Raises:
        ValueError: A loss of the head is not one for each sample.
    """
    losses = {key: value for key, value in outputs.items() if 'loss' in key}
    for key, value in losses.items():
        if not isinstance(value, Tensor) or value.shape != (count,):
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f'Weighing samples needs a loss for each of the {count} samples of a batch, but '
                f'`{key}` of {type(getattr(model, "head", model)).__name__} is {shape}: give it '
                "loss=dict(type='SampleWeightLoss', num_classes=N), as --method does."
            )
    sum_ = torch.stack(list(losses.values())).sum(0)
    return sum_.to(torch.promote_types(sum_.dtype, torch.float32))


def _record(model: nn.Module, data_samples: Sequence[Any], weights: Tensor) -> None:
    """Keep the weights of a batch where the loss has a place for them."""
    for module in model.modules():
        if isinstance(module, SampleWeightLoss):
            module.record_weights(sample_numbers(data_samples), weights)


def _losses_at(model: nn.Module, data: Mapping[str, Any]) -> SampleLosses:
    """A function that computes the losses of a batch at other parameters, and changes nothing."""

    def losses(parameters: Parameters) -> Tensor:
        # BatchNorm updates the statistics that it is given.
        buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
        outputs = torch.func.functional_call(
            model, {**parameters, **buffers}, (), dict(data, mode='loss')
        )
        return sample_losses(outputs, len(data['data_samples']), model)

    return losses


def _clean_loader(training: Any, batch_size: int, seed: int) -> Any:
    """A loader of the clean part that was held out of the training data."""
    from mmengine.dataset import DefaultSampler
    from torch.utils.data import DataLoader

    clean = NumberedDataset(clean_part_of(training.dataset))  # the classifier asks for numbers
    sampler = DefaultSampler(clean, shuffle=True, seed=seed)
    return DataLoader(
        clean,
        batch_size=batch_size,
        sampler=sampler,
        # The few samples that remain would decide about a whole batch.
        drop_last=len(sampler) >= batch_size,
        num_workers=training.num_workers,
        collate_fn=training.collate_fn,
        pin_memory=training.pin_memory,
        worker_init_fn=training.worker_init_fn,
        persistent_workers=training.num_workers > 0,  # a pass may be as short as a batch
        generator=generator(seed, _STREAM),  # leaves the run's random numbers alone
    )


def _learning_rates(optim_wrapper: Any, parameters: Parameters) -> dict[str, Any]:
    """The learning rate that the optimizer has for each parameter now; 0 where it has none."""
    from mmengine.optim import OptimWrapper

    if not isinstance(optim_wrapper, OptimWrapper):
        raise ValueError(
            'The trial step takes the learning rates of one optimizer, but `optim_wrapper` is a '
            f'{type(optim_wrapper).__name__}: name one optimizer.'
        )
    rates = {
        id(parameter): group['lr']
        for group in optim_wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    return {name: rates.get(id(value), 0.0) for name, value in parameters.items()}


def _whole_model(model: nn.Module) -> Any:
    bare = unwrapped(model)
    if bare is model or isinstance(model, nn.parallel.DistributedDataParallel):
        return bare
    raise ValueError(
        'Weighing samples needs the whole model in each process, but the model is wrapped in '
        f'{type(model).__name__}: train with MMDistributedDataParallel.'
    )
