"""Online Label Smoothing with the Trainer of Transformers, with checkpoints that resume exactly.

    python examples/transformers_trainer.py [--epochs 3] [--folder ...] [--resume]

Do not forget two things: the criterion is an attribute of the model, so that every checkpoint holds
its soft labels, and the callback below, since the Trainer calls no roll-over by itself. Leave
`label_smoothing_factor` at 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import has_length

from mmdet_ols import OLSLoss

CLASSES = 5


class MadeText(Dataset):
    """320 made texts of 8 words; each class has words that it prefers. Your own data go here."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        preference = (1.5 * torch.randn(CLASSES, 50, generator=generator)).softmax(1)
        self.labels = torch.randint(CLASSES, (320,), generator=generator)
        self.words = torch.multinomial(preference[self.labels], 8, True, generator=generator)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return dict(input_ids=self.words[index], labels=self.labels[index])


def make_model() -> PreTrainedModel:
    """A small BERT. Yours comes from `from_pretrained`; the line after it stays the same."""
    set_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=8, num_labels=CLASSES,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    model.criterion = OLSLoss(num_classes=CLASSES)
    return model


class RollOver(TrainerCallback):
    """Calls the criterion's collective functions on all processes."""

    def __init__(self, criterion: OLSLoss) -> None:
        self.criterion = criterion
        criterion.state.roll_over_scheduled = True  # nothing to warn of: this will call it

    def on_train_begin(
        self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any
    ) -> None:
        if not has_length(train_dataloader):
            raise ValueError(
                '`train_dataset` must have a length, as `state.epoch` does not show the end of a '
                'stream: call update_soft_labels() every so many steps (`state.global_step`).'
            )

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        # Not in `on_epoch_end`, which comes after the checkpoint of an epoch's last step, and also
        # where `max_steps` ends the training within an epoch.
        if float(state.epoch).is_integer():
            self.criterion.update_soft_labels()
        elif control.should_save:
            self.criterion.reduce_sums()


def main(
    folder: Path, epochs: int = 3, resume: bool | str = False, **options: Any
) -> tuple[nn.Module, OLSLoss]:
    """Train up to `epochs`; `options` are those of `TrainingArguments`."""
    model = make_model()
    criterion = model.criterion

    def compute_loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        # The Trainer does not divide the sum over accumulated batches by their number itself.
        return criterion(outputs.logits, labels, avg_factor=num_items_in_batch)

    arguments = dict(
        output_dir=str(folder), num_train_epochs=epochs, per_device_train_batch_size=32,
        learning_rate=3e-3, save_strategy='epoch', report_to='none',
        use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip
    trainer = Trainer(
        model,
        TrainingArguments(**{**arguments, **options}),
        train_dataset=MadeText(),
        eval_dataset=MadeText(),
        compute_loss_func=compute_loss,
        callbacks=[RollOver(criterion)],
    )
    trainer.train(resume_from_checkpoint=resume)
    return model, criterion


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--epochs', type=int, default=3)
    parser.add_argument('--folder', type=Path, default=Path('work_dirs/transformers_trainer'))
    parser.add_argument('--resume', action='store_true')
    _, trained = main(**vars(parser.parse_args()))
    print(f'The soft labels, in per cent:\n{(100 * trained.soft_labels).round()}')
