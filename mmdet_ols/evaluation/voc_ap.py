"""Average precision as PASCAL VOC defines it, in both of its forms and for every class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet_ols.core.arguments import check_number
from mmdet_ols.evaluation.descriptions import MetricDescription
from mmdet_ols.registry import BaseMetric, register_metric


def _fraction(key: str, title: str, main: bool = False) -> MetricDescription:
    return MetricDescription(key, title, '%', lower_is_better=False, scale=100, main=main)


def _with_ranks(detections: Sequence[list]) -> list[list]:
    """Replace the scores of each class by their ranks, so that no two are equal.

    `eval_map` sorts the detections of an image once, to match them, and those of all images again,
    for the curve; equal scores may come out in two orders, and a copy before its original.

    Args:
        detections: For each image, an array (n, 5) for each class; they stay as they are.
    """
    import numpy as np

    ranked = [list(image) for image in detections]
    for label, per_image in enumerate(zip(*detections)):
        scores = np.concatenate([boxes[:, 4] for boxes in per_image])
        ranks = np.empty(len(scores))
        ranks[np.argsort(-scores, kind='stable')] = np.arange(len(scores), 0, -1)
        ends = np.cumsum([len(boxes) for boxes in per_image])[:-1]
        for image, boxes, own in zip(ranked, per_image, np.split(ranks, ends)):
            image[label] = np.hstack([boxes[:, :4], own[:, None]])
    return ranked


@register_metric
class VOCAPMetric(BaseMetric):
    """PASCAL VOC's AP as area under the curve (VOC2010 and later) and at 11 points (VOC2007).

    MMDetection's own `eval_map` does the matching. Its `VOCMetric` reports one of the two forms
    at a time, prints the AP of each class without logging it, and prints VOC's class names for
    any data in a folder called VOC2007 or VOC2012. As VOC defines it, objects marked as difficult
    count neither for nor against a detector, only the best of several detections of one object
    is correct, and sizes count whole pixels (x2 - x1 + 1). Detections of equal score are taken in
    the order in which they come, which `eval_map` leaves to chance.

    Logs, between 0 and 1: `pascal_voc/mAP` (area), `pascal_voc/mAP_11points`, and per class
    `pascal_voc/AP/CLASS` and `pascal_voc/AP_11points/CLASS`. A class without objects to be found
    has no AP: it is not logged and does not count in the means.

    Args:
        iou_thr: Smallest overlap with an object at which a detection counts as correct.
        collect_device: Where the processes' results are gathered, 'cpu' or 'gpu'.
        prefix: What the names of the logged values start with.
    """

    default_prefix = 'pascal_voc'
    logged_metrics = (
        _fraction(r'pascal_voc/mAP', 'mAP', main=True),
        _fraction(r'pascal_voc/mAP_11points', 'mAP_11points', main=True),
        _fraction(r'pascal_voc/AP/(?P<class_name>.+)', '{class_name}'),
        _fraction(r'pascal_voc/AP_11points/(?P<name>.+)', '{name} at 11 points'),
    )

    def __init__(
        self, iou_thr: float = 0.5, collect_device: str = 'cpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        check_number('iou_thr', iou_thr, 'in (0, 1]')
        self.iou_thr = iou_thr

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the objects and the detections of a batch, as `eval_map` wants them.

        Args:
            data_batch: Not used.
            data_samples: MMDetection's data samples as dicts.
        """
        import numpy as np

        for sample in data_samples:
            objects, ignored, detected = (
                {key: sample[instances][key].cpu().numpy() for key in keys}
                for instances, keys in (
                    ('gt_instances', ('bboxes', 'labels')),
                    ('ignored_instances', ('bboxes', 'labels')),
                    ('pred_instances', ('bboxes', 'labels', 'scores')),
                )
            )
            annotation = dict(
                **objects, bboxes_ignore=ignored['bboxes'], labels_ignore=ignored['labels']
            )
            detections = np.hstack([detected['bboxes'], detected['scores'][:, None]])
            per_class = [
                detections[detected['labels'] == label]
                for label in range(len(self.dataset_meta['classes']))
            ]
            self.results.append((annotation, per_class))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute and print both forms of the AP.

        Args:
            results: What `process` kept, of all images and processes.
        """
        # Here rather than above: importing this package must not need MMDetection.
        from mmdet.evaluation.functional import average_precision, eval_map, print_map_summary
        from mmengine.logging import MMLogger

        logger = MMLogger.get_current_instance()
        classes = self.dataset_meta['classes']
        annotations, scored = zip(*results)
        detections = _with_ranks(scored)
        logger.info('AP as area under the precision-recall curve:')
        _, per_class = eval_map(
            detections,
            annotations,
            iou_thr=self.iou_thr,
            dataset=classes,
            logger=logger,
            use_legacy_coordinate=True,
            eval_mode='area',
        )
        at_11_points = [
            dict(result, ap=average_precision(result['recall'], result['precision'], '11points'))
            for result in per_class
        ]
        area, eleven = (
            {
                name: float(result['ap'])
                for name, result in zip(classes, reading)
                if result['num_gts'] > 0
            }
            for reading in (per_class, at_11_points)
        )
        means = [sum(aps.values()) / max(len(aps), 1) for aps in (area, eleven)]
        logger.info('AP at 11 points of recall:')
        print_map_summary(means[1], at_11_points, classes, logger=logger)
        return {
            'mAP': means[0],
            'mAP_11points': means[1],
            **{f'AP/{name}': ap for name, ap in area.items()},
            **{f'AP_11points/{name}': ap for name, ap in eleven.items()},
        }
