"""Meta-Weight-Net: a small network says what a sample weighs by its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmdet_ols.core.arguments import check_choice, check_integer, check_number
from mmdet_ols.core.sample_weights import OPTIMIZER
from mmdet_ols.methods.meta_parts import add_meta_parts, remove_meta_parts
from mmdet_ols.methods.method import config_method

if TYPE_CHECKING:
    from mmengine.config import Config

#: Form -> optimizer of the weighting network, and whether the weights of a batch sum to 1.
FORMS: dict[str, tuple[dict[str, Any], bool]] = dict(
    stable=(OPTIMIZER, False),
    early=(dict(type='SGD', lr=1e-3, weight_decay=0.0), True),
)


def meta_weight_net(
    cfg: Config,
    *,
    form: str = 'stable',
    clean_per_class: int = 10,
    clean_batch_size: int = 100,
    hidden: int = 100,
    weight_lr: float | None = None,
    weight_decay: float | None = None,
) -> None:
    """Weigh each sample by a small network of its loss, which learns from a few clean samples.

    A clean part is held out of the training data, with its true labels. In each step the weighting
    network learns to make the clean loss small after a trial step of the classifier. Schedule and
    batch size stay the config's own; the authors take batches of 100 and 120 epochs.

    Args:
        cfg: The config; it is changed.
        form: 'stable', the authors' later script: weights divided by the batch size, as in the
            paper, and Adam. 'early', their first script: weights divided by their sum, and SGD. The
            default is the one that agrees with the paper.
        clean_per_class: Clean samples of each class.
        clean_batch_size: Clean samples that each process looks at in a step.
        hidden: Width of the weighting network's hidden layer.
        weight_lr: Learning rate of the weighting network; None means the form's, 1e-5 or 1e-3. The
            authors' later script has 1e-3, with which all weights soon were 1 on CIFAR-10N.
        weight_decay: Of the weighting network; None means the form's, 1e-4 or 0.

    Raises:
        ValueError: An option is out of range, or the config is not that of a classifier which can
            learn so.
    """
    note = ' of meta_weight_net'
    check_choice('form', form, FORMS, note)
    check_number('weight_lr', weight_lr, 'above 0', note, optional=True)
    check_number('weight_decay', weight_decay, 'at least 0', note, optional=True)
    check_integer('hidden', hidden, note=note)
    optimizer, normalize = FORMS[form]
    given = {'lr': weight_lr, 'weight_decay': weight_decay}
    given = {key: value for key, value in given.items() if value is not None}
    add_meta_parts(
        cfg,
        'meta_weight_net',
        'MetaWeightNetTrainLoop',
        clean_per_class,
        clean_batch_size=clean_batch_size,
        hidden=hidden,
        normalize=normalize,
        optimizer=dict(optimizer, **given),
    )


METHOD = config_method(
    meta_weight_net,
    source='Shu et al., Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting, '
    'NeurIPS 2019, arXiv 1902.07379',
    changes='the training loop of a classifier, its loss, a clean part of the data, and a hook',
    undo=remove_meta_parts,
    combines_with=('cutout',),
)
