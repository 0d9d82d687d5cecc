"""What a survey of the data knows: the contents of the files, and what the host made of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class LeftOut:
    """Images or objects that lie in the files, but that the network never sees, for one reason.

    Attributes:
        count: How many there are.
        example: Where the first one stands, as in `Annotations/a.xml, object 3`.
        remedy: What to do if it was not meant. Empty where it is the usual way of things, such as
            objects marked as difficult: those stand in the table, and no warning names them.
    """

    count: int = 0
    example: str = ''
    remedy: str = ''


@dataclass
class FileContents:
    """What the files of one data set say, before the host leaves anything out.

    A reader of one file format fills it in, and says for each object and image at most once why it
    will be left out. What is read counts whatever the host does with it, so that the difference can
    be named.

    Attributes:
        images: How many images the files name.
        objects: How many objects there are of each class, by the names that the files give them;
            for classifiers, the images of each class.
        objects_left_out: By the reason in two or three words, as in 'unknown class'.
        images_left_out: In the same way, as in 'no object'.
        label_names: What label 0, 1, ... means by the files, if they number their classes
            themselves, as COCO's categories and the folders of a classifier do.
        warnings: What may be wrong, in whole sentences that name file, rule and remedy.
        errors: What cannot be right, in the same way.
        sources: Every file and folder that was read, or looked for in vain. A kept survey is used
            again as long as their sizes and times of change are the same.
    """

    images: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    objects_left_out: dict[str, LeftOut] = field(default_factory=dict)
    images_left_out: dict[str, LeftOut] = field(default_factory=dict)
    label_names: list[str] | None = None
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    def leave_out_object(self, reason: str, example: str, remedy: str = '') -> None:
        """Count one more object that the network will not see."""
        _count(self.objects_left_out, reason, example, remedy)

    def leave_out_image(self, reason: str, example: str, remedy: str = '') -> None:
        """Count one more image that the network will not see."""
        _count(self.images_left_out, reason, example, remedy)


@dataclass
class Loaded:
    """What the host's own data set loaded.

    Attributes:
        images: How many different images there are, after all that leaves some out.
        epoch: How many images an epoch has; more than `images` where a wrapper repeats them.
        objects: The number of objects of each label that the network learns from; for classifiers,
            the images of each label.
        ignored: The number of objects that are loaded, but teach nothing (difficult, crowds, and
            those below `bbox_min_size`).
        classes: The names that the host gives to the labels: `metainfo.classes`.
        paths: The files of the images; empty where they are not files, or too many to be listed.
    """

    images: int = 0
    epoch: int = 0
    objects: Counter[int] = field(default_factory=Counter)
    ignored: int = 0
    classes: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@dataclass
class DatasetSurvey:
    """One innermost data set of a split, as its files and as the host have it.

    Attributes:
        where: What to call it in a message, as in 'train_dataloader, VOCDataset'.
        contents: What its files say; None if their format is not known here.
        loaded: What the host loaded; None if that would take too long (ImageNet).
    """

    where: str
    contents: FileContents | None = None
    loaded: Loaded | None = None


@dataclass
class SplitSurvey:
    """All data sets of one split.

    Attributes:
        split: 'train', 'val' or 'test'.
        datasets: The innermost ones, in order.
        loaded: What the outermost one gives to the network, wrappers included; None if unknown.
        notes: What else the table has to say, as in 'repeats its images 3 times'.
    """

    split: str
    datasets: list[DatasetSurvey] = field(default_factory=list)
    loaded: Loaded | None = None
    notes: list[str] = field(default_factory=list)


def _count(reasons: dict[str, LeftOut], reason: str, example: str, remedy: str) -> None:
    kept = reasons.setdefault(reason, LeftOut(0, example, remedy))
    kept.count += 1
